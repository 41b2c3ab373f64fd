"""numpy's .npy files, looked at: what is something else ends in a sentence."""
import tokenize
from pathlib import Path

import numpy as np

from process.errors import DriverError
from process.readers import regular_file

# numpy checks a header by parsing it as Python: a hostile one can fail in all of these ways.
UNREADABLE = (ValueError, EOFError, TypeError, KeyError, SyntaxError, tokenize.TokenError, OverflowError, MemoryError,
              RecursionError)


def read_array(path: Path, what: str, kinds: str = "iufb", *, mmap_mode: str | None = None) -> np.ndarray:
    """The array of an .npy file. FileNotFoundError when there is none.

    DriverError unless it is a whole array of numbers of these kinds (numpy's letters). what: it should be, in words.
    """
    try:
        with open(regular_file(path, what), "rb") as file:
            is_npy = file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX
        array = np.load(path, mmap_mode=mmap_mode, allow_pickle=False) if is_npy else None
    except UNREADABLE as error:
        raise DriverError(f"{path} is no whole .npy file of a {what} ({error}): make it again") from None
    if array is None:
        raise DriverError(f"{path} is no .npy file: make the {what} again")
    if array.dtype.kind not in kinds:
        raise DriverError(f"{path} holds values of type {array.dtype}, which a {what} has not: make it again")
    return array
