"""Extraction: images from a database or from files, pre-processed, through the net, into a folder of features."""
