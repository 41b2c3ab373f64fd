"""ImageSet -> a directory with an LMDB of Caffe Datums, written beside and renamed when whole.

The directory holds data.mdb, lock.mdb (keys "%08d" = row), ids.txt, labels.npy (N,) int64 and meta.json.
"""
import hashlib
import json
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import lmdb
import numpy as np
from tqdm import tqdm

from databases.datums import serialize_datum
from databases.pixels import encode_png, is_kept_as_jpeg, planar, resize, to_pixels
from prep.errors import PrepError
from prep.outputs import refuse_foreign_folder
from prep.readers import read_json
from sources.image_set import ImageSet

_SIDE = {"type": ["integer", "null"]}
META_SCHEMA = {"type": "object", "properties": {
    "count": {"type": "integer"}, "channels": _SIDE, "height": _SIDE, "width": _SIDE, "seed": _SIDE,
    "encoded": {"type": "boolean"}, "resized": {"type": "integer"}, "fingerprint": {"type": "string"},
    "classes": {"type": "array", "items": {"type": "string"}}, "source": {"type": "object"}}}
PNG, JPG = "png", "jpg"
CHUNK = 32  # images a worker prepares at a time, written as one transaction
FIRST_MAP_SIZE = 1 << 30
NAMED_FAILURES = 5
LABELS = "labels_lmdb"  # in the directory of images with several labels
LABEL_CHUNK = 4096  # rows of a transaction
# All that a database's directory holds.
NAMES = ("data.mdb", "lock.mdb", "ids.txt", "labels.npy", "meta.json", LABELS)


@dataclass(frozen=True)
class ImageFormat:
    """How the images are stored: size 0 keeps each image's own size. encoded: None for raw pixels, PNG or JPG.

    JPG: JPEG files as they are, which have that size already; what is no such file is a PNG.
    """
    size: int = 256
    grey: bool = False
    encoded: str | None = None


@dataclass(frozen=True)
class Entry:
    row: int  # in the source
    datum: bytes
    digest: bytes
    shape: tuple[int, int, int]  # C, H, W
    resized: bool
    is_jpeg: bool  # stored as the file it came in


@dataclass(frozen=True)
class Failure:
    row: int
    reason: str


def write_database(images: ImageSet, destination: Path, image_format: ImageFormat, *, seed: int | None, jobs: int,
                   skip_unreadable: bool = False, same_size: bool = True, **meta) -> dict:
    """Write `images` to the directory `destination`, which appears whole or not at all, and return its meta.json.

    seed: rows are shuffled by numpy.random.default_rng(seed).permutation(N); None keeps their order.
    same_size: refuse images of different sizes (Caffe's Data layer needs one size in a batch).
    meta: further entries of meta.json (dataset, split).
    Unreadable images are all listed in <destination>_unreadable.txt and are an error unless `skip_unreadable`.
    """
    def entries(partial: Path) -> list[Entry]:
        return write_entries(images, row_order(images, seed), partial, image_format, destination, jobs, skip_unreadable)
    return complete(images, destination, image_format, entries, same_size, {**meta, "seed": seed})


def row_order(images: ImageSet, seed: int | None) -> np.ndarray:
    """Which image each row holds: (N,) int64."""
    return np.arange(len(images)) if seed is None else np.random.default_rng(seed).permutation(len(images))


def complete(images: ImageSet, destination: Path, image_format: ImageFormat, write: Callable[[Path], list[Entry]],
             same_size: bool, meta: dict) -> dict:
    """The directory `destination` with what `write` puts into data.mdb, whole or not at all; returns its meta.json.

    write: a new directory -> the entries that it wrote there, without their datums.
    """
    check_replaceable(destination)
    check_space(len(images), destination, image_format)
    partial = destination.with_name(destination.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        kept = write(partial)
        _check_classes(images, kept, destination)
        meta = {**meta, **_describe(images, kept, image_format)}
        if same_size and None in (meta["height"], meta["width"]):
            raise PrepError(f"{destination}: the images differ in size; give a --size such as 256")
        _write_companions(images, kept, partial, meta)
        _replace(partial, destination)
    except (lmdb.Error, OSError) as error:  # numpy and LMDB name no file
        raise PrepError(f"{destination}: cannot write the database: {error}; nothing was kept") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return meta


def check_replaceable(destination: Path) -> None:
    """PrepError when writing the database would take away something that is none.

    One that is there has a meta.json with a fingerprint; the two that stand beside it while it is written may lack it.
    """
    if destination.exists() and "fingerprint" not in read_meta(destination):
        raise PrepError(f"{destination}: is there and is no database that make_lmdb wrote (its meta.json has no "
                        "fingerprint); move it, or choose another --out")
    for place in (destination, destination.with_name(destination.name + ".partial"), _replaced(destination)):
        refuse_foreign_folder(place, NAMES, "a database")


def read_meta(database: Path) -> dict:
    """meta.json of a database; {} where there is none that is one."""
    try:
        return read_json(database / "meta.json", META_SCHEMA)
    except PrepError:
        return {}


def _replaced(destination: Path) -> Path:
    """Where an older database waits until the new one has its name."""
    return destination.with_name(destination.name + ".old")


def check_space(count: int, destination: Path, image_format: ImageFormat) -> None:
    """A disk that is too small is better found out before the work than after it."""
    if image_format.encoded or image_format.size == 0:
        return
    need = count * image_format.size ** 2 * (1 if image_format.grey else 3)
    destination.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(destination.parent).free
    if free < need:
        raise PrepError(f"{destination}: needs {need / 1e6:.0f} MB, the disk has {free / 1e6:.0f} MB free; "
                        "free some, use --encoded or another --out")


def write_entries(images: ImageSet, order: np.ndarray, partial: Path, image_format: ImageFormat,
                  destination: Path, jobs: int, skip_unreadable: bool,
                  failed: list[Failure] | None = None) -> list[Entry]:
    """Entries in the database, in order, without their datums. After a failure only checks go on, to name them all.

    failed: gets the images that were left out.
    """
    kept, failures = [], [] if failed is None else failed
    with LmdbAppender(partial) as database, \
            tqdm(total=len(order), desc=destination.name, unit=" images", mininterval=0.5, disable=None) as progress:
        for entries, broken in _prepared_chunks(images, order, image_format, jobs):
            failures += broken
            if skip_unreadable or not failures:
                database.append([entry.datum for entry in entries])
                kept += [replace(entry, datum=b"") for entry in entries]
            progress.update(len(entries) + len(broken))
    report_failures(images, failures, destination, skip_unreadable)
    return kept


def _check_classes(images: ImageSet, kept: list[Entry], destination: Path) -> None:
    """PrepError for a class of which nothing was readable."""
    left = images.counts([entry.row for entry in kept])
    lost = [name for name, before, now in zip(images.classes, images.counts(range(len(images))), left)
            if before and not now]
    if lost:
        raise PrepError(f"{destination}: no readable image left of class {lost[0]!r}")


def _prepared_chunks(images: ImageSet, order: np.ndarray, image_format: ImageFormat,
                     jobs: int) -> Iterator[tuple[list[Entry], list[Failure]]]:
    """Chunks in order, prepared a few ahead of the writer by threads: OpenCV and hashlib work outside Python's lock."""
    chunks = [order[start:start + CHUNK] for start in range(0, len(order), CHUNK)]
    pool = ThreadPoolExecutor(jobs)
    try:
        waiting = deque()
        for chunk in chunks:
            waiting.append(pool.submit(_prepare_chunk, images, chunk, image_format))
            if len(waiting) > 2 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare_chunk(images: ImageSet, rows: np.ndarray, image_format: ImageFormat) -> tuple[list[Entry], list[Failure]]:
    entries, failures = [], []
    for row in rows.tolist():
        try:
            entries.append(_prepare(images, row, image_format))
        except (PrepError, OSError) as error:
            failures.append(Failure(row, str(error)))
    return entries, failures


def _prepare(images: ImageSet, row: int, image_format: ImageFormat) -> Entry:
    image = images.read(row)
    original = to_pixels(image, image_format.grey)
    pixels = resize(original, image_format.size)
    if image_format.encoded == JPG and pixels is not original:
        height, width = original.shape[:2]
        raise PrepError(f"is {width}x{height}; --encoded jpg keeps files as they are and each must have the --size, "
                        f"{image_format.size}x{image_format.size}, already; resize it before, or store raw pixels")
    label, planes = int(images.labels[row]), planar(pixels)
    is_jpeg = image_format.encoded == JPG and is_kept_as_jpeg(image, pixels)
    encoded = (image if is_jpeg else encode_png(pixels)) if image_format.encoded else planes
    datum = serialize_datum(label, planes.shape, encoded, image_format.encoded is not None)
    told = label if images.several is None else "".join(map(str, images.labels_of([row])[0]))
    return Entry(row, datum, content_digest(told, planes.shape, original), planes.shape, pixels is not original,
                 is_jpeg)


def content_digest(label: int | str, shape: tuple[int, int, int], original: np.ndarray) -> bytes:
    """SHA-256 of "label C H W\\n" as stored and of the decoded image before resizing.

    Of several labels `label` has a 0 or 1 for each.

    Resizing adds nothing that these do not decide, and hashing its result would cost a quarter of the whole time.
    """
    digest = hashlib.sha256("{} {} {} {}\n".format(label, *shape).encode())
    digest.update(np.ascontiguousarray(original))
    return digest.digest()


def fingerprint(digests: list[bytes]) -> str:
    """SHA-256 over the entries' content_digests in order: equal for raw and encoded databases of the same images."""
    return hashlib.sha256(b"".join(digests)).hexdigest()


class LmdbAppender:
    """Appends values under the keys "00000000", "00000001", ...; safe on disk once the with block ends well."""

    def __init__(self, directory: Path):
        # sync=False: one sync at the end is enough for a database that has no name before it is whole.
        self._env = lmdb.open(str(directory), map_size=FIRST_MAP_SIZE, sync=False, metasync=False)
        self._count = 0

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self._env.sync(True)
        self._env.close()

    def append(self, values: list[bytes]) -> None:
        """One transaction; the map grows as needed."""
        try:
            with self._env.begin(write=True) as transaction:
                for row, value in enumerate(values, self._count):
                    transaction.put(b"%08d" % row, value, append=True)
        except lmdb.MapFullError:
            self._env.set_mapsize(2 * self._env.info()["map_size"])
            return self.append(values)
        self._count += len(values)


def report_failures(images: ImageSet, failures: list[Failure], destination: Path, skip: bool) -> None:
    listing = destination.with_name(destination.name + "_unreadable.txt")
    if not failures:
        listing.unlink(missing_ok=True)  # of an earlier run
        return
    listing.write_text("".join(f"{images.ids[failure.row]}\t{failure.reason}\n" for failure in failures),
                       "utf-8", "surrogateescape")
    named = "; ".join(f"{images.ids[failure.row]}: {failure.reason}" for failure in failures[:NAMED_FAILURES])
    message = f"{len(failures)} of {len(images)} images unreadable, listed in {listing} ({named}" \
              f"{'; ...' if len(failures) > NAMED_FAILURES else ''})"
    if len(failures) == len(images):
        raise PrepError(f"{message}; are --data or --root right?")
    if not skip:
        raise PrepError(f"{message}; fix them, or leave them out with --skip-unreadable")
    tqdm.write(f"left out: {message}", file=sys.stderr)


def _describe(images: ImageSet, kept: list[Entry], image_format: ImageFormat) -> dict:
    """The part of meta.json that the entries decide. A channel count, height or width that varies is null."""
    channels, height, width = (values.pop() if len(values) == 1 else None
                               for values in map(set, zip(*(entry.shape for entry in kept))))
    return {
        "count": len(kept), "height": height, "width": width, "channels": channels,
        "encoded": image_format.encoded is not None,
        **({"jpeg": sum(entry.is_jpeg for entry in kept)} if image_format.encoded == JPG else {}),
        "resized": sum(entry.resized for entry in kept),
        "source": images.source, "classes": list(images.classes),
        "class_counts": images.counts([entry.row for entry in kept]),
        **({} if images.several is None else {"several_labels": True}),
        "fingerprint": fingerprint([entry.digest for entry in kept]),
    }


def _write_companions(images: ImageSet, kept: list[Entry], directory: Path, meta: dict) -> None:
    rows = [entry.row for entry in kept]
    (directory / "ids.txt").write_text("".join(f"{images.ids[row]}\n" for row in rows), "utf-8", "surrogateescape")
    np.save(directory / "labels.npy", images.labels_of(rows))
    if images.several is not None:
        _write_label_database(images.labels_of(rows), directory / LABELS)
    (directory / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")


def _write_label_database(labels: np.ndarray, directory: Path) -> None:
    """The labels (N, L) of 0 and 1 as Datums of L channels, for a Data layer beside the images': a Datum has one label.

    It lies within the images' database, so that both appear at once.
    """
    directory.mkdir()
    with LmdbAppender(directory) as database:
        for start in range(0, len(labels), LABEL_CHUNK):
            database.append([serialize_datum(0, (labels.shape[1], 1, 1), row.tobytes(), encoded=False)
                             for row in labels[start:start + LABEL_CHUNK]])


def _replace(partial: Path, destination: Path) -> None:
    """Rename, moving an older database out of the way first."""
    old = _replaced(destination)
    shutil.rmtree(old, ignore_errors=True)
    if destination.exists():
        os.replace(destination, old)
    os.replace(partial, destination)
    shutil.rmtree(old, ignore_errors=True)
