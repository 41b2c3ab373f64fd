"""What serve.py can be told."""

from dataclasses import dataclass

from serving.place import Place


@dataclass(frozen=True)
class ServeOptions:
    """place: what is served. host None: the loopback address. net: words that start the net's process, () for none."""

    place: Place
    port: int
    host: str | None
    net: tuple[str, ...]
