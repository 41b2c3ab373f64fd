"""The one exception of the Caffe driver: a foreseeable mistake, told in a sentence."""


class DriverError(Exception):
    """Wrong input. The message names the file, layer or option and says what to do; programs print it, status 1."""
