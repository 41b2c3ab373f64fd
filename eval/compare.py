"""Compare two or three models on the same images: ours, the authors' released one, another.

    .venv/bin/python eval/compare.py --features ours=runs/a/features released=runs/b/features --out runs/b/compare

Writes compare.json and compare.html. All are evaluated by the paper's protocol (cvprw15), by their codes.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from basics.files import locked_folder, write_json
from basics.program import positive, run_program
from measures.comparison import compare_models, load_models
from measures.published import RELEASED_FILE
from pages.comparison_page import write_page
from pages.summary import comparison_summary


@dataclass(frozen=True)
class ComparisonOptions:
    """models: (name, features directory) of two or three; expected: the name of one of them, or None."""

    models: tuple[tuple[str, Path], ...]
    out: Path
    expected: str | None = None
    threads: int | None = None


def named_directory(text: str) -> tuple[str, Path]:
    """argparse type: NAME=DIR, or DIR, which is named after the folder that holds it (runs/NAME/features)."""
    name, equals, directory = text.partition("=")
    path = Path(directory if equals else text)
    return (name if equals else path.resolve().parent.name), path


def parse_arguments(argv: list[str] | None) -> ComparisonOptions:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--features", nargs="+", type=named_directory, required=True, metavar="[NAME=]DIR",
        help="two or three directories with train/ (database) and test/ (queries); the first is ours")
    add("--out", type=Path, required=True, help="directory for compare.json, compare.html and figures/")
    add("--expected", metavar="NAME", help="show the authors' figure beside this model although its file is not the "
        f"released one (default: beside {RELEASED_FILE} only)")
    add("--threads", type=positive, help="default: the processors available")
    given = parser.parse_args(argv)
    names = [name for name, _ in given.features]
    if not 2 <= len(names) <= 3 or len(set(names)) < len(names):
        parser.error(f"--features takes two or three directories with different names, not: {' '.join(names)}")
    if given.expected not in (None, *names):
        parser.error(f"--expected {given.expected}: no such name among {', '.join(names)}")
    return ComparisonOptions(tuple(given.features), given.out, given.expected, given.threads)


def main(argv: list[str] | None = None) -> int:
    options = parse_arguments(argv)
    loaded = load_models(options.models)
    with locked_folder(options.out):
        result, models = compare_models(loaded, options.expected, options.threads)
        write_json(options.out / "compare.json", result)
        write_page(options.out, result, models)
    print(comparison_summary(result, options.out / "compare.html"))
    return 0


if __name__ == "__main__":
    run_program(main)
