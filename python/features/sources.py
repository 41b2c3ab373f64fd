"""Where extraction gets its images from: an LMDB of Caffe Datums, or image files."""
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import lmdb
import numpy as np
from caffe.proto import caffe_pb2

from caffe_files.databases import is_database, read_labels, read_meta
from process.errors import DriverError

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
# A line of a list: blanks may be in the path, the label follows the last of them; -1: not known.
LISTED = re.compile(r"(?P<path>\S.*?)\s+(?P<label>-1|[0-9]+)")


Labelled = tuple[np.ndarray, int]  # ((H, W) or (H, W, C) uint8 BGR, label; -1: not known)


class Source(Protocol):
    """Images in a fixed order. path: as the user said it. meta: of the data set. ids: a line for each image."""
    path: str
    count: int
    ids: Sequence[str]
    meta: dict[str, Any]

    def fingerprint(self) -> str:
        """SHA-256 over the images, in hexadecimal."""

    def read(self, start: int = 0) -> Iterator[Labelled]:
        """The images from row `start` on."""


class LmdbSource:
    """An LMDB in key order, the order in which Caffe's Data layer reads it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        if not is_database(path):
            raise DriverError(f"{path} is no LMDB directory (it has no data.mdb): make it with data_prep/make_lmdb.py")
        with self._open() as database:
            self.count = database.stat()["entries"]
        if not self.count:
            raise DriverError(f"{path} holds no image: make it again")
        self.meta = read_meta(path)
        self.several = _several_labels(path, self.count) if self.meta.get("several_labels") else None
        self.ids = self._ids(path / "ids.txt")

    def _open(self) -> lmdb.Environment:
        try:
            return lmdb.open(self.path, readonly=True, lock=False)
        except lmdb.Error as error:
            raise DriverError(f"{self.path} is not a whole LMDB ({error}): remove it and make it again") from None

    def _ids(self, file: Path) -> list[str]:
        """Lines of ids.txt beside the database; the keys for databases of other tools."""
        if not file.exists():
            with self._open() as database, database.begin() as transaction, transaction.cursor() as cursor:
                return [key.decode(errors="replace") for key in cursor.iternext(keys=True, values=False)]
        ids = file.read_text().splitlines()
        if len(ids) != self.count:
            raise DriverError(f"{file} has {len(ids)} lines, the database {self.count} entries: make the database "
                              "again")
        return ids

    def fingerprint(self) -> str:
        """The one data_prep wrote; for databases of other tools SHA-256 over all keys and values."""
        if "fingerprint" in self.meta:
            return self.meta["fingerprint"]
        digest = hashlib.sha256()
        with self._open() as database, database.begin(buffers=True) as transaction, transaction.cursor() as cursor:
            for key, value in cursor:
                digest.update(key)
                digest.update(value)
        return digest.hexdigest()

    def read(self, start: int = 0) -> Iterator[Labelled]:
        """(image, label) in key order from row `start` on."""
        with self._open() as database, database.begin(buffers=True) as transaction, transaction.cursor() as cursor:
            values = cursor.iternext(keys=False, values=False)
            for _ in range(start + 1):
                next(values, None)
            more = start < self.count
            while more:
                yield decode(caffe_pb2.Datum.FromString(cursor.value()), cursor.key(), self.path)
                more = cursor.next()


def _several_labels(path: Path, count: int) -> np.ndarray:
    """(N, L) uint8 of images with several labels each, of which a Datum holds none."""
    labels = read_labels(path)
    if labels.ndim != 2 or len(labels) != count:
        raise DriverError(f"{path / 'labels.npy'} has shape {labels.shape}, the database {count} images with several "
                          "labels each: make it again")
    return labels.astype(np.uint8)


def decode(datum: caffe_pb2.Datum, key: bytes, path: str) -> Labelled:
    """(image, label) of a Datum, encoded or raw."""
    if datum.encoded:
        image = cv2.imdecode(np.frombuffer(datum.data, np.uint8), cv2.IMREAD_UNCHANGED)
        fault = "is not a readable image" if image is None else None
        if image is not None and (image.dtype != np.uint8 or image.ndim == 3 and image.shape[2] != 3):
            fault = f"is an image of {image.dtype}, shape {image.shape}; 8 bits, grey or three colours are wanted"
    else:
        shape = (datum.channels, datum.height, datum.width)
        fault = None if len(datum.data) == np.prod(shape) else f"has {len(datum.data)} bytes for shape {shape}"
        image = None if fault else np.moveaxis(np.frombuffer(datum.data, np.uint8).reshape(shape), 0, 2)
    if fault:
        raise DriverError(f"{path}: entry {bytes(key).decode(errors='replace')} {fault}: make the database again")
    return image, datum.label


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
        lines = Path(list_file).read_text("utf-8-sig", "surrogateescape").split("\n")
        for number, line in enumerate(lines[:-1] if not lines[-1] else lines, 1):
            found = LISTED.fullmatch(line.strip())
            if not found:
                raise DriverError(f"{list_file}, line {number}: expected `path label`, found {line.strip()!r}")
            yield os.path.normpath(os.path.join(self.root, found["path"])), int(found["label"])

    def fingerprint(self) -> str:
        """SHA-256 over labels and files."""
        digest = hashlib.sha256()
        for path, label in zip(self.ids, self.labels):
            digest.update(f"{label} ".encode())
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def read(self, start: int = 0) -> Iterator[Labelled]:
        """(image in colour, label) from row `start` on."""
        for path, label in zip(self.ids[start:], self.labels[start:]):
            image = cv2.imread(path, cv2.IMREAD_COLOR)
            if image is None:
                raise DriverError(f"{path} is missing or not a readable image: repair it or take it out")
            yield image, label
