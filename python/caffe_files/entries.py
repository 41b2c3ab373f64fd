"""Every entry of a database looked at, once: Caffe itself looks at none, and trains on what a wrong one leaves.

What was found is kept in build/cache/databases/ by what the file is (place, size, times, a sample of its bytes), so
that the next program that reads the database starts at once. Small databases are quicker read than looked up.
"""
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from caffe_files.databases import (
    AGAIN,
    cursor_of,
    datum_shape,
    entry_name,
    items_from,
    parse_datum,
    read_labels,
    read_meta,
)
from process.checkout import ROOT
from process.errors import DriverError
from process.files import write_json
from process.forked import in_child
from process.readers import read_json

KEPT = ROOT / "build/cache/databases"
KEPT_FROM = 1 << 24  # bytes of a database whose check is kept
SAMPLES, SAMPLE = 64, 4096  # number of places, bytes at each
VERSION = 1  # of the rules below: raise it when they become stricter
SCHEMA = {"type": "object", "additionalProperties": False, "required": ["count", "shape", "labels", "sha256"],
          "properties": {"count": {"type": "integer"}, "sha256": {"type": "string"},
                         "shape": {"type": "array", "items": {"type": ["integer", "null"]}},
                         "labels": {"type": "array", "items": {"type": "integer"}}}}


@dataclass(frozen=True)
class Entries:
    """What all entries of a database have in common.

    shape: (channels, height, width), None for what varies. labels: (lowest, highest). sha256: of all keys and values.
    """
    count: int
    shape: tuple[int | None, int | None, int | None]
    labels: tuple[int, int]
    sha256: str


def check_entries(source: Path) -> Entries:
    """The Entries of a database. DriverError that names the first entry which is no image of its shape.

    Also when labels.npy or the count of meta.json beside the entries say something else than these.
    """
    kept = KEPT / f"{_key(source)}.json"
    if kept.exists():
        found = read_json(kept, SCHEMA)
        return Entries(found["count"], tuple(found["shape"]), tuple(found["labels"]), found["sha256"])
    entries = in_child(_look_at_all, source, where=source)
    if (source / "data.mdb").stat().st_size >= KEPT_FROM:
        _keep(kept, entries)
    return entries


def _keep(path: Path, entries: Entries) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, asdict(entries))
    except OSError:
        pass  # a checkout that may not be written: the next program looks again


def _key(source: Path) -> str:
    """SHA-256 over what changes when anybody writes into the database or the files beside it."""
    parts = [VERSION, str(source.resolve())]
    for name in ("data.mdb", "labels.npy", "meta.json"):
        path = source / name
        if path.exists():
            about = path.stat()
            parts += [name, about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]
    return hashlib.sha256(json.dumps(parts).encode() + _sample(source / "data.mdb")).hexdigest()


def _sample(path: Path) -> bytes:
    """Bytes of evenly spread places of a file."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        pieces = []
        for place in np.linspace(0, max(0, size - SAMPLE), SAMPLES).astype(int).tolist():
            file.seek(place)
            pieces.append(file.read(SAMPLE))
    return b"".join(pieces)


def _look_at_all(source: Path) -> Entries:
    digest, shapes, labels = hashlib.sha256(), set(), []
    with cursor_of(source) as (count, cursor):
        if not count:
            raise DriverError(f"{source} holds no image: make it again")
        entries = tqdm(cursor, f"looking at {source}", count, unit="image", delay=2, leave=False, disable=None)
        for key, value in entries:
            datum = parse_datum(value, entry_name(source, key))
            shapes.add(datum_shape(datum, entry_name(source, key)))
            labels.append(datum.label)
            _update(digest, key, value)
    if len(labels) != count:
        raise DriverError(f"{source} says {count} entries and has {len(labels)}: {AGAIN}")
    check_companions(source, np.array(labels))
    return Entries(count, _common(shapes), (min(labels), max(labels)), digest.hexdigest())


def _update(digest: Any, key: memoryview, value: memoryview) -> None:
    digest.update(b"%d %d\n" % (len(key), len(value)))
    digest.update(key)
    digest.update(value)


def count_entries(source: Path) -> int:
    """Number of entries, as the database says. DriverError when there are none."""
    with cursor_of(source) as (count, _):
        if not count:
            raise DriverError(f"{source} holds no image: {AGAIN}")
        return count


def digest_rows(source: Path, rows: range) -> str:
    """SHA-256 over keys and values of these rows, made as that of Entries is; the entries are not looked at."""
    return in_child(_digest_ranges, source, [rows], where=source)[1][0]


def digest_ranges(source: Path, ranges: Sequence[range]) -> tuple[str, list[str]]:
    """(SHA-256 over all entries, as Entries has it, the one over each range of rows), in one pass.

    ranges: one behind the other, from the first row to the last.
    """
    return in_child(_digest_ranges, source, ranges, where=source)


def _digest_ranges(source: Path, ranges: Sequence[range]) -> tuple[str, list[str]]:
    whole, parts = hashlib.sha256(), []
    with cursor_of(source) as (count, cursor), tqdm(desc=f"comparing {source}", total=len(ranges), unit="part", delay=2,
                                                    leave=False, disable=None) as bar:
        entries = items_from(cursor, ranges[0].start)
        for rows in ranges:
            part, found = hashlib.sha256(), 0
            for key, value in islice(entries, len(rows)):
                _update(part, key, value)
                _update(whole, key, value)
                found += 1
            if found != len(rows):
                raise DriverError(f"{source} says {count} entries and has fewer: {AGAIN}")
            parts.append(part.hexdigest())
            bar.update()
    return whole.hexdigest(), parts


def _common(shapes: Iterable[tuple[int, int, int]]) -> tuple[int | None, ...]:
    return tuple(sides[0] if all(one == other for one, other in pairwise(sides)) else None for sides in zip(*shapes))


def check_companions(source: Path, labels: np.ndarray) -> None:
    """DriverError when labels.npy or meta.json beside the entries, whose labels these are, say something else."""
    path = source / "labels.npy"
    kept = read_labels(source) if path.exists() else labels
    agree = len(kept) == len(labels) if kept.ndim == 2 else np.array_equal(kept, labels)  # a Datum holds one label
    if not agree:
        raise DriverError(f"{path} has other labels than the entries of the database: {AGAIN}")
    count = read_meta(source).get("count", len(labels))
    if count != len(labels):
        raise DriverError(f"{source / 'meta.json'} says {count} images, the database has {len(labels)}: {AGAIN}")
