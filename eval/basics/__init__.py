"""What every room stands on: how programs end, files that are written whole, work on rows in blocks."""
