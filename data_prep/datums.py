"""Caffe's protobuf messages, and a Datum's bytes without the copies that protobuf makes of its pixels."""
from functools import cache

import numpy as np

from prep_errors import PrepError

DATA_TAG = b"\x22"  # field 4 (data), length-delimited


@cache
def messages():
    """The module caffe_pb2. It loads all of Caffe, so it is asked for only when a message is needed."""
    try:
        from caffe.proto import caffe_pb2
    except ImportError as error:
        raise PrepError(f"Caffe's Python module cannot be loaded ({error}); run make caffe") from error
    return caffe_pb2


def serialize_datum(label: int, shape: tuple[int, int, int], data: bytes | np.ndarray, encoded: bool) -> bytes:
    """Bytes of Datum(channels, height, width, data, label, encoded), as protobuf writes them.

    A message's fields may be written one after another, so the small ones go through protobuf and
    `data` (200 KB) is copied once instead of three times.
    """
    channels, height, width = shape
    datum, size = messages().Datum, len(data) if isinstance(data, bytes) else data.nbytes
    before = datum(channels=channels, height=height, width=width).SerializeToString()
    after = datum(label=label, encoded=encoded).SerializeToString()
    return b"".join((before, DATA_TAG, _varint(size), data, after))


def _varint(value: int) -> bytes:
    """Protobuf's base-128 number: 7 bits a byte, lowest first, the top bit set on all but the last."""
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
