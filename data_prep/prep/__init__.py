"""What all of data_prep stands on: its one exception and the way its programs end."""
import prep.interruption  # noqa: F401 - before anything that takes long to load
