"""Checksums of files on disk."""
import gzip
import hashlib
import zlib
from pathlib import Path

from prep.errors import PrepError


def file_checksum(path: Path, algorithm: str, *, unpacked: bool = False) -> str:
    """Hex digest of the file, or with `unpacked` of what a .gz file holds."""
    try:
        with (gzip.open if unpacked else open)(path, "rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise PrepError(f"{path}: not a whole .gz file ({error}); remove it and fetch it again") from error


def check_file(path: Path, checksum: str, *, unpacked: bool = False) -> None:
    """PrepError unless the file has the checksum "algorithm:hex"."""
    algorithm, expected = checksum.split(":")
    found = file_checksum(path, algorithm, unpacked=unpacked)
    if found != expected:
        raise PrepError(f"{path}: {algorithm.upper()} {found}, expected {expected}: damaged, cut short or "
                        "another file; remove it and fetch it again")
