"""Where extraction gets its images from: an LMDB of Caffe Datums, or image files."""
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from caffe_files.databases import (
    cursor_of,
    datum_image,
    entry_name,
    is_database,
    items_from,
    parse_datum,
    read_labels,
    read_meta,
)
from caffe_files.entries import check_entries, count_entries, digest_rows
from caffe_files.images import decode_image
from features.options import SPLITS, ExtractOptions
from process.errors import DriverError
from process.forked import in_child
from process.readers import read_bytes, read_lines, regular_file

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
# A line of a list: blanks may be in the path, the label follows the last of them; -1: not known.
LISTED = re.compile(r"(?P<path>\S.*?)\s+(?P<label>-1|[0-9]+)")
LARGEST_LABEL = 2**31 - 1  # a Datum's

Labelled = tuple[np.ndarray, int]  # ((H, W) or (H, W, C) uint8 BGR, label; -1: not known)


class Source(Protocol):
    """Images in a fixed order. path: as the user said it. meta: of the data set. ids: a line for each image."""
    path: str
    count: int
    ids: Sequence[str]
    meta: dict[str, Any]

    def identity(self) -> dict[str, str]:
        """SHA-256 over the images, in hexadecimal, as `fingerprint`; it may tell more."""

    def read(self, start: int = 0) -> Iterator[Labelled]:
        """The images from row `start` on."""


class LmdbSource:
    """An LMDB in key order, the order in which Caffe's Data layer reads it.

    in_parts: only some of its rows are read. Otherwise every entry is looked at first.
    """

    def __init__(self, path: Path, in_parts: bool = False) -> None:
        self.path, self.place = str(path), path
        if not is_database(path):
            raise DriverError(f"{path} is no LMDB directory (it has no data.mdb): make it with data_prep/make_lmdb.py")
        entries = None if in_parts else check_entries(path)
        self.count = entries.count if entries else count_entries(path)
        self.sha256 = entries.sha256 if entries else None
        self.meta = read_meta(path)
        self.several = _several_labels(path, self.count) if self.meta.get("several_labels") else None

        self.ids = self._ids(path / "ids.txt")

    def _ids(self, file: Path) -> list[str]:
        """Lines of ids.txt beside the database; the keys for databases of other tools."""
        if not file.exists():
            return in_child(_keys, self.place, where=self.place)
        ids = read_lines(file, "list of ids")
        if len(ids) != self.count:
            raise DriverError(f"{file} has {len(ids)} lines, the database {self.count} entries: make the database "
                              "again")
        return ids

    def identity(self) -> dict[str, str]:
        """The fingerprint that data_prep wrote, where it did, and the SHA-256 of what the entries are now."""
        return self.identity_by(self.sha256)

    def identity_by(self, digest: str) -> dict[str, str]:
        """The identity, where the SHA-256 of the entries is known."""
        return {"fingerprint": self.meta.get("fingerprint", digest), "entries": digest}

    def identity_of(self, rows: range) -> dict[str, str]:
        """SHA-256 over what the entries of these rows are now."""
        return {"fingerprint": digest_rows(self.place, rows)}

    def read(self, start: int = 0) -> Iterator[Labelled]:
        """(image, label) in key order from row `start` on."""
        with cursor_of(self.place) as (_, cursor):
            for key, value in items_from(cursor, start):
                where = entry_name(self.path, key)
                datum = parse_datum(value, where)
                yield datum_image(datum, where), datum.label


def _keys(path: Path) -> list[str]:
    with cursor_of(path) as (_, cursor):
        return [bytes(key).decode(errors="backslashreplace") for key in cursor.iternext(values=False)]


def _several_labels(path: Path, count: int) -> np.ndarray:
    """(N, L) uint8 of images with several labels each, of which a Datum holds none."""
    labels = read_labels(path)
    if labels.ndim != 2 or len(labels) != count:
        raise DriverError(f"{path / 'labels.npy'} has shape {labels.shape}, the database {count} images with several "
                          "labels each: make it again")
    return labels.astype(np.uint8)


class FileSource:
    """Image files: paths, directories (searched, sorted), or lists with `path label` lines (ending .txt)."""

    meta: dict[str, Any] = {}

    def __init__(self, arguments: Sequence[str], root: Path = Path()) -> None:
        self.path = " ".join(arguments)
        self.root = root
        entries = [entry for argument in arguments for entry in self._expand(argument)]
        if not entries:
            raise DriverError(f"{self.path}: no image files ({', '.join(IMAGE_ENDINGS)}) there")
        self.ids = [path for path, _ in entries]
        broken = next((path for path in self.ids if "\n" in path or "\r" in path), None)
        if broken is not None:
            raise DriverError(f"line break in the image name {broken!r}, of which lists have a line each: rename it")
        self.labels = [label for _, label in entries]
        self.count = len(entries)

    def _expand(self, argument: str) -> list[tuple[str, int]]:
        if argument.endswith(".txt"):
            return list(self._listed(argument))
        if os.path.isdir(argument):
            return sorted((os.path.join(folder, name), -1) for folder, _, names in os.walk(argument)
                          for name in names if name.lower().endswith(IMAGE_ENDINGS))
        return [(argument, -1)]

    def _listed(self, list_file: str) -> Iterator[tuple[str, int]]:
        """Entries of a list: data_prep/README.md tells the format."""
        for number, line in enumerate(read_lines(Path(list_file)), 1):
            found = LISTED.fullmatch(line.strip())
            if not found:
                raise DriverError(f"{list_file}, line {number}: expected `path label`, found {line.strip()!r}")
            digits = found["label"]
            if len(digits) > 10 or int(digits) > LARGEST_LABEL:
                raise DriverError(f"{list_file}, line {number}: label {digits} is more than {LARGEST_LABEL}")
            yield os.path.normpath(os.path.join(self.root, found["path"])), int(digits)

    def identity(self) -> dict[str, str]:
        """SHA-256 over labels and files."""
        return self.identity_of(range(self.count))

    def identity_of(self, rows: range) -> dict[str, str]:
        """SHA-256 over labels and files of these rows."""
        return {"fingerprint": self.fingerprint(rows, map(self.digest, rows))}

    def identity_by(self, digest: str) -> dict[str, str]:
        """The identity, where the SHA-256 over all labels and files is known."""
        return {"fingerprint": digest}

    def digest(self, row: int) -> bytes:
        """SHA-256 of a file."""
        with open(regular_file(Path(self.ids[row]), "picture"), "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    def fingerprint(self, rows: range, digests: Iterable[bytes]) -> str:
        """SHA-256 over labels and files of these rows, in hexadecimal, from those of the files."""
        whole = hashlib.sha256()
        for row, digest in zip(rows, digests, strict=True):
            whole.update(f"{self.labels[row]} ".encode() + digest)
        return whole.hexdigest()

    def read(self, start: int = 0) -> Iterator[Labelled]:
        """(image in colour, label) from row `start` on."""
        for path, label in zip(self.ids[start:], self.labels[start:]):
            yield decode_image(read_bytes(Path(path), "picture"), path), label


def sources_of(options: ExtractOptions) -> dict[Path, LmdbSource | FileSource]:
    """{folder of the features: source of the images}: one, or with --databases one for each split."""
    in_parts = options.join or options.part is not None
    if options.lmdb:
        return {options.out: LmdbSource(options.lmdb, in_parts)}
    if options.images:
        return {options.out: FileSource(options.images, options.root)}
    return {options.out / split: LmdbSource(split_database(options.databases, split), in_parts) for split in SPLITS}


def split_database(databases: Path, split: str) -> Path:
    """The originals where they are kept: the authors' evaluation resizes in float, the 256x256 pixels are rounded."""
    originals, resized = databases / f"{split}_originals_lmdb", databases / f"{split}_lmdb"
    if not originals.exists() and not resized.exists():
        raise DriverError(f"--databases {databases} has neither {resized.name} nor {originals.name}: make them with "
                          "data_prep/make_lmdb.py")
    return originals if originals.exists() else resized
