"""Files that are whole or absent, and folders that one process writes at a time."""
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from process.errors import DriverError

PARTIAL = ".partial"  # ends the name of whatever is not whole yet


def partial(path: Path) -> Path:
    """Where a file or folder is written before it gets its name."""
    return path.with_name(path.name + PARTIAL)


@contextmanager
def whole_file(path: Path, mode: str = "wb", **options: Any) -> Iterator[IO]:
    """A file that gets its name when the block ends well; a full disk or an error leaves nothing. options: of open."""
    beside = partial(path)
    try:
        with open(beside, mode, **options) as file:
            yield file
        put_in_place(beside, path)
    except OSError as error:
        if error.filename:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # Python names no file when a disk is full
    finally:
        beside.unlink(missing_ok=True)


def put_in_place(beside: Path, path: Path) -> None:
    """Renames a complete file, once its content is on the disk: a power cut leaves the old file or the new one."""
    with open(beside, "rb") as file:
        os.fsync(file.fileno())
    os.replace(beside, path)


def sync_folder(folder: Path) -> None:
    """What the files of a folder hold, and their names, are on the disk from here on."""
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file, whole or not at all."""
    with whole_file(path, "w") as file:
        json.dump(content, file, indent=1)
        file.write("\n")


def refuse_existing(path: Path) -> None:
    """DriverError when a file to be written is there already."""
    if path.exists():
        raise DriverError(f"{path} exists: remove it or choose another name")


def lock_folder(folder: Path) -> int:
    """Keeps other processes that ask for the same lock out until this one ends, however it ends. Returns a descriptor.

    DriverError when another process has it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DriverError(f"{folder} is being written by another process: wait for it, or choose another "
                          "folder") from None
    return descriptor
