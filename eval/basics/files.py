"""Files that appear whole or not at all, and folders that one program writes at a time."""

import fcntl
import json
import os
import stat
from contextlib import contextmanager
from pathlib import Path

import fastjsonschema

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
    except OSError as error:
        if error.filename:
            raise
        raise EvalError(f"{path} cannot be written ({error}): free some space, or choose another --out") from None
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str):
    with whole_file(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)


def write_json(path: Path, contents):
    """JSON without NaN or infinity, which no other reader would take."""
    write_text(path, json.dumps(contents, indent=1, allow_nan=False) + "\n")


AN_OBJECT = {"type": "object"}


def read_json(path: Path, advice="remove it or write it again", schema=AN_OBJECT) -> dict:
    """A JSON object of the form of the schema, {} if there is no such file. EvalError with `advice` for anything else.

    Names in it that were no UTF-8 get a question mark for each byte of that kind: they are only shown.
    """
    if not is_there(path):
        return {}
    try:
        contents = json.loads(regular_file(path).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        if isinstance(contents, dict):
            fastjsonschema.validate(schema, contents)
    except (ValueError, RecursionError, fastjsonschema.JsonSchemaException) as error:
        raise EvalError(f"{path} is not valid JSON ({error}): {advice}") from None
    if not isinstance(contents, dict):
        raise EvalError(f"{path} holds {type(contents).__name__}, not a JSON object: {advice}")
    return json.loads(json.dumps(contents, ensure_ascii=False).encode("utf-8", "replace"))


def _refuse_constant(name):
    raise ValueError(f"{name} is no JSON")


def is_there(path: Path) -> bool:
    """Whether there is something to read. EvalError for a link that leads nowhere."""
    if path.is_symlink() and not path.exists():
        raise EvalError(f"{path} is a link that leads nowhere: remove it or make it anew")
    return path.exists()


def regular_file(path: Path) -> Path:
    """The path. EvalError for a folder, FIFO or device, which may never end; OSError when there is nothing."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise EvalError(f"{path} is no file but a folder, a FIFO or a device: name one that lies on a disk")
    return path


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
