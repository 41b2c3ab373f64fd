"""Small pictures inside an HTML page."""

import base64
import html
import io

import numpy as np
from PIL import Image


def data_uri(pixels: np.ndarray) -> str:
    """A PNG data URI of (s, s, 3) or (s, s) uint8 pixels (RGB)."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def picture(pixels: np.ndarray, caption: str, mark="", title="") -> str:
    """One captioned picture. mark: "right", "wrong" or "" (no judgement); title: shown when pointed at."""
    sign = {"right": "", "wrong": "<b aria-label='wrong'>&#10005;</b> "}.get(mark, "")
    return (f'<figure class="pic {mark}" title="{html.escape(title)}"><img alt="{html.escape(caption)}" '
            f'src="{data_uri(pixels)}"><figcaption>{sign}{html.escape(caption)}</figcaption></figure>')


def strip(query: str, rows: list[tuple[str, list[str]]]) -> str:
    """A query picture and titled rows of results: rows = [(name, [picture, ...])]."""
    lists = "".join(f'<div class="list"><span>{html.escape(name)}</span>'
                    f'<div class="pics">{"".join(pictures)}</div></div>' for name, pictures in rows)
    return f'<div class="strip"><div class="query">{query}</div><div class="lists">{lists}</div></div>'
