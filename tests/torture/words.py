"""Make and the shell: variables that would run, leave runs/ or be ignored, in a copy of the checkout with a run."""
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from torture.cases import ANY, REFUSED, Case, Command
from torture.good import REPO

COPIED = ("Makefile", "requirements*.txt", "third_party", "prototxt", "python", "data_prep", "eval")
# What is set up already, and what a build of Caffe would stand for.
SET_UP = ("CAFFE_READY=", "--old-file=.venv/.requirements", "--old-file=.venv/.serve", "--old-file=build/.apt-packages")
NAME = "checkout"


def checkout(folder: Path) -> Path:
    """A copy of the files that make reads, with this .venv."""
    place = folder / NAME
    for pattern in COPIED:
        for path in REPO.glob(pattern):
            copy = shutil.copytree if path.is_dir() else shutil.copy2
            copy(path, place / path.name) if place.exists() else (place.mkdir(), copy(path, place / path.name))
    (place / ".venv").symlink_to(REPO / ".venv")
    (place / "build/caffe").mkdir(parents=True)
    if (REPO / "build/caffe/current").exists():
        (place / "build/caffe/current").symlink_to((REPO / "build/caffe/current").resolve())
    (place / "build/.apt-packages").touch()
    return place


def environment() -> dict[str, str]:
    """That of a user's shell, even when make runs the trial."""
    of_make = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ASKED", "MAKEOVERRIDES")
    return {name: value for name, value in os.environ.items() if name not in of_make}


def make(place: Path, *words: str, **options) -> subprocess.Popen:
    """make in a copy, in a session of its own."""
    return subprocess.Popen(["make", *SET_UP, *words], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            env=environment(), start_new_session=True, **options)


BAD_NAMES = ("", ".", "..", "../x", "a/../b", "/tmp/x", "a b", "a/", "$$(touch stolen.txt)", "`touch stolen.txt`",
             "x;touch stolen.txt", "x|touch stolen.txt", "~", "a'b", 'a"b', "*", "x&", "a=b", "x\ny", "-x")
BAD_PATHS = ("$$(touch stolen.txt)", "`touch stolen.txt`", "x; touch stolen.txt", "x' ; touch stolen.txt '",
             'x" ; touch stolen.txt "', "x\\", "gone file.png", "$$HOME/gone", "*.gone", "-gone", "&& touch stolen.txt",
             "$$$$(touch stolen.txt)", "$(shell touch stolen.txt)")
IGNORED = (("demo", "BITS=12"), ("demo", "RUN=other"), ("demo", "DATA=x"), ("evaluate", "RUN=done", "DATA=x"),
           ("evaluate", "RUN=done", "GPU=0"), ("query", "RUN=done", "IMAGE=x", "BIT=12"),
           ("upgrade", "FILE=x", "RUN=y"),
           ("setup", "RUN=x"), ("train", "DATA=x", "IMAGE=y"), ("serve", "RUN=done", "OUT=x"), ("lint", "BITS=1"))
NEEDED = (("query", "RUN=done"), ("train",), ("upgrade",), ("export", "RUN=done"), ("package", "RUN=done"),
          ("add", "RUN=done"))
OVER_ITSELF = (("package", "RUN=done", "OUT=runs/done"), ("package", "RUN=done", "OUT=runs"),
               ("export", "RUN=done", "OUT=runs/done/final.caffemodel"),
               ("upgrade", "FILE=runs/done/final.caffemodel", "OUT=runs/done/final.caffemodel"))


def all_words() -> Iterator[Case]:
    """Every call of make. Those of the first targets are refused before a program starts; others are one program."""
    for name in BAD_NAMES:
        yield _case(("evaluate", f"RUN={name}"), REFUSED)
    for name in BAD_NAMES[1:12]:
        yield _case(("train-cifar", f"BITS={name}"), REFUSED)
    for path in BAD_PATHS:
        yield _case(("train", f"DATA={path}"), REFUSED)
        yield _case(("upgrade", f"FILE={path}"), REFUSED)
    for path in BAD_PATHS[:3]:
        yield _case(("query", "RUN=done", f"IMAGE={path}"), REFUSED)
        yield _case(("export", f"FILE={path}", "OUT=x.onnx"), REFUSED)
    for words in (*IGNORED, *NEEDED, *OVER_ITSELF):
        yield _case(words, REFUSED)
    yield _case(("upgrade", "FILE=a b's.prototxt", "OUT=c d$$.prototxt"), ANY, made("c d$.prototxt"))
    yield _case(("query", "RUN=done", "IMAGE=a b's.png", "GPU=none"), ANY, made("runs/done/query/answers.html"))
    yield _case(("train", "DATA=none", "DATASET=x", "WEIGHTS=$$(touch stolen.txt)"), REFUSED)


def made(name: str) -> Callable[[Path], str | None]:
    return lambda folder: None if (folder / NAME / name).exists() else f"{name} was not made"


def _case(words: tuple[str, ...], expected: str, check: Callable[[Path], str | None] | None = None) -> Case:
    written = ("build", "runs/done/query", "runs/done/caffe.log", "c d", "x.caffe.log")
    outputs = tuple(f"{NAME}/{name}" for name in written)
    command = Command("make", "make", words, (), outputs)
    return Case(command, "", " ".join(words), _with_checkout, expected, check)


def _with_checkout(folder: Path, rng: random.Random) -> None:
    place = checkout(folder)
    shutil.copytree(folder / "run", place / "runs/done")
    shutil.copy(folder / "train_val.prototxt", place / "a b's.prototxt")
    shutil.copy(sorted((folder / "photos").rglob("*.png"))[0], place / "a b's.png")
