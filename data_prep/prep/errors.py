"""The one exception of data_prep, and the way its programs end."""
import sys
from collections.abc import Callable
from io import TextIOWrapper

from prep.interruption import INTERRUPTED


class PrepError(Exception):
    """A mistake the user can fix. The message names the file or option and says what to do."""


def run_program(main: Callable[[], int]) -> int:
    """Exit status of `main`: a foreseeable mistake becomes a sentence on stderr and status 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be any bytes
    try:
        return main()
    except (PrepError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except MemoryError:
        print("error: the memory is full; close other programs, or use fewer --jobs", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        sys.unraisablehook = lambda _: None  # what it left half made can fail once more while the program ends
        print("interrupted; nothing was left under its final name", file=sys.stderr)
        return INTERRUPTED
