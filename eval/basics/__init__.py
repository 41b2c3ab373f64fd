"""What every room stands on: how programs end, files that are written whole, work on rows in blocks."""
import basics.program  # noqa: F401 - Ctrl-C ends in a sentence from here on, whatever loads next
