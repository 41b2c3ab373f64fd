"""A directory, or a tar of one read where it lies: the same three things to ask for."""
import bz2
import gzip
import lzma
import os
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Protocol

from prep_errors import PrepError

TAR_BLOCK = 512


class FileTree(Protocol):
    path: Path

    def files(self) -> list[str]:
        """Sorted paths of all files, relative, with '/'."""

    def folders(self) -> list[str]:
        """Sorted paths of all folders below the root, relative."""

    def read(self, name: str) -> bytes:
        """Content of a file; safe from several threads. OSError when it cannot be read."""


def open_tree(path: str | Path) -> FileTree:
    """FileTree of a directory or a tar (plain or compressed). PrepError when it is neither, or cut short."""
    path = Path(path)
    if path.is_dir():
        return DirectoryTree(path)
    if path.is_file():
        return TarTree(path)
    raise PrepError(f"{path}: no such directory or tar file")


class DirectoryTree:
    def __init__(self, path: Path):
        self.path = path

    def files(self) -> list[str]:
        return sorted(name for folder, _, names in self._walk() for name in _joined(folder, names))

    def folders(self) -> list[str]:
        return sorted(name for folder, names, _ in self._walk() for name in _joined(folder, names))

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def _walk(self):
        for folder, folders, files in os.walk(self.path, followlinks=True):
            yield Path(folder).relative_to(self.path), folders, files


def _joined(folder: Path, names: list[str]) -> list[str]:
    return [(folder / name).as_posix() for name in names]


class TarTree:
    """Reads members by their place in the file, in any order; a compressed tar is first unpacked to a nameless file."""

    def __init__(self, path: Path):
        self.path = path
        self._file = _plain_tar(path)
        self._places: dict[str, tuple[int, int]] = {}  # name -> offset, size
        self._folders: set[str] = set()
        self._index()

    def files(self) -> list[str]:
        return sorted(self._places)

    def folders(self) -> list[str]:
        return sorted(self._folders)

    def read(self, name: str) -> bytes:
        if name not in self._places:
            raise FileNotFoundError(f"no {name} in {self.path}")
        offset, size = self._places[name]
        return os.pread(self._file.fileno(), size, offset)

    def _index(self) -> None:
        try:
            with tarfile.open(fileobj=self._file, mode="r:") as tar:
                for member in tar:
                    self._add(member)
                end = tar.offset
        except tarfile.TarError as error:
            raise PrepError(f"{self.path}: not a whole tar file ({error}); fetch or copy it again") from error
        # tarfile takes a file that ends right after a member for complete; a real end is a block of zeros.
        if os.pread(self._file.fileno(), TAR_BLOCK, end) != bytes(TAR_BLOCK):
            raise PrepError(f"{self.path}: the tar is cut short after {len(self._places)} files; fetch or copy it again")

    def _add(self, member: tarfile.TarInfo) -> None:
        name = os.path.normpath(member.name)
        if member.isdir():
            self._folders.add(name)
        elif member.isfile():
            self._places[name] = (member.offset_data, member.size)
        elif member.islnk():  # tar stores the second of two hard-linked files so
            self._places[name] = self._places[os.path.normpath(member.linkname)]
        parent = os.path.dirname(name)
        if parent:
            self._folders.add(parent)


def _plain_tar(path: Path):
    """Open file object of the uncompressed tar."""
    openers = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
    with open(path, "rb") as file:
        opener = openers.get(file.read(2))
    if opener is None:
        return open(path, "rb")
    plain = tempfile.TemporaryFile()
    try:
        with opener(path) as packed:
            shutil.copyfileobj(packed, plain, 1 << 20)
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError) as error:
        raise PrepError(f"{path}: the compressed tar is damaged or cut short ({error}); fetch or copy it again") from error
    plain.seek(0)
    return plain
