"""Files and folders of a run: written whole or not at all, by one process at a time."""
import fcntl
import json
import os

from driver_errors import DriverError


def write_json(path, content):
    """Writes beside, then renames."""
    with open(path + ".partial", "w") as file:
        json.dump(content, file, indent=1)
        file.write("\n")
    put_in_place(path + ".partial", path)


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
