"""A run to hand on: its files in one folder, with a model card and checksums."""
