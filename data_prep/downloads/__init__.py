"""Public files: where they are, their checksums, how they are fetched, what an experiment needs of them."""
