"""What all of data_prep stands on: its one exception and the way its programs end."""
