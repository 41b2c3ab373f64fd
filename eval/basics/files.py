"""Files that appear whole or not at all, and folders that one program writes at a time."""

import fcntl
import json
import os
from contextlib import contextmanager
from pathlib import Path

from basics.program import EvalError


@contextmanager
def whole_file(path: Path, mode="wb", **options):
    """Open a file that gets its name only if the block ends well: a full disk or an error leaves nothing.

    Until then it is called <name>.partial. Not forced onto the disk before: all that eval/ writes is made again in
    minutes, and what a power cut leaves of it has no valid key.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, mode, **options) as file:
            yield file
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str):
    with whole_file(path, "w", encoding="utf-8") as file:
        file.write(text)


def write_json(path: Path, contents):
    """JSON without NaN or infinity, which no other reader would take."""
    write_text(path, json.dumps(contents, indent=1, allow_nan=False) + "\n")


def read_json(path: Path, advice="remove it or write it again") -> dict:
    """A JSON object, {} if there is no such file. EvalError with `advice` if it holds something else."""
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise EvalError(f"{path} is not valid JSON ({error}): {advice}") from None
    if not isinstance(contents, dict):
        raise EvalError(f"{path} holds {type(contents).__name__}, not a JSON object: {advice}")
    return contents


@contextmanager
def locked_folder(folder: Path):
    """Make `folder` and keep other programs of eval/ from writing into it until the block, or this process, ends.

    EvalError if another one is writing there now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor, folder):
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise EvalError(f"{folder} is being written by another process: wait for it, or choose another --out") from None
