"""Readers that look at what they read: what is something else ends in a sentence that names the file."""
import json
import stat
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import fastjsonschema

from process.errors import DriverError


def is_there(path: Path) -> bool:
    """Whether there is something to read. DriverError for a link that leads nowhere, which is no absence."""
    if path.is_symlink() and not path.exists():
        raise DriverError(f"{path} is a link that leads nowhere: remove it, or make it again")
    return path.exists()


def regular_file(path: Path, what: str = "file") -> Path:
    """The path. FileNotFoundError when there is nothing; DriverError for a folder, FIFO or device, which may never end.

    what: it should be, in words.
    """
    if "\0" in str(path):
        raise DriverError(f"{str(path)!r} has a zero byte, which no name of a file has: correct what names it")
    if not stat.S_ISREG(path.stat().st_mode):
        raise DriverError(f"{path} is no file but a folder, a FIFO or a device: give a {what} that lies on a disk")
    return path


def read_bytes(path: Path, what: str = "file") -> bytes:
    """Content of a regular file."""
    return regular_file(path, what).read_bytes()


def read_text(path: Path, what: str = "text file") -> str:
    """Content of a text file in UTF-8, with or without a byte order mark. DriverError names the first wrong byte."""
    content = read_bytes(path, what)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DriverError(f"{path} is no {what}: byte {error.start} is not UTF-8 ({error.reason})") from None


def read_lines(path: Path, what: str = "list") -> list[str]:
    """Lines of a text file, their ends taken off. Bytes that are no UTF-8 stay what they are: names may have them."""
    lines = read_bytes(path, what).decode("utf-8-sig", "surrogateescape").split("\n")
    return lines[:-1] if not lines[-1] else lines


AN_OBJECT = {"type": "object"}


def read_json(path: Path, schema: Mapping[str, Any] = AN_OBJECT) -> Any:
    """The content of a JSON file that has the form of the schema (JSON Schema, draft 7).

    FileNotFoundError when there is none, DriverError when it is something else.
    """
    try:
        content = json.loads(read_text(path, "JSON file"), parse_constant=_refuse_constant)
        _validator(json.dumps(schema, sort_keys=True))(content)
    except (ValueError, RecursionError, fastjsonschema.JsonSchemaException) as error:
        raise DriverError(f"{path} is not the JSON that belongs there ({str(error) or 'too deep'}): remove it and make "
                          "it again") from None
    return content


@cache
def _validator(schema: str) -> Any:
    return fastjsonschema.compile(json.loads(schema), use_default=False)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
