"""What was made before and may not be kept, and outputs that are inputs."""
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from torture.cases import ANY, COMMANDS, CPU, REFUSED, Case, Command
from torture.hostile import array, changed, entry

EVALUATE = ("--features", "run/features", "--out", "run/eval")
KEPT = Command("evaluate kept", "evaluate", (*EVALUATE, "--if-changed", "--baselines", "none"), (), ("run/eval",))
SCORED = Command("evaluate scored", "evaluate", (*EVALUATE, "--score-only"), (), ("run/eval",))
EXTRACTED = Command("extract kept", "extract", ("--run", "run", "--lmdb", "test_lmdb", "--out", "run/features/test",
                                                *CPU), (), ("run/features", "run/caffe.log"))
GONE_ON = next(command for command in COMMANDS if command.name == "go on")


def all_again() -> Iterator[Case]:
    """Every case of this file."""
    train = "run/features/train"
    yield Case(KEPT, f"{train}/latent.npy", "other codes since", array(lambda p: 1 - p), ANY, codes_are_these)
    yield Case(KEPT, f"{train}/labels.npy", "other labels since", array(lambda c: (c + 1) % 4), ANY, other_map)
    yield Case(KEPT, f"{train}/fc7.npy", "another fc7 since", array(lambda f: f[::-1].copy()), ANY, other_second_stage)
    yield Case(KEPT, "run/eval/report.html", "an older report", old_report, ANY, report_is_new)
    for kind, edit in (("other codes since", lambda p: 1 - p), ("another fc7 since", lambda f: f[::-1].copy())):
        name = "latent.npy" if "codes" in kind else "fc7.npy"
        yield Case(SCORED, f"{train}/{name}", kind, array(edit), REFUSED)
    for place in (0.0, 0.5, 1.0):
        pixels = changed(data=lambda datum: bytes(255 - value for value in datum.data))
        yield Case(EXTRACTED, "test_lmdb", f"other pixels at {place}", entry(place, pixels), ANY, features_are_other)
    yield Case(GONE_ON, "run/snapshots/iter_20.caffemodel", "of another training", older_snapshot, REFUSED)
    for name, program, arguments in OVER_INPUTS:
        command = Command("over its input", program, arguments, (), (".none",))
        yield Case(command, "", name, lambda path, rng: None, REFUSED)


OVER_INPUTS = (  # what -> program and arguments whose output is, holds or lies in an input, or is no folder of its own
    ("a database", "extract", ("--run", "run", "--lmdb", "test_lmdb", "--out", "test_lmdb", *CPU)),
    ("within a database", "extract", ("--run", "run", "--lmdb", "test_lmdb", "--out", "test_lmdb/x", *CPU)),
    ("another database", "extract", ("--run", "run", "--lmdb", "test_lmdb", "--out", "train_lmdb", *CPU)),
    ("photos", "extract", ("--run", "run", "--images", "photos", "--out", "photos", *CPU)),
    ("all", "extract", ("--run", "run", "--lmdb", "test_lmdb", "--out", ".", *CPU)),
    ("photos of a set", "make_lmdb", ("auto", "--data", "photos", "--out", "photos", "--overwrite")),
    ("an archive", "make_lmdb", ("auto", "--data", "photos.tar", "--out", "photos.tar", "--overwrite")),
    ("weights", "upgrade", ("run/final.caffemodel", "--out", "run/final.caffemodel")),
    ("another net", "upgrade", ("train_val.prototxt", "--out", "solver.prototxt")),
    ("weights by export", "export", ("--run", "run", "--out", "run/final.caffemodel")),
    ("a run", "package", ("--run", "run", "--out", "run")),
    ("photos by package", "package", ("--run", "run", "--out", "photos")),
    ("a problem", "train", ("--solver", "solver.prototxt", "--run", ".", "--weights", "none", *CPU)),
    ("a database by training", "train", ("--solver", "solver.prototxt", "--run", "train_lmdb", "--weights", "none",
                                         *CPU)),
    ("a mean", "mean_image", ("--npy", "mean.npy", "--own", "--out", "mean.npy")),
)


def codes_are_these(folder: Path) -> str | None:
    """Whether the codes that were saved are those of the latent activations that are there."""
    codes = np.packbits(np.load(folder / "run/features/train/latent.npy") >= 0.5, axis=1)
    return None if np.array_equal(np.load(folder / "run/eval/codes-train.npy"), codes) else "older codes were kept"


def figures(folder: Path, name: str) -> object:
    return json.loads((folder / name / "results.json").read_text())


def other_map(folder: Path) -> str | None:
    """With rotated labels of the database nothing near is of the query's class: 0.9 would be the older figure."""
    before, now = figures(folder, "run/eval")["map"], json.loads((folder / "results.json").read_text())["map"]
    return "the older figures were kept" if before == now else None


def other_second_stage(folder: Path) -> str | None:
    before, now = figures(folder, "run/eval"), json.loads((folder / "results.json").read_text())
    return "the older figures were kept" if before["key"] == now["key"] else None


def old_report(path: Path, rng: random.Random) -> None:
    path.write_text("<html>of other results</html>")


def report_is_new(folder: Path) -> str | None:
    kept = (folder / "run/eval/report.html").read_text() == "<html>of other results</html>"
    return "the older report was kept" if kept else None


def features_are_other(folder: Path) -> str | None:
    now, before = (np.load(folder / place / "test/fc7.npy") for place in ("run/features", "second"))
    return "the older features were kept" if np.array_equal(now, before) else None


def older_snapshot(path: Path, rng: random.Random) -> None:
    """Whole, and not the one that its json describes."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
