"""The search page: one HTML file, styles and scripts, all served as they lie here."""

from pathlib import Path

from pages.templating import render

STATIC = Path(__file__).with_name("static")
STATIC_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def search_page() -> str:
    """The page. What it shows comes from the API, by its scripts."""
    return render("search.html")


def static_files() -> dict[str, bytes]:
    """{name: contents} of everything that the page loads."""
    return {path.name: path.read_bytes() for path in sorted(STATIC.iterdir()) if path.suffix[1:] in STATIC_TYPES}
