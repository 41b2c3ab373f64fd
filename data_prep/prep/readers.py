"""Readers that look at what they read: what is something else ends in a PrepError that names the file."""
import json
import stat
import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fastjsonschema
import numpy as np

from prep.errors import PrepError

LARGEST_LABEL = 2**31 - 1  # a Datum's


def read_bytes(path: Path) -> bytes:
    """Content of a file. OSError when there is none, PrepError for a folder, FIFO or device, which may never end."""
    if "\0" in str(path):
        raise PrepError(f"{str(path)!r} has a zero byte, which no name of a file has; correct what names it")
    if not stat.S_ISREG(path.stat().st_mode):
        raise PrepError(f"{path}: no file but a folder, a FIFO or a device; name a file that lies on a disk")
    return path.read_bytes()


def read_lines(path: Path) -> list[str]:
    """Lines without blanks at their ends. Bytes that are no UTF-8 stay what they are: names of files may have them.

    PrepError for a list that is empty or has an empty line.
    """
    lines = read_bytes(path).decode("utf-8-sig", "surrogateescape").split("\n")
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise PrepError(f"{path}: the list is empty")
    blank = next((number for number, line in enumerate(lines, 1) if not line.strip()), None)
    if blank is not None:
        raise PrepError(f"{path}, line {blank}: blank; remove it")
    return [line.strip() for line in lines]


def parse_label(text: str, where: str) -> int:
    """A whole number that a Datum can hold. PrepError that begins with `where`."""
    if not (text.isascii() and text.isdigit()):
        raise PrepError(f"{where}: label {text!r} is not a whole number from 0 up")
    if len(text) > len(str(LARGEST_LABEL)) or int(text) > LARGEST_LABEL:
        raise PrepError(f"{where}: label {text[:40]} is more than {LARGEST_LABEL}; number the classes from 0 up")
    return int(text)


def read_json(path: Path, schema: Mapping[str, Any]) -> dict:
    """Content of a JSON file that has the form of the schema (JSON Schema, draft 7). PrepError for anything else."""
    try:
        content = json.loads(read_bytes(path))
        fastjsonschema.validate(schema, content)
    except (OSError, ValueError, RecursionError, fastjsonschema.JsonSchemaException) as error:
        raise PrepError(f"{path}: cannot be read as what belongs there ({error})") from error
    return content


def read_array(path: Path) -> np.ndarray:
    """The array of an .npy file; numbers only. PrepError for anything else."""
    content = read_bytes(path)
    try:
        if not content.startswith(np.lib.format.MAGIC_PREFIX):
            raise ValueError("it does not begin as one")
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, TypeError, KeyError, SyntaxError, tokenize.TokenError, OverflowError, MemoryError,
            RecursionError) as error:  # numpy parses a header as Python
        raise PrepError(f"{path}: not a numpy file ({error})") from error
    if array.dtype.kind not in "iuf":
        raise PrepError(f"{path}: {array.dtype} array of shape {array.shape}; numbers are wanted")
    return array
