"""The pipe of the net process as python/README.md describes it, on asyncio's streams."""

import asyncio
import json
import struct
from dataclasses import dataclass

import numpy as np

MAGIC = b"BHC1"
START = struct.Struct("<4sII")
MOST_HEADER = 1 << 20
MOST_BODY = 256 << 20


class BrokenPipe(Exception):
    """The process at the other end ended, or said something that is no frame."""


@dataclass(frozen=True)
class Frame:
    """header: a JSON object; parts: {name: bytes, or the array}."""

    header: dict
    parts: dict[str, bytes | np.ndarray]


def frame_bytes(header: dict, parts: dict[str, bytes]) -> bytes:
    """One request as it goes into the pipe."""
    listed = [{"name": name, "bytes": len(part)} for name, part in parts.items()]
    text = json.dumps(header | {"parts": listed}).encode()
    body = b"".join(parts.values())
    return START.pack(MAGIC, len(text), len(body)) + text + body


async def read_frame(stream: asyncio.StreamReader) -> Frame:
    """The next answer. BrokenPipe at the end of the stream, too."""
    try:
        magic, header_length, body_length = START.unpack(await stream.readexactly(START.size))
        if magic != MAGIC or header_length > MOST_HEADER or body_length > MOST_BODY:
            raise BrokenPipe("what came is no frame")
        header = json.loads(await stream.readexactly(header_length))
        return Frame(header, parts_of(header, await stream.readexactly(body_length)))
    except (asyncio.IncompleteReadError, ConnectionError, ValueError) as error:
        raise BrokenPipe(f"it ended or broke off ({error})") from None


def parts_of(header: dict, body: bytes) -> dict[str, bytes | np.ndarray]:
    """The parts that a header lists, cut out of the body."""
    parts, place = {}, 0
    for part in header.get("parts", []):
        content = body[place:place + part["bytes"]]
        place += part["bytes"]
        parts[part["name"]] = content if "dtype" not in part else np.frombuffer(content, part["dtype"]).reshape(
            part["shape"])
    return parts
