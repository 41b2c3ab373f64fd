"""Images as people have them, each kind handed over as an ImageSet for each split."""
