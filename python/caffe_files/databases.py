"""LMDB databases of Caffe Datums, as Caffe's own tools and data_prep/ write them."""
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf.message import DecodeError

from caffe_files.arrays import read_array
from caffe_files.images import AS_STORED, decode_image
from process.errors import DriverError
from process.readers import is_there, read_json

AGAIN = "remove it and make it again"
META_SCHEMA = {"type": "object", "properties": {
    "count": {"type": "integer", "minimum": 1}, "classes": {"type": "array", "items": {"type": "string"}},
    "dataset": {"type": ["string", "null"]}, "fingerprint": {"type": "string"}}}


def is_database(path: Path) -> bool:
    """Whether a folder holds an LMDB."""
    return (path / "data.mdb").is_file()


def read_meta(source: Path) -> dict[str, Any]:
    """meta.json of a database, {} where another tool made it."""
    path = source / "meta.json"
    return read_json(path, META_SCHEMA) if is_there(path) else {}


@contextmanager
def cursor_of(source: Path) -> Iterator[tuple[int, lmdb.Cursor]]:
    """(number of entries, a cursor over buffers) of an LMDB; closed again behind the block: Caffe opens it itself.

    DriverError when it is no LMDB, or shorter than it says.
    """
    try:
        with lmdb.open(str(source), readonly=True, lock=False) as database:
            _check_length(source, database)
            with database.begin(buffers=True) as transaction, transaction.cursor() as cursor:
                yield database.stat()["entries"], cursor
    except lmdb.Error as error:
        raise DriverError(f"{source} is not a whole LMDB ({error}): {AGAIN}") from None


def items_from(cursor: lmdb.Cursor, row: int) -> Iterator[tuple[memoryview, memoryview]]:
    """(key, value) of the entries from a row on, in key order. They are valid until the next step."""
    steps = cursor.iternext(keys=False, values=False)
    if all(next(steps, None) is not None for _ in range(row + 1)):
        yield cursor.item()
        while cursor.next():
            yield cursor.item()


def _check_length(source: Path, database: lmdb.Environment) -> None:
    """A file without its last pages would be found out by the kernel, with SIGBUS."""
    told = (database.info()["last_pgno"] + 1) * database.stat()["psize"]
    found = (source / "data.mdb").stat().st_size
    if found < told:
        raise DriverError(f"{source} is not a whole LMDB (data.mdb has {found:,} of {told:,} bytes): {AGAIN}")


def read_labels(source: Path) -> np.ndarray:
    """(N,) labels, (N, L) of images with several: of labels.npy, or, where another tool made it, of the entries."""
    path = source / "labels.npy"
    if is_there(path):
        return read_array(path, "list of labels", "iub")
    with cursor_of(source) as (_, cursor):
        return np.array([parse_datum(value, entry_name(source, key)).label for key, value in cursor])


def parse_datum(value: memoryview, where: str) -> caffe_pb2.Datum:
    """A Datum of an entry's value. where: the entry, for messages."""
    try:
        return caffe_pb2.Datum.FromString(value)
    except DecodeError:
        raise DriverError(f"{where} is no Caffe Datum: make the database again") from None


def entry_name(source: object, key: memoryview) -> str:
    """An entry in words."""
    return f"{source}: entry {bytes(key).decode(errors='backslashreplace')}"


def first_shape(source: Path) -> tuple[int, int, int]:
    """(channels, height, width) of a database's first image."""
    with cursor_of(source) as (_, cursor):
        if not cursor.first():
            raise DriverError(f"{source} holds no image: make it again")
        where = entry_name(source, cursor.key())
        return datum_shape(parse_datum(cursor.value(), where), where)


def datum_shape(datum: caffe_pb2.Datum, where: str) -> tuple[int, int, int]:
    """(channels, height, width), looked at: the data are as long as it says; an encoded image, which does not, decodes.

    DriverError that begins with `where`.
    """
    if datum.encoded:
        image = decode_image(datum.data, where, AS_STORED)
        return (1 if image.ndim == 2 else image.shape[2], *image.shape[:2])
    shape = (datum.channels, datum.height, datum.width)
    values = len(datum.data) or len(datum.float_data)
    if min(shape) < 1 or values != shape[0] * shape[1] * shape[2]:
        raise DriverError(f"{where} has {values} values for the shape {shape}: make the database again")
    return shape


def datum_image(datum: caffe_pb2.Datum, where: str) -> np.ndarray:
    """uint8 (H, W) or (H, W, C) BGR of a Datum, encoded or raw. DriverError that begins with `where` for others."""
    if datum.encoded:
        return decode_image(datum.data, where, AS_STORED)
    shape = datum_shape(datum, where)
    if not datum.data:
        raise DriverError(f"{where} has float values: images of 8 bits are wanted")
    return np.moveaxis(np.frombuffer(datum.data, np.uint8).reshape(shape), 0, 2)
