"""Files and folders of a run: written whole or not at all, by one process at a time."""
import fcntl
import json
import os
from contextlib import contextmanager

from driver_errors import DriverError


def write_json(path, content):
    """Writes beside, then renames."""
    with open(path + ".partial", "w") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
    put_in_place(path + ".partial", path)


@contextmanager
def whole_file(path, mode="wb"):
    """A file that gets its name when the block ends well; a full disk or an error leaves nothing."""
    beside = path + ".partial"
    try:
        with open(beside, mode) as file:
            yield file
        put_in_place(beside, path)
    finally:
        if os.path.exists(beside):
            os.remove(beside)


def refuse_existing(path):
    if os.path.exists(path):
        raise DriverError(f"{path} exists: remove it or choose another name")


def put_in_place(beside, path):
    """Renames a complete file to its final name, once its content is on the disk: a power cut leaves the one or the other."""
    with open(beside, "rb") as file:
        os.fsync(file.fileno())
    os.replace(beside, path)


def lock_folder(folder):
    """Keeps other processes that ask for the same lock out until this one ends, however it ends. Returns a descriptor.

    DriverError when another process has it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DriverError(f"{folder} is being written by another process: wait for it, or choose another folder") from None
    return descriptor
