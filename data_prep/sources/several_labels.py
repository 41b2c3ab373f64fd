"""Lists whose images have several labels each: `path 0,3,7` a line (`path -`: none of them), or `path 0 1 0 1`."""
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prep.errors import PrepError

NUMBERS = re.compile(r"[0-9]{1,9}(?:,[0-9]{1,9})*|-")
FLAGS = re.compile(r"(?P<path>\S.*?)\s+(?P<flags>[01](?:\s+[01])+)")
MOST = 10_000  # labels
NONE = "-"  # an image with none of the labels


def has_commas(lines: Sequence[str]) -> bool:
    """Whether a line ends in numbers with commas between."""
    tails = [line.rsplit(maxsplit=1) for line in lines]
    return any(len(tail) == 2 and "," in tail[1] and NUMBERS.fullmatch(tail[1]) for tail in tails)


def split_several(lines: Sequence[str], file: Path, commas: bool) -> tuple[list[str], list[set[int]], int] | None:
    """(paths, the labels of each, how many labels there are at least) of a list; None for one label an image.

    commas: this list, or one beside it, has them, so that its lines end in numbers. Else it is of several labels when
    every line ends in the same number, at least two, of 0 and 1: a flag for each label.
    """
    if commas:
        return _by_numbers([line.rsplit(maxsplit=1) for line in lines], file)
    flags = [FLAGS.fullmatch(line) for line in lines]
    if not all(flags) or len({len(found["flags"].split()) for found in flags}) != 1:
        return None
    rows = [found["flags"].split() for found in flags]
    return [found["path"] for found in flags], [{i for i, flag in enumerate(row) if flag == "1"} for row in rows], \
        len(rows[0])


def _by_numbers(tails: list[list[str]], file: Path) -> tuple[list[str], list[set[int]], int]:
    sets = []
    for number, tail in enumerate(tails, 1):
        if len(tail) < 2 or not NUMBERS.fullmatch(tail[1]):
            raise PrepError(f"{file}, line {number}: {' '.join(tail)!r} is not `path labels`, as other lines are; "
                            "write labels as 0,3,7, and - for an image with none of them")
        sets.append(set() if tail[1] == NONE else {int(label) for label in tail[1].split(",")})
        if max(sets[-1], default=0) >= MOST:
            raise PrepError(f"{file}, line {number}: label {max(sets[-1])}; number the labels from 0 without gaps")
    return [tail[0] for tail in tails], sets, 1 + max(max(labels, default=0) for labels in sets)


def matrix(sets: Sequence[set[int]], labels: int) -> np.ndarray:
    """(N, labels) bool."""
    found = np.zeros((len(sets), labels), bool)
    for row, chosen in enumerate(sets):
        found[row, sorted(chosen)] = True
    return found
