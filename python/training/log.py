"""The log of a run, train_log.csv: written by training, read by whoever draws it."""
import csv
import time
from collections.abc import Sequence
from pathlib import Path

from process.files import whole_file
from process.readers import regular_file

COLUMNS = ("iteration", "loss", "learning_rate", "images_per_second", "elapsed_s", "test_accuracy", "test_loss")


class TrainingLog:
    """Appends rows to a log; on resuming, rows later than the snapshot are dropped first.

    loss is Caffe's training loss averaged over the last `average_loss` iterations; test columns are filled at tests.
    elapsed_s: seconds of training before this process.
    """

    def __init__(self, path: Path, iteration: int, elapsed_s: float) -> None:
        kept = [row for row in read_rows(path) if int(row["iteration"]) <= iteration]
        with whole_file(path, "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(kept)
        self._file = open(path, "a", newline="")
        self._writer = csv.DictWriter(self._file, COLUMNS)
        self._started = time.monotonic() - elapsed_s

    def elapsed(self) -> float:
        """Seconds of training so far."""
        return time.monotonic() - self._started

    def row(self, iteration: int, **values: float) -> None:
        """Appends a row of some columns."""
        texts = {name: f"{value:.7g}" for name, value in values.items()}
        self._writer.writerow({"iteration": iteration, "elapsed_s": f"{self.elapsed():.1f}", **texts})
        self._file.flush()


def read_rows(path: Path) -> list[dict[str, str]]:
    """Whole rows of a train_log.csv; [] when there is none."""
    if not path.exists():
        return []
    with open(regular_file(path, "log"), newline="", errors="replace") as file:
        rows = csv.DictReader(line.replace("\0", "") for line in file)
        return [row for row in rows if _is_whole(row)]


def _is_whole(row: dict[str, str]) -> bool:
    """Whether a row has every column, each empty or a number."""
    try:
        for name in COLUMNS:
            float(row[name] or 0)
        iteration, last = row["iteration"], row["test_loss"]
    except (KeyError, TypeError, ValueError):
        return False
    return last is not None and iteration.isascii() and iteration.isdigit()


def series(rows: Sequence[dict[str, str]], column: str) -> tuple[list[int], list[float]]:
    """(iterations, values) of a column where it is filled."""
    filled = [(int(row["iteration"]), float(row[column])) for row in rows if row[column]]
    return [n for n, _ in filled], [value for _, value in filled]


def duration(seconds: float) -> str:
    """3 h 05 min, 4 min 10 s, 12 s."""
    seconds = round(seconds)
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    if seconds >= 60:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds} s"
