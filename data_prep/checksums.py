"""Checksums of files on disk."""
import hashlib
from pathlib import Path

from prep_errors import PrepError


def file_checksum(path: Path, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def check_file(path: Path, checksum: str) -> None:
    """PrepError unless the file has the checksum "algorithm:hex"."""
    algorithm, expected = checksum.split(":")
    found = file_checksum(path, algorithm)
    if found != expected:
        raise PrepError(f"{path}: {algorithm.upper()} {found}, expected {expected}: damaged, cut short or another file; "
                        "remove it and fetch it again")
