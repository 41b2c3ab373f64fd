"""What serve.py can be told."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ServeOptions:
    """host None: the loopback address. net: the words that start the net's process, () for none."""

    features: Path
    port: int
    host: str | None
    net: tuple[str, ...]
