"""The same file wherever it lies: things are compared by their content, not by the place or name they have today."""
import hashlib
import json
from pathlib import Path
from typing import Any

CONTENT = ("sha256", "fingerprint")  # keys that tell a thing's content
PLACE = ("file", "path", "dataset")  # keys that tell where it lies and what it is called


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_identity(path: Path | None) -> dict[str, str | None]:
    """{"file", "sha256"} as run.json and meta.json keep them; both None for no file."""
    return {"file": str(path), "sha256": sha256(path)} if path else {"file": None, "sha256": None}


def without_places(value: Any) -> Any:
    """The value with places and names left out of every dict whose content is known. What differs then is different."""
    if not isinstance(value, dict):
        return value
    known = any(value.get(name) for name in CONTENT)
    return {name: without_places(part) for name, part in value.items() if not (known and name in PLACE)}


def cache_key(made_from: dict) -> str:
    """SHA-256 over everything that a result depends on, a dict that JSON can hold; the same for moved files."""
    return hashlib.sha256(json.dumps(without_places(made_from), sort_keys=True).encode()).hexdigest()
