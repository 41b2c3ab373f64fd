"""A directory, or a tar or zip of one read where it lies: the same three things to ask for."""
import bz2
import gzip
import lzma
import os
import shutil
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from prep.errors import PrepError
from prep.readers import read_bytes

TAR_BLOCK = 512
ZIP_START = b"PK"
ZIP_ENCRYPTED = 1  # a bit of a member's flags
# All that zipfile and its decompressors raise on damaged files.
ZIP_FAULTS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, EOFError, ValueError, OverflowError,
              struct.error, RuntimeError)
LARGEST_MEMBER = 1 << 30  # bytes


class FileTree(Protocol):
    path: Path

    def files(self) -> list[str]:
        """Sorted paths of all files, relative, with '/'."""

    def folders(self) -> list[str]:
        """Sorted paths of all folders below the root, relative."""

    def size(self, name: str) -> int:
        """Bytes of a file, unpacked. OSError when there is none."""

    def read(self, name: str) -> bytes:
        """Content of a file; safe from several threads. OSError when it cannot be read."""


def open_tree(path: Path) -> FileTree:
    """FileTree of a directory, a tar (plain or compressed) or a zip. PrepError when it is none of them or cut short."""
    if path.is_dir():
        return DirectoryTree(path)
    if not path.is_file():
        raise PrepError(f"{path}: no such directory, tar or zip file")
    with path.open("rb") as file:
        is_zip = file.read(2) == ZIP_START
    return ZipTree(path) if is_zip else TarTree(path)


class DirectoryTree:
    def __init__(self, path: Path):
        self.path = path

    def files(self) -> list[str]:
        return sorted(name for folder, _, names in self._walked for name in _joined(folder, names))

    def folders(self) -> list[str]:
        return sorted(name for folder, names, _ in self._walked for name in _joined(folder, names))

    def size(self, name: str) -> int:
        return (self.path / name).stat().st_size

    def read(self, name: str) -> bytes:
        return read_bytes(self.path / name)

    @cached_property
    def _walked(self) -> list[tuple[Path, list[str], list[str]]]:
        """(folder below the root, its folders, its files), links followed. PrepError for one that leads back upward."""
        found = []
        for folder, folders, files in os.walk(self.path, onerror=_raise, followlinks=True):
            for name in folders:
                self._refuse_loop(Path(folder), name)
            found.append((Path(folder).relative_to(self.path), folders, files))
        return found

    def _refuse_loop(self, folder: Path, name: str) -> None:
        link = folder / name
        if link.is_symlink() and folder.resolve().is_relative_to(link.resolve()):
            raise PrepError(f"{link}: a link back to {link.resolve()}, which holds it: its images would count again "
                            "and again; remove it")


def _raise(error: OSError) -> None:
    raise error


def _joined(folder: Path, names: list[str]) -> list[str]:
    return [(folder / name).as_posix() for name in names]


class TarTree:
    """Reads members by their place in the file, in any order; a compressed tar is first unpacked to a nameless file."""

    def __init__(self, path: Path):
        self.path = path
        self._file = _plain_tar(path)
        self._places: dict[str, tuple[int, int]] = {}  # name -> offset, size
        self._folders: set[str] = set()
        self._links: dict[str, str] = {}  # name -> name of what it leads to
        self._index()
        for name in self._links:
            self._places[name] = self._target(name)

    def files(self) -> list[str]:
        return sorted(self._places)

    def folders(self) -> list[str]:
        return sorted(self._folders)

    def size(self, name: str) -> int:
        return self._place(name)[1]

    def read(self, name: str) -> bytes:
        offset, size = self._place(name)
        return os.pread(self._file.fileno(), size, offset)

    def _place(self, name: str) -> tuple[int, int]:
        """(offset, size) of a member."""
        if name not in self._places:
            raise FileNotFoundError(f"no {name} in {self.path}")
        return self._places[name]

    def _index(self) -> None:
        try:
            with tarfile.open(fileobj=self._file, mode="r:") as tar:
                for member in tar:
                    self._add(member)
                end = tar.offset
        except (tarfile.TarError, ValueError, OverflowError, RecursionError, EOFError) as error:
            raise PrepError(f"{self.path}: not a whole tar file ({error}); fetch or copy it again") from error
        # tarfile takes a file that ends right after a member for complete; a real end is a block of zeros.
        if os.pread(self._file.fileno(), TAR_BLOCK, end) != bytes(TAR_BLOCK):
            raise PrepError(f"{self.path}: the tar is cut short after {len(self._places)} files; "
                            "fetch or copy it again")

    def _add(self, member: tarfile.TarInfo) -> None:
        name = os.path.normpath(member.name)
        self._folders.update(_parents(name))
        if member.isdir():
            self._folders.add(name)
        elif member.issym():
            self._links[name] = os.path.normpath(os.path.join(os.path.dirname(name), member.linkname))
        elif member.islnk():  # tar stores the second of two hard-linked files so
            self._links[name] = os.path.normpath(member.linkname)
        elif member.isfile() and not member.issparse():
            self._places[name] = (member.offset_data, member.size)
            self._links.pop(name, None)  # a later member of the same name replaces an earlier one
        else:
            raise PrepError(f"{self.path}: holds {name}, which is neither a plain file nor a folder nor a link; unpack "
                            "the tar and name the directory")

    def _target(self, name: str) -> tuple[int, int]:
        """The place of the file that a link leads to, over other links too."""
        at, seen = name, set()
        while at in self._links and at not in seen:
            seen.add(at)
            at = self._links[at]
        if at not in self._places or at in seen:
            raise PrepError(f"{self.path}: the link {name} leads to {self._links[name]}, which is no file in the tar; "
                            "unpack the tar and name the directory")
        return self._places[at]


def _parents(name: str) -> Iterator[str]:
    """Folders above a path, without the root: "a/b/c" -> "a/b", "a"."""
    return (parent.as_posix() for parent in PurePosixPath(name).parents if parent.name)


class ZipTree:
    """Reads members by name; zipfile locks the file for each piece that it reads, so threads may ask at once."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except ZIP_FAULTS as error:
            raise PrepError(f"{path}: not a whole zip file ({error}); fetch or copy it again") from error
        members = self._zip.infolist()
        if any(member.flag_bits & ZIP_ENCRYPTED for member in members):
            raise PrepError(f"{path}: the zip file has a password; unpack it and name the directory")
        self._members = {os.path.normpath(member.filename): member for member in members if not member.is_dir()}
        self._empty_folders = {os.path.normpath(member.filename) for member in members if member.is_dir()}

    def files(self) -> list[str]:
        return sorted(self._members)

    def folders(self) -> list[str]:
        return sorted(self._empty_folders.union(*map(_parents, [*self._members, *self._empty_folders])))

    def size(self, name: str) -> int:
        return self._member(name).file_size

    def read(self, name: str) -> bytes:
        member = self._member(name)
        if member.file_size > LARGEST_MEMBER:
            raise OSError(f"{member.file_size:,} bytes in {self.path}, more than any image has")
        try:
            return self._zip.read(member)
        except ZIP_FAULTS as error:
            raise OSError(f"cannot be unpacked from {self.path} ({error})") from error

    def _member(self, name: str) -> zipfile.ZipInfo:
        if name not in self._members:
            raise FileNotFoundError(f"no {name} in {self.path}")
        return self._members[name]


def _plain_tar(path: Path) -> IO[bytes]:
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
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        if getattr(error, "errno", None):
            raise PrepError(f"{path}: cannot be unpacked into {tempfile.gettempdir()} ({error.strerror}); free some "
                            "space, or unpack it yourself and name the directory") from error
        raise PrepError(f"{path}: the compressed tar is damaged or cut short ({error}); "
                        "fetch or copy it again") from error
    plain.seek(0)
    return plain
