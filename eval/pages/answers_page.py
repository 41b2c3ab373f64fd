"""The page of a query: each new image with its nearest ones."""

from pathlib import Path

from basics.files import write_text
from pages.gallery import title_of
from pages.parts import Strip, Text, page, picture, section
from pages.summary import NAMES
from search.feature_set import Split

CAPTION = "Below each result its class, Hamming distance and, within the pool, fc7 distance."


def write_page(path: Path, answers: list[dict], queries: Split, database: Split):
    """answers.html (answers: as from search.answers.answer); pictures where both sides have thumbs.npy."""
    parts = [Text(CAPTION, soft=True)]
    for row, entry in enumerate(answers):
        name = Path(entry["image"]).name
        parts.append(section(name, votes_text(entry), pictures(row, entry, queries, database)))
    write_text(path, page("Nearest images", parts))


def votes_text(entry: dict) -> Text:
    votes = ", ".join(f"{name} {count}" for name, count in entry["votes"])
    return Text(f"Votes of the first {len(entry['results'])}: {votes}. Images within the pool (Hamming distance "
                f"< {entry['radius']}): {entry['pool']:,}.")


def pictures(row: int, entry: dict, queries: Split, database: Split) -> Strip | None:
    """The image asked about and its results; None without thumbs.npy of both."""
    if queries.thumbs is None or database.thumbs is None:
        return None
    found = [picture(database.thumbs[result["row"]], f"{result['class']} {distance_text(result)}",
                     title=title_of(database, result["row"])) for result in entry["results"]]
    return Strip(picture(queries.thumbs[row], "asked"), [(NAMES[entry["search"]], found)])


def distance_text(result: dict) -> str:
    """Hamming distance, and the fc7 distance where known."""
    return f"({result['hamming']}" + ("" if result["euclidean"] is None else f"; {result['euclidean']:.3g}") + ")"
