"""Caffe's messages: its own module for them, and a Datum written without it."""
from functools import cache

import numpy as np

from prep.errors import PrepError

# Field numbers of Datum in caffe.proto.
CHANNELS, HEIGHT, WIDTH, DATA, LABEL, ENCODED = 1, 2, 3, 4, 5, 7
VARINT, BYTES = 0, 2  # wire types


@cache
def messages():
    """The module caffe_pb2. It loads all of Caffe, so it is asked for only when a message is needed."""
    try:
        from caffe.proto import caffe_pb2  # the fast path writes the bytes itself
    except ImportError as error:
        raise PrepError(f"Caffe's Python module cannot be loaded ({error}); run make caffe") from error
    return caffe_pb2


def serialize_datum(label: int, shape: tuple[int, int, int], data: bytes | np.ndarray, encoded: bool) -> bytes:
    """Bytes of Datum(channels, height, width, data, label, encoded), the same as protobuf's.

    Written by hand because protobuf copies `data` (200 KB) three times instead of once, and loading
    caffe_pb2, which loads all of Caffe, takes as long as preparing 2,000 images.
    """
    channels, height, width = shape
    size = len(data) if isinstance(data, bytes) else data.nbytes
    return b"".join((_number(CHANNELS, channels), _number(HEIGHT, height), _number(WIDTH, width),
                     _tag(DATA, BYTES), _varint(size), data, _number(LABEL, label), _number(ENCODED, encoded)))


def _number(field: int, value: int) -> bytes:
    return _tag(field, VARINT) + _varint(value)


def _tag(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _varint(value: int) -> bytes:
    """Protobuf's base-128 number: 7 bits a byte, lowest first, the top bit set on all but the last."""
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
