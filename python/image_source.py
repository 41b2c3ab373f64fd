"""Where extraction gets its images from: an LMDB of Caffe Datums, or image files.

A source has count, ids, path, fingerprint() and read(start), which yields (image, label) from row start on; image is
(H, W) or (H, W, C) uint8 BGR, label an int (-1: not known).
"""
import hashlib
import os

import cv2
import lmdb
import numpy as np
from caffe.proto import caffe_pb2

from data_checks import read_meta
from driver_errors import DriverError

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


class LmdbSource:
    """An LMDB in key order, the order in which Caffe's Data layer reads it."""

    def __init__(self, path):
        self.path = path
        if not os.path.exists(os.path.join(path, "data.mdb")):
            raise DriverError(f"{path} is no LMDB directory (it has no data.mdb): make it with data_prep/make_lmdb.py")
        with self._open() as database:
            self.count = database.stat()["entries"]
        if not self.count:
            raise DriverError(f"{path} holds no image: make it again")
        self.meta = read_meta(path)
        self.ids = self._ids()

    def _open(self):
        try:
            return lmdb.open(self.path, readonly=True, lock=False)
        except lmdb.Error as error:
            raise DriverError(f"{self.path} is not a whole LMDB ({error}): remove it and make it again") from None

    def _ids(self):
        """Lines of ids.txt beside the database; the keys for databases of other tools."""
        file = os.path.join(self.path, "ids.txt")
        if not os.path.exists(file):
            with self._open() as database, database.begin() as transaction, transaction.cursor() as cursor:
                return [key.decode(errors="replace") for key in cursor.iternext(keys=True, values=False)]
        with open(file) as lines:
            ids = lines.read().splitlines()
        if len(ids) != self.count:
            raise DriverError(f"{file} has {len(ids)} lines, the database {self.count} entries: make the database again")
        return ids

    def fingerprint(self):
        """The one data_prep wrote; for databases of other tools SHA-256 over all keys and values."""
        if "fingerprint" in self.meta:
            return self.meta["fingerprint"]
        digest = hashlib.sha256()
        with self._open() as database, database.begin(buffers=True) as transaction, transaction.cursor() as cursor:
            for key, value in cursor:
                digest.update(key)
                digest.update(value)
        return digest.hexdigest()

    def read(self, start=0):
        with self._open() as database, database.begin(buffers=True) as transaction, transaction.cursor() as cursor:
            values = cursor.iternext(keys=False, values=False)
            for _ in range(start + 1):
                next(values, None)
            more = start < self.count
            while more:
                yield decode(caffe_pb2.Datum.FromString(cursor.value()), cursor.key(), self.path)
                more = cursor.next()


def decode(datum, key, path):
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

    meta = {}

    def __init__(self, arguments, root="."):
        self.path = " ".join(arguments)
        self.root = root
        entries = [entry for argument in arguments for entry in self._expand(argument)]
        if not entries:
            raise DriverError(f"{self.path}: no image files ({', '.join(IMAGE_ENDINGS)}) there")
        self.ids = [path for path, _ in entries]
        self.labels = [label for _, label in entries]
        self.count = len(entries)

    def _expand(self, argument):
        if argument.endswith(".txt"):
            return list(self._listed(argument))
        if os.path.isdir(argument):
            return sorted((os.path.join(folder, name), -1) for folder, _, names in os.walk(argument)
                          for name in names if name.lower().endswith(IMAGE_ENDINGS))
        return [(argument, -1)]

    def _listed(self, list_file):
        with open(list_file) as lines:
            for number, line in enumerate(lines, 1):
                path, _, label = line.strip().rpartition(" ")
                if not path or not label.lstrip("-").isdigit():
                    raise DriverError(f"{list_file}, line {number}: expected `path label`, found {line.strip()!r}")
                yield os.path.normpath(os.path.join(self.root, path)), int(label)

    def fingerprint(self):
        digest = hashlib.sha256()
        for path, label in zip(self.ids, self.labels):
            digest.update(f"{label} ".encode())
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def read(self, start=0):
        for path, label in zip(self.ids[start:], self.labels[start:]):
            image = cv2.imread(path, cv2.IMREAD_COLOR)
            if image is None:
                raise DriverError(f"{path} is missing or not a readable image: repair it or take it out")
            yield image, label
