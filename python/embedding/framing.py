"""Messages on a pipe, written down in python/README.md ("The pipe of embed.py"). Imports nothing that loads Caffe.

A frame: the four bytes BHC1, length of the header and length of the body (two little-endian uint32), the header (a JSON
object in UTF-8), the body. What the body holds is listed in the header's "parts", in order.
"""
import json
import struct
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

MAGIC = b"BHC1"
START = struct.Struct("<4sII")
MOST_HEADER = 1 << 20
MOST_BODY = 256 << 20


class BrokenPipe(Exception):
    """The other side ended in the middle of a frame, or what came is none."""


@dataclass(frozen=True)
class Frame:
    """One message. parts: {name: bytes, or an array} in the order of the body."""
    header: dict[str, Any]
    parts: dict[str, bytes | np.ndarray] = field(default_factory=dict)


def write_frame(stream: BinaryIO, header: dict[str, Any], parts: dict[str, bytes | np.ndarray] | None = None) -> None:
    """Writes a frame and flushes. Arrays go in C order, little-endian, with their dtype and shape in "parts"."""
    listed, bodies = [], []
    for name, part in (parts or {}).items():
        body = part if isinstance(part, bytes) else _little_endian(part).tobytes()
        listed.append({"name": name, "bytes": len(body), **_told(part)})
        bodies.append(body)
    text = json.dumps({**header, "parts": listed}).encode()
    stream.write(START.pack(MAGIC, len(text), sum(map(len, bodies))) + text)
    for body in bodies:
        stream.write(body)
    stream.flush()


def _little_endian(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def _told(part: bytes | np.ndarray) -> dict[str, Any]:
    """What the header tells of an array beside its length."""
    return {} if isinstance(part, bytes) else {"dtype": _little_endian(part).dtype.str, "shape": list(part.shape)}


def read_frame(stream: BinaryIO) -> Frame | None:
    """The next frame; None at the end of the stream. BrokenPipe for half a frame, or for what is none."""
    start = stream.read(START.size)
    if not start:
        return None
    magic, header_length, body_length = START.unpack(_whole(start, START.size))
    if magic != MAGIC or header_length > MOST_HEADER or body_length > MOST_BODY:
        raise BrokenPipe(f"no frame starts with {start[:4]!r}, lengths {header_length} and {body_length}")
    header = json.loads(_whole(stream.read(header_length), header_length))
    return Frame(header, _parts(header, _whole(stream.read(body_length), body_length)))


def _whole(read: bytes, length: int) -> bytes:
    if len(read) < length:
        raise BrokenPipe(f"the pipe ended after {len(read)} of {length} bytes")
    return read


def _parts(header: dict[str, Any], body: bytes) -> dict[str, bytes | np.ndarray]:
    parts, place = {}, 0
    for part in header.get("parts", []):
        content = body[place:place + part["bytes"]]
        place += part["bytes"]
        parts[part["name"]] = content if "dtype" not in part else np.frombuffer(content, part["dtype"]).reshape(
            part["shape"])
    return parts
