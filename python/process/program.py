"""How every program of the driver ends: an exit status, and a sentence where something went wrong."""
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TypeVar

from process.environment import prepare_libraries
from process.errors import DriverError
from process.interruption import INTERRUPTED

Options = TypeVar("Options")


def run_program(name: str, parse: Callable[[Sequence[str] | None], Options], work: Callable[[Options], int | None],
                argv: Sequence[str] | None = None) -> int:
    """Calls work(parse(argv)) and returns the exit status.

    0 (None counts as 0), or what the work returns; 1 after a DriverError or OSError, whose sentence goes to stderr
    behind the program's name; 130 after Ctrl-C. A wrong command line is argparse's affair: SystemExit with status 2.
    """
    prepare_libraries()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be any bytes
    try:
        _refuse_other_bytes(sys.argv[1:] if argv is None else argv)
        return work(parse(argv)) or 0
    except (DriverError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        sys.unraisablehook = lambda _: None  # what it left half made can fail once more while the program ends
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED


def _refuse_other_bytes(words: Sequence[str]) -> None:
    """DriverError for a word of the command line that is no UTF-8: Caffe and its prototxt take no other names."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise DriverError(f"{word!r} is no UTF-8: rename the file, Caffe takes no other names") from None


def path_or_none(text: str) -> Path | None:
    """For an option whose value is a path, or the word none."""
    return None if text == "none" else Path(text)
