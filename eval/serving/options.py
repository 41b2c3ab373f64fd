"""What serve.py can be told."""

from collections.abc import Callable
from dataclasses import dataclass

from search.engine import Engine
from search.feature_set import Split
from serving.place import Place


@dataclass(frozen=True)
class ServeOptions:
    """place: what is served. host None: the loopback address. net: words that start the net's process, () for none.

    make_engine: gives what searches the database, None for this machine.
    """

    place: Place
    port: int
    host: str | None
    net: tuple[str, ...]
    make_engine: Callable[[Split], Engine] | None = None
