"""The frame and the tables of the HTML pages: self-contained, readable at desktop and phone width."""

import html
import re
from pathlib import Path

KEY_NAME = "evaluation-key"
HEAD_LENGTH = 4096   # characters of a page among which its key stands

STYLE = """
:root { color-scheme: light; --ink: #1d1f21; --soft: #5c6166; --line: #e3e5e8; --good: #2f7d4f; --bad: #c0392b; }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; color: var(--ink); background: #fff;
       max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.8rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }
p { max-width: 44rem; margin: .4rem 0 .8rem; } .soft { color: var(--soft); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .95rem; }
th, td { text-align: left; padding: .3rem 1.4rem .3rem 0; vertical-align: top; font-weight: normal; }
thead th { color: var(--soft); border-bottom: 1px solid var(--line); white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tbody td { white-space: nowrap; } .facts td { white-space: normal; }
tr.ours td { font-weight: 600; } code { font-size: .88em; overflow-wrap: anywhere; }
.facts th, .facts td { padding-top: .1rem; padding-bottom: .1rem; }
.facts th { color: var(--soft); white-space: nowrap; }
.numbers { display: flex; flex-wrap: wrap; gap: .8rem 2.6rem; margin: 1.4rem 0; }
.numbers div { font-size: .88rem; color: var(--soft); }
.numbers b { display: block; font-size: 1.75rem; line-height: 1.2;
       color: var(--ink); font-weight: 600; font-variant-numeric: tabular-nums; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 1rem 2rem; }
.pair > div { min-width: 0; } .pair h3 { font-size: 1rem; font-weight: 600; margin: .6rem 0; }
svg { width: 100%; max-width: 34rem; height: auto; display: block; }
.strip { display: flex; gap: 1rem; padding: .8rem 0; border-bottom: 1px solid var(--line); }
.strip:last-child { border-bottom: 0; }
.query { flex: 0 0 5.2rem; } .lists { flex: 1; min-width: 0; } .list > span { font-size: .8rem; color: var(--soft); }
.pics { display: grid; grid-template-columns: repeat(10, minmax(0, 1fr)); gap: .4rem; margin-bottom: .4rem; }
.pic { margin: 0; min-width: 0; }
.pic img { width: 100%; display: block; border: 3px solid var(--line); border-radius: 3px; }
.pic.right img { border-color: var(--good); } .pic.wrong img { border-color: var(--bad); border-style: dashed; }
.pic figcaption { font-size: .68rem; line-height: 1.3; text-align: center; overflow: hidden; text-overflow: ellipsis; }
.pic.wrong figcaption { color: var(--bad); }
@media (max-width: 40rem) { tbody td:first-child { white-space: normal; }
       .strip { flex-direction: column; gap: .4rem; } .query { flex: none; width: 4.4rem; }
       .pics { grid-template-columns: repeat(5, minmax(0, 1fr)); } th, td { padding-right: .9rem; }
       .numbers { gap: .8rem 1.6rem; } .numbers b { font-size: 1.4rem; } .facts th { white-space: normal; } }
"""


def page(title: str, body: str, key: str | None = None) -> str:
    """A whole HTML document. key: of what it shows, for `page_key`."""
    kept = f'<meta name="{KEY_NAME}" content="{html.escape(key)}">' if key else ""
    return ('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">{kept}'
            f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n")


def page_key(path: Path) -> str | None:
    """The key that a page was written with; None without one or without the page."""
    if not path.exists():
        return None
    with open(path, encoding="utf-8", errors="replace") as file:
        found = re.search(rf'<meta name="{KEY_NAME}" content="([^"]*)">', file.read(HEAD_LENGTH))
    return found and found[1]


def section(title: str, *parts: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>{''.join(parts)}</section>\n"


def paragraph(text: str, kind="") -> str:
    return f'<p class="{kind}">{html.escape(text)}</p>'


def table(header: list, rows: list[list], numeric=(), ours=()) -> str:
    """header: names; rows: lists of text; numeric: columns set to the right; ours: rows set bold."""
    def cells(tag, row):
        return "".join(f'<{tag}{" class=n" if i in numeric else ""}>{html.escape(str(cell))}</{tag}>'
                       for i, cell in enumerate(row))

    body = "".join(f'<tr{" class=ours" if i in ours else ""}>{cells("td", row)}</tr>' for i, row in enumerate(rows))
    return (f'<div class="wide"><table><thead><tr>{cells("th", header)}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>")


def facts(rows: list[tuple]) -> str:
    """A two-column table of names and values; entries without a value are left out."""
    body = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
                   for name, value in rows if value not in (None, ""))
    return f'<div class="wide"><table class="facts">{body}</table></div>'


def numbers(pairs: list[tuple[str, str]]) -> str:
    """The few figures that matter most: [(value, name)]."""
    return '<div class="numbers">' + "".join(f"<div><b>{html.escape(value)}</b>{html.escape(name)}</div>"
                                             for value, name in pairs) + "</div>"


def side_by_side(*parts: tuple[str, str]) -> str:
    """(title, content) blocks next to each other where there is room."""
    return '<div class="pair">' + "".join(f"<div><h3>{html.escape(title)}</h3>{content}</div>"
                                          for title, content in parts) + "</div>"
