"""What the pages of eval/ are made of: values, without markup. templates/document.html makes HTML of them."""

import base64
import io
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from markupsafe import Markup
from PIL import Image

from pages.templating import render

STATIC = Path(__file__).with_name("static")
STYLES = ("look.css", "document.css")
KEY_NAME = "evaluation-key"
HEAD_LENGTH = 4096   # characters of a page among which its key stands


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar = "text"
    text: str
    soft: bool = False


@dataclass(frozen=True)
class Table:
    """header: names; rows: lists of cells; numeric: columns set to the right; ours: rows set bold."""

    kind: ClassVar = "table"
    header: list
    rows: list[list]
    numeric: tuple | range = ()
    ours: tuple | range | list = ()


@dataclass(frozen=True)
class Facts:
    """A table of (name, value); entries without a value are left out."""

    kind: ClassVar = "facts"
    rows: list[tuple]


@dataclass(frozen=True)
class Numbers:
    """The few figures that matter most: [(value, name)]."""

    kind: ClassVar = "numbers"
    pairs: list[tuple[str, str]]


@dataclass(frozen=True)
class Drawing:
    """A figure as inline SVG, of our own making."""

    kind: ClassVar = "drawing"
    svg: Markup


@dataclass(frozen=True)
class SideBySide:
    """(title, parts) blocks next to each other where there is room."""

    kind: ClassVar = "side_by_side"
    blocks: tuple


@dataclass(frozen=True)
class Picture:
    """A captioned picture. source: address of its pixels; mark: "right", "wrong" or ""; title: when pointed at."""

    source: str
    caption: str
    mark: str = ""
    title: str = ""


@dataclass(frozen=True)
class Strip:
    """A query's picture and titled rows of results: rows = [(name, [Picture, ...])]."""

    kind: ClassVar = "strip"
    query: Picture
    rows: list


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    kind: ClassVar = "section"
    title: str
    parts: tuple


def section(title: str, *parts) -> Section:
    """Without the parts that are None."""
    return Section(title, tuple(part for part in parts if part is not None))


def side_by_side(*blocks: tuple) -> SideBySide:
    """blocks: (title, part, ...), parts that are None left out."""
    return SideBySide(tuple((title, [part for part in parts if part is not None]) for title, *parts in blocks))


def picture(pixels: np.ndarray, caption: str, mark="", title="") -> Picture:
    """A picture of (s, s, 3) or (s, s) uint8 pixels (RGB), carried in the page."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(buffer, format="PNG", optimize=True)
    return Picture("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode(), caption, mark, title)


def page(title: str, parts: list, key: str | None = None, heading: str | None = None) -> str:
    """A whole HTML document that needs no network and no other file. key: of what it shows, for `page_key`."""
    return render("document.html", title=title, heading=heading or title, key=key, key_name=KEY_NAME, style=styles(),
                  parts=[part for part in parts if part is not None])


@cache
def styles() -> Markup:
    """The style sheets of a document, to stand inside it."""
    return Markup("".join((STATIC / name).read_text(encoding="utf-8") for name in STYLES))


def page_key(path: Path) -> str | None:
    """The key that a page was written with; None without one or without the page."""
    if not path.exists():
        return None
    with open(path, encoding="utf-8", errors="replace") as file:
        found = re.search(rf'<meta name="{KEY_NAME}" content="([^"]*)">', file.read(HEAD_LENGTH))
    return found and found[1]
