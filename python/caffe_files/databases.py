"""LMDB databases of Caffe Datums, as Caffe's own tools and data_prep/ write them."""
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf.message import DecodeError

from process.errors import DriverError
from process.files import read_json


def is_database(path: Path) -> bool:
    """Whether a folder holds an LMDB."""
    return (path / "data.mdb").exists()


def read_meta(source: Path) -> dict[str, Any]:
    """meta.json of a database, {} where another tool made it."""
    path = source / "meta.json"
    return read_json(path) if path.exists() else {}


def first_image(source: Path) -> tuple[int, tuple[int, int, int]]:
    """(number of entries, (channels, height, width) of the first) of an LMDB.

    The environment is closed again: Caffe opens it in this process.
    """
    try:
        with lmdb.open(str(source), readonly=True, lock=False) as database, database.begin() as transaction:
            with transaction.cursor() as cursor:
                if not cursor.first():
                    raise DriverError(f"{source} holds no image: make it again")
                datum = caffe_pb2.Datum.FromString(cursor.value())
            return database.stat()["entries"], _datum_shape(datum, source)
    except (lmdb.Error, DecodeError) as error:
        raise DriverError(f"{source} is not a whole LMDB of Caffe Datums ({error}): remove it and make it "
                          "again") from None


def _datum_shape(datum: caffe_pb2.Datum, source: Path) -> tuple[int, int, int]:
    """(channels, height, width); of an encoded image too, whose Datum does not tell."""
    if not datum.encoded:
        return datum.channels, datum.height, datum.width
    image = cv2.imdecode(np.frombuffer(datum.data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise DriverError(f"{source}: its first entry is not a readable image: make it again")
    return (1 if image.ndim == 2 else image.shape[2], *image.shape[:2])


def read_labels(source: Path) -> np.ndarray:
    """(N,) labels: those of labels.npy, or, where another tool made it, of the entries (50,000 in some seconds)."""
    path = source / "labels.npy"
    if path.exists():
        return np.load(path)
    with lmdb.open(str(source), readonly=True, lock=False) as database, database.begin(buffers=True) as transaction, \
            transaction.cursor() as cursor:
        return np.array([caffe_pb2.Datum.FromString(value).label for value in cursor.iternext(keys=False)])
