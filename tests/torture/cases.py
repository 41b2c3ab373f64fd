"""The table of bad inputs: commands, the files that they read, and what is done to each of these."""
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

REFUSED, ANY, SAME = "refused", "any", "same"  # expected: a sentence; that or a result; that or the good result


@dataclass(frozen=True)
class Command:
    """program: a module with main(argv), or make. inputs: files that it reads. outputs: what it may write, by the start
    of its name. set_up: called in the program's process first."""
    name: str
    program: str
    arguments: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    set_up: Callable[[], None] | None = None


@dataclass(frozen=True)
class Case:
    """change(path, rng): makes the input bad. expected: REFUSED, ANY or SAME.

    check, check_refused: given the folder, what is wrong with what the program left, if anything: after it has read the
    input, and after it has refused it.
    """
    command: Command
    file: str
    kind: str
    change: Callable[[Path, random.Random], None]
    expected: str
    check: Callable[[Path], str | None] | None = None
    check_refused: Callable[[Path], str | None] | None = None

    def __str__(self) -> str:
        return f"{self.command.name}: {self.file}: {self.kind}"


CPU = ("--gpu", "none")
COMMANDS = (
    Command("train", "train", ("--solver", "solver.prototxt", "--run", "out", "--weights", "none", *CPU, "--iterations",
                               "2"), ("solver.prototxt", "train_val.prototxt", "mean.binaryproto",
                                      "train_lmdb/data.mdb", "test_lmdb/data.mdb"), ("out",)),
    Command("go on", "train", ("--solver", "solver.prototxt", "--run", "run", "--weights", "none", *CPU, "--iterations",
                               "22"), ("run/run.json", "run/snapshots/iter_20.json",
                                       "run/snapshots/iter_20.caffemodel", "run/snapshots/iter_20.solverstate",
                                       "run/train_log.csv"), ("run",)),
    Command("fine-tune", "train", ("--solver", "solver.prototxt", "--run", "out", "--weights",
                                   "run/final.caffemodel", *CPU, "--iterations", "2"), ("run/final.caffemodel",),
            ("out",)),
    Command("extract", "extract", ("--run", "run", "--lmdb", "test_lmdb", "--out", "out/test", *CPU),
            ("run/deploy.prototxt", "run/final.caffemodel", "run/train_val.prototxt", "test_lmdb/data.mdb",
             "mean.binaryproto"), ("out", "run/caffe.log")),
    Command("extract images", "extract", ("--run", "run", "--images", "photos", "--out", "out/q", *CPU),
            ("photos/class0/{jpg}", "photos/class0/{png}"), ("out", "run/caffe.log")),
    Command("extract list", "extract", ("--run", "run", "--images", "list.txt", "--out", "out/q", *CPU),
            ("list.txt",), ("out", "run/caffe.log")),
    Command("upgrade weights", "upgrade", ("run/final.caffemodel", "--out", "out.caffemodel"),
            ("run/final.caffemodel",), ("out.caffemodel",)),
    Command("upgrade net", "upgrade", ("train_val.prototxt", "--out", "out.prototxt"), ("train_val.prototxt",),
            ("out.prototxt",)),
    Command("evaluate", "evaluate", ("--features", "run/features", "--out", "out", "--no-report", "--baselines", "none",
                                     "--no-sweep"),
            tuple(f"run/features/{split}/{name}" for split in ("train", "test")
                  for name in ("latent.npy", "fc7.npy", "labels.npy", "predictions.npy", "ids.txt", "meta.json")),
            ("out",)),
    Command("query", "query", ("--queries", "run/features/test", "--features", "run/features", "--out", "out"),
            ("run/features/test/latent.npy", "run/features/train/fc7.npy", "run/features/test/thumbs.npy"), ("out",)),
    Command("compare", "compare", ("--features", "ours=run/features", "other=second", "--out", "out"),
            ("second/test/latent.npy", "second/train/fc7.npy"), ("out",)),
    Command("export", "export", ("--run", "run", "--out", "out.onnx"),
            ("run/deploy.prototxt", "run/final.caffemodel"), ("out", "run/caffe.log")),
    Command("package", "package", ("--run", "run", "--out", "out"),
            ("run/deploy.prototxt", "run/final.caffemodel", "run/run.json", "run/features/train/latent.npy"),
            ("out", "run/caffe.log")),
    Command("add", "add", ("--run", "run", "--images", "photos", *CPU),
            ("run/final.caffemodel", "run/features/train/latent.npy", "run/features/train/ids.txt",
             "photos/class0/{jpg}"), ("run/features", "run/caffe.log", "run/add")),
    Command("folders", "make_lmdb", ("auto", "--data", "photos", "--out", "out", "--size", "36"),
            ("photos/class1/{png}", "photos/class1/{jpg}"), ("out",)),
    Command("lists", "make_lmdb", ("lists", "--train-list", "list.txt", "--splits", "train", "--out", "out", "--size",
                                   "36"), ("list.txt",), ("out",)),
    *(Command(f"archive {ending}", "make_lmdb", ("auto", "--data", f"photos.{ending}", "--out", "out", "--size", "36"),
              (f"photos.{ending}",), ("out",)) for ending in ("tar", "tar.gz", "zip")),
    Command("join features", "extract", ("--run", "run", "--lmdb", "test_lmdb", "--out", "joined/test", "--join", *CPU),
            tuple(f"joined/test.parts/part-00001-of-00002/{name}" for name in
                  ("latent.npy", "fc7.npy", "labels.npy", "predictions.npy", "thumbs.npy", "ids.txt", "meta.json")),
            ("joined", "run/caffe.log")),
    Command("join databases", "make_lmdb", ("lists", "--train-list", "list.txt", "--splits", "train", "--out", "parted",
                                            "--size", "36", "--join"),
            tuple(f"parted/train_lmdb.parts/part-00002-of-00002/{name}" for name in
                  ("data.mdb", "entries.npy", "meta.json")), ("parted",)),
    Command("shards", "shards", ("--features", "run/features", "--out", "out", "--shards", "3"),
            tuple(f"run/features/train/{name}" for name in ("latent.npy", "fc7.npy", "meta.json")), ("out",)),
    Command("shards again", "shards", ("--features", "run/features", "--out", "cut", "--shards", "2"),
            ("cut/manifest.json", "cut/shard-001/codes.npy", "cut/shard-001/fc7.npy"), ("cut",)),
    Command("mean", "mean_image", ("--npy", "mean.npy", "--own", "--out", "out.binaryproto"), ("mean.npy",),
            ("out.binaryproto",)),
    Command("table", "cifar_table", ("results.json",), ("results.json",), ()),
)
# Of these the check sums are known: whatever is done to them, they are refused, made again, or the result is the same.
# Of shards that are kept only names and sizes are looked at: the sums are compared by those who read them.
SUMMED, SIZED = ("joined/", "parted/"), "cut/"
# What these files lack is not missed: they are notes for people, or their content is taken as it comes.
LENIENT = ("run/train_log.csv", "ids.txt", "list.txt", "photos.tar", "photos.zip", ".prototxt", "results.json")


def cut(part: float) -> Callable:
    def change(path: Path, rng: random.Random) -> None:
        os.truncate(path, int(path.stat().st_size * part))
    return change


def cut_bytes(count: int) -> Callable:
    def change(path: Path, rng: random.Random) -> None:
        os.truncate(path, max(1, path.stat().st_size - count))
    return change


def content(data: bytes) -> Callable:
    def change(path: Path, rng: random.Random) -> None:
        path.write_bytes(data)
    return change


def flipped(count: int) -> Callable:
    def change(path: Path, rng: random.Random) -> None:
        data = bytearray(path.read_bytes())
        for _ in range(count if data else 0):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
    return change


def inserted(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    place = rng.randrange(len(data) + 1)
    path.write_bytes(data[:place] + rng.randbytes(37) + data[place:])


def missing(path: Path, rng: random.Random) -> None:
    path.unlink()


def folder(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def fifo(path: Path, rng: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def link(target: str) -> Callable:
    def change(path: Path, rng: random.Random) -> None:
        path.unlink()
        path.symlink_to(target if target != "itself" else path.name)
    return change


def other_file(path: Path, rng: random.Random) -> None:
    others = [one for one in path.parent.iterdir() if one.is_file() and one.suffix != path.suffix]
    path.write_bytes(rng.choice(others).read_bytes() if others else b"another file")


# kind -> (change, expected)
CHANGES = {
    "empty": (content(b""), REFUSED), "first byte only": (cut_bytes(1 << 40), REFUSED),
    "cut at a tenth": (cut(0.1), REFUSED), "cut at half": (cut(0.5), REFUSED),
    "cut at nine tenths": (cut(0.9), REFUSED),
    "last byte lost": (cut_bytes(1), SAME), "last 100 bytes lost": (cut_bytes(100), ANY),
    "zeros": (content(bytes(5000)), REFUSED), "text": (content(b"this is no such file\n" * 20), REFUSED),
    "a web page": (content(b"<!DOCTYPE html><title>404</title>"), REFUSED),
    "a JSON list": (content(b"[1, 2, 3]"), REFUSED), "deep brackets": (content(b"[" * 50000), REFUSED),
    "deep braces": (content(b"layer { " * 5000), REFUSED), "no UTF-8": (content(b"\xff\xfe\xe9 caf\xe9 1\n"), REFUSED),
    "a huge number": (content(b"a.png 1" + b"0" * 5000), REFUSED), "NaN": (content(b'{"key": NaN}'), REFUSED),
    "an npy of objects": (content(b"\x93NUMPY\x01\x00\x46\x00{'descr': '|O', 'fortran_order': False, 'shape': (3,), }"
                                  + b" " * 17 + b"\n" + b"x" * 24), REFUSED),
    "an npy of a vast shape": (content(b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, 'shape': "
                                       b"(99999999999,), }" + b" " * 4 + b"\n" + b"x" * 24), REFUSED),
    "one bit flipped": (flipped(1), ANY), "20 bits flipped": (flipped(20), ANY), "bytes put in": (inserted, ANY),
    "missing": (missing, ANY), "a folder": (folder, REFUSED), "a FIFO": (fifo, REFUSED),
    "/dev/zero": (link("/dev/zero"), REFUSED), "a link to itself": (link("itself"), REFUSED),
    "another file": (other_file, ANY),
}


def all_cases(good: Path) -> Iterator[Case]:
    """Every change of every input of every command, in the order of the table."""
    for command in COMMANDS:
        for named in command.inputs:
            for kind, (change, expected) in CHANGES.items():
                # an empty folder among photos is an image less, no fault
                lenient = any(part in named for part in LENIENT) or (kind == "a folder" and named.startswith("photos/"))
                yield Case(command, _resolved(good, named), kind, change, _expected(named, kind, expected, lenient))


def _expected(named: str, kind: str, expected: str, lenient: bool) -> str:
    if named.startswith(SUMMED):
        return SAME
    if named.startswith(SIZED):
        return ANY if "flipped" in kind else SAME
    return ANY if lenient and expected == REFUSED else expected


def _resolved(good: Path, named: str) -> str:
    """photos/class0/{png}: the first file there of that ending."""
    if "{" not in named:
        return named
    place = Path(named)
    found = sorted((good / place.parent).glob(f"*.{place.name.strip('{}')}"))
    return str(found[0].relative_to(good))
