"""The rooms: what each may import, that no import runs upward or in a circle, and that late imports say why."""
import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
# room: rooms of the same folder that it may import. A folder alone is the room of its programs.
ROOMS = {
    "python/process": (),
    "python/caffe_files": ("process",),
    "python/nets": ("process", "caffe_files"),
    "python/gpu": ("process", "caffe_files", "nets"),
    "python/training": ("process", "caffe_files", "gpu"),
    "python/features": ("process", "caffe_files", "nets", "gpu"),
    "python/onnx_export": ("process", "caffe_files", "nets", "features"),
    "python/packing": ("process", "caffe_files", "nets", "features", "onnx_export"),
    "python/checks": ("process", "caffe_files", "nets", "gpu", "training", "features"),
    "python/embedding": ("process", "caffe_files", "nets", "gpu", "features"),
    "python/on_cluster": ("process", "features"),
    "python": ("process", "caffe_files", "nets", "gpu", "training", "features", "onnx_export", "packing", "embedding",
               "checks", "on_cluster"),
    "data_prep/prep": (),
    "data_prep/downloads": ("prep",),
    "data_prep/sources": ("prep", "downloads"),
    "data_prep/databases": ("prep", "downloads", "sources"),
    "data_prep": ("prep", "downloads", "sources", "databases"),
    "eval/basics": (),
    "eval/search": ("basics",),
    "eval/nodes": ("basics",),
    "eval/measures": ("basics", "search"),
    "eval/pages": ("basics", "search", "measures"),
    "eval/serving": ("basics", "search", "measures", "pages"),
    "eval/benchmarks": ("basics", "search", "measures"),
    "eval": ("basics", "search", "nodes", "measures", "pages", "serving", "benchmarks"),
}
FOLDERS = sorted({room.split("/")[0] for room in ROOMS})
FILES = [path for room in ROOMS for path in sorted((REPO / room).glob("*.py"))]


def imports_of(path: Path) -> list[tuple[str, ast.stmt]]:
    """(dotted name, statement) of everything a file imports, inside functions too. `from a import b` is a and a.b."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found += [(node.module, node), *((f"{node.module}.{alias.name}", node) for alias in node.names)]
        elif isinstance(node, ast.Import):
            found += [(alias.name, node) for alias in node.names]
    return found


def names_in(folder: str) -> set[str]:
    """Rooms and programs of a folder, as they are imported."""
    return {path.stem for path in (REPO / folder).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_lies_below_it(room):
    own = {name: folder for folder in FOLDERS for name in names_in(folder)}
    allowed = {*ROOMS[room], *room.split("/")[1:]}
    for path in (REPO / room).glob("*.py"):
        imported = {name.split(".")[0] for name, _ in imports_of(path)}
        assert not (imported & own.keys()) - allowed, f"{path.relative_to(REPO)} imports upward, or a program"


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_room_is_listed(folder):
    assert {room for room in ROOMS if room.startswith(f"{folder}/")} == \
        {f"{folder}/{path.parent.name}" for path in (REPO / folder).glob("*/__init__.py")}


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_files_import_each_other_in_a_circle(folder):
    paths = (REPO / folder).rglob("*.py")
    modules = {".".join(path.relative_to(REPO / folder).with_suffix("").parts): path for path in paths}
    graph = {name: {other for other, _ in imports_of(path)} & modules.keys() for name, path in modules.items()}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the files of a circle
    assert len(order) == len(modules)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPO)))
def test_an_import_inside_a_function_gives_its_reason(path):
    lines = path.read_text().splitlines()
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    late = {node.lineno for function in functions for node in ast.walk(function)
            if isinstance(node, ast.Import | ast.ImportFrom)}
    assert [lines[number - 1] for number in sorted(late) if not re.search(r"  # \w", lines[number - 1])] == []


@pytest.mark.parametrize("module", ["train", "extract", "extract_cluster", "export", "package", "embed",
                                    "device_activations", "training.rank_guard"])
def test_what_runs_before_the_fork_loads_neither_caffe_nor_opencv(module):
    """The guard's child has to be the first to load them."""
    code = f"import sys, {module}; print(*sys.modules.keys() & {{'caffe', 'cv2', 'numpy'}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO / "python", capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == "\n"
