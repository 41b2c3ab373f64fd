"""The rooms of eval/: nothing is imported from a room above, programs import no programs, Caffe is never imported."""

import ast
from pathlib import Path

import pytest

import evaluate

EVAL = Path(evaluate.__file__).parent
# From the bottom; benchmarks beside pages, nodes beside search.
ROOMS = ("basics", "search", "nodes", "engines", "measures", "pages", "serving", "benchmarks")
MAY_IMPORT = {"basics": {"basics"}, "search": {"basics", "search"}, "nodes": {"basics", "nodes"},
              "engines": {"basics", "search", "nodes", "engines"},
              "measures": {"basics", "search", "measures"},
              "pages": {"basics", "search", "measures", "pages"},
              "serving": {"basics", "search", "measures", "pages", "serving"},
              "benchmarks": {"basics", "search", "measures", "benchmarks"}}
PROGRAMS = sorted(path.stem for path in EVAL.glob("*.py"))
FILES = sorted(EVAL.rglob("*.py"))


def imported(path):
    """First parts of the names of all modules that a file imports, wherever in it."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


def test_every_file_is_a_program_or_lies_in_a_room():
    rooms = {path.relative_to(EVAL).parts[0] for path in FILES if path.parent != EVAL}
    assert rooms == set(ROOMS)
    assert {"evaluate", "query", "compare", "cifar_table", "bench_eval", "serve", "bench_serve"} <= set(PROGRAMS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EVAL)))
def test_imports_go_downwards(path):
    names = imported(path)
    assert not names & set(PROGRAMS)
    if path.parent != EVAL:
        room = path.relative_to(EVAL).parts[0]
        assert names & set(ROOMS) <= MAY_IMPORT[room]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(EVAL)))
def test_caffe_and_the_other_folders_are_not_imported(path):
    others = {file.stem for folder in ("python", "data_prep") for file in (EVAL.parent / folder).glob("*.py")}
    assert not imported(path) & (others | {"caffe", "cv2", "lmdb"})
