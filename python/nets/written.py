"""Prototxt that make had written: anew where the template gives something else by now, kept where it was edited."""
import hashlib
from collections.abc import Mapping
from pathlib import Path

from process.files import write_json
from process.readers import read_json

WRITTEN = ".written.json"  # beside the files: what the template wrote
SCHEMA = {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}}


def edited(folder: Path, texts: Mapping[str, str]) -> list[str]:
    """Names of the files in `folder` that are neither what the template would write nor what it wrote there last."""
    written = _written(folder)
    return [name for name, text in texts.items() if (folder / name).exists()
            and digest_of((folder / name).read_bytes()) not in (digest_of(text.encode()), *written.get(name, []))]


def remember(folder: Path, texts: Mapping[str, str]) -> None:
    """Notes, before they are written, what the files will hold. What they hold still counts: kills come in between."""
    written = _written(folder)
    write_json(folder / WRITTEN, {name: [*written.get(name, [])[-1:], digest_of(text.encode())]
                                  for name, text in texts.items()})


def _written(folder: Path) -> dict[str, list[str]]:
    record = folder / WRITTEN
    return read_json(record, SCHEMA) if record.exists() else {}


def digest_of(content: bytes) -> str:
    """SHA-256 in hex digits."""
    return hashlib.sha256(content).hexdigest()
