"""A database in parts: some rows each, made by any processes on any machines, then joined in the order of the rows.

A part is written under a name that no other process has, and appears whole and on the disk in <database>.parts/.
"""
import errno
import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import lmdb
import numpy as np
from tqdm import tqdm

from databases.writer import (
    CHUNK,
    Entry,
    Failure,
    ImageFormat,
    LmdbAppender,
    check_space,
    complete,
    report_failures,
    row_order,
    write_entries,
)
from prep.errors import PrepError
from prep.readers import read_json
from sources.image_set import ImageSet

PARTIAL = ".partial"
ENTRIES, DATA = "entries.npy", "data.mdb"
ENTRY = np.dtype([("row", "<i8"), ("digest", "u1", 32), ("shape", "<i4", 3), ("resized", "?"), ("is_jpeg", "?")])
NAME = re.compile(r"part-(\d{5})-of-(\d{5})")
MOST_PARTS = 99_999
_NUMBER, _TEXT = {"type": "integer"}, {"type": "string"}
SCHEMA = {"type": "object", "required": ["first", "end", "made_from", "host", "unreadable", "files"], "properties": {
    "first": _NUMBER, "end": _NUMBER, "made_from": {"type": "object"}, "host": _TEXT,
    "unreadable": {"type": "array", "items": {"type": "array", "items": [_NUMBER, _TEXT], "minItems": 2}},
    "files": {"type": "object", "required": [DATA, ENTRIES]}}}


@dataclass(frozen=True)
class Part:
    """Part `number` (from 1) of `of`."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def rows(self, count: int) -> range:
        """Its rows of `count`. PrepError for more parts than rows."""
        if self.of > count:
            raise PrepError(f"--part {self}: there are {count} images only; give at most {count} parts")
        return range(count * (self.number - 1) // self.of, count * self.number // self.of)

    def folder(self, database: Path) -> Path:
        """Where it lies until all are joined."""
        return parts_folder(database) / f"part-{self.number:05d}-of-{self.of:05d}"


@dataclass(frozen=True)
class Recipe:
    """What the rows of a database depend on, beside the images. same_size, meta: as write_database takes them."""

    image_format: ImageFormat
    seed: int | None
    same_size: bool
    meta: dict

    def made_from(self, images: ImageSet) -> dict:
        """The same for parts of one database, and for no others."""
        labels = images.labels if images.several is None else images.several
        return {"images": _digest("\n".join(images.ids).encode("utf-8", "surrogateescape")),
                "labels": _digest(np.ascontiguousarray(labels).tobytes()),
                "classes": _digest("\n".join(images.classes).encode("utf-8", "surrogateescape")),
                "files": images.source.get("files"), "seed": self.seed, **asdict(self.image_format), **self.meta}


def parts_folder(database: Path) -> Path:
    """Where the parts of a database lie."""
    return database.with_name(f"{database.name}.parts")


def write_part(images: ImageSet, database: Path, part: Part, recipe: Recipe, jobs: int, skip_unreadable: bool) -> None:
    """Writes a part, whole or not at all, unless it is there already. PrepError for images that cannot be read."""
    folder, rows = part.folder(database), part.rows(len(images))
    made_from = recipe.made_from(images)
    if _is_made(folder, made_from):
        print(f"{folder}: kept, made from the same list of images")
        return
    check_space(len(rows), database, recipe.image_format)
    _remove_what_ended_processes_left(folder)
    partial, failures = _own_name(folder), []
    partial.mkdir(parents=True)
    try:
        order = row_order(images, recipe.seed)[rows.start:rows.stop]
        kept = write_entries(images, order, partial, recipe.image_format, folder, jobs, skip_unreadable, failures)
        np.save(partial / ENTRIES, np.array([(entry.row, list(entry.digest), entry.shape, entry.resized, entry.is_jpeg)
                                             for entry in kept], ENTRY))
        about = {"first": rows.start, "end": rows.stop, "made_from": made_from, "host": socket.gethostname(),
                 "unreadable": [[failure.row, failure.reason] for failure in failures],
                 "files": {name: _file_digest(partial / name) for name in (DATA, ENTRIES)}}
        (partial / "meta.json").write_text(json.dumps(about, indent=1) + "\n")
        _sync(partial)
        _place(partial, folder, made_from)
    except (lmdb.Error, OSError) as error:
        raise PrepError(f"{folder}: cannot write the part: {error}; nothing was kept") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{folder}: {len(kept)} images, rows {rows.start} to {rows.stop} of {len(images)}")


def join_parts(images: ImageSet, database: Path, recipe: Recipe) -> dict:
    """The database of all parts, as one process would make it; returns its meta.json. The parts are removed.

    PrepError for a part that is missing, damaged, or none of this database.
    """
    parts = _parts_of(database)
    made_from = recipe.made_from(images)
    abouts = {part: _about(part, database, made_from, len(images)) for part in parts}

    def copy(partial: Path) -> list[Entry]:
        kept = []
        with LmdbAppender(partial) as appender, tqdm(total=len(parts), desc=database.name, unit=" parts",
                                                     mininterval=0.5, disable=None) as progress:
            for part, about in abouts.items():
                kept += _copy(part, part.folder(database), about, appender)
                progress.update()
        failures = [Failure(row, reason) for about in abouts.values() for row, reason in about["unreadable"]]
        report_failures(images, failures, database, skip=True)
        return kept
    meta = complete(images, database, recipe.image_format, copy, recipe.same_size, {**recipe.meta, "seed": recipe.seed})
    remove_parts(database)
    return meta


def remove_parts(database: Path) -> None:
    """Also what ended processes left of them. What else lies there stays."""
    folder = parts_folder(database)
    for path in folder.iterdir() if folder.is_dir() else ():
        if NAME.match(path.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _parts_of(database: Path) -> list[Part]:
    folder = parts_folder(database)
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    found = [Part(*map(int, match.groups())) for name in names if (match := NAME.fullmatch(name))]
    if not found:
        raise PrepError(f"{folder}: holds no part of {database.name}; make them with --part 1/n to n/n, then --join")
    numbers = sorted({part.of for part in found})
    if len(numbers) > 1:
        raise PrepError(f"{folder}: holds parts of {numbers[0]} and of {numbers[1]}, which overlap; remove those of "
                        "one kind")
    missing = [str(Part(number, numbers[0])) for number in range(1, numbers[0] + 1)
               if Part(number, numbers[0]) not in found]
    if missing:
        raise PrepError(f"{folder}: lacks {len(missing)} of {numbers[0]} parts: {', '.join(missing[:5])}"
                        f"{', ...' if len(missing) > 5 else ''}; make each with --part")
    return found


def _about(part: Part, database: Path, made_from: dict, count: int) -> dict:
    """meta.json of a part that belongs to this database."""
    folder = part.folder(database)
    about = read_json(folder / "meta.json", SCHEMA)
    for name, value in made_from.items():
        if about["made_from"].get(name) != value:
            raise _fault(part, folder, about, f"was made with other {name} than are named now")
    rows = part.rows(count)
    if (about["first"], about["end"]) != (rows.start, rows.stop):
        raise _fault(part, folder, about, f"has the rows {about['first']} to {about['end']}, where {rows.start} to "
                                          f"{rows.stop} are its own")
    return about


def _fault(part: Part, folder: Path, about: dict, what: str) -> PrepError:
    return PrepError(f"part {part} ({folder}, made on {about['host']}) {what}; remove it and make it again with "
                     f"--part {part}")


def _copy(part: Part, folder: Path, about: dict, appender: LmdbAppender) -> list[Entry]:
    """The part's entries behind those that are there, looked at before."""
    for name, digest in about["files"].items():
        if not (folder / name).is_file() or _file_digest(folder / name) != digest:
            raise _fault(part, folder, about, f"is damaged ({name} is not what was written)")
    told = np.load(folder / ENTRIES, allow_pickle=False)
    rows = about["end"] - about["first"] - len(about["unreadable"])
    with lmdb.open(str(folder), readonly=True, lock=False) as env, env.begin() as transaction:
        if not env.stat()["entries"] == len(told) == rows:
            raise _fault(part, folder, about, f"is damaged (it has {len(told)} entries, not {rows})")
        values = transaction.cursor().iternext(keys=False)
        for values_of_chunk in iter(lambda: list(islice(values, CHUNK)), []):
            appender.append(values_of_chunk)
    return list(_entries(told))


def _entries(told: np.ndarray) -> Iterator[Entry]:
    for entry in told:
        yield Entry(int(entry["row"]), b"", entry["digest"].tobytes(), tuple(entry["shape"].tolist()),
                    bool(entry["resized"]), bool(entry["is_jpeg"]))


def _is_made(folder: Path, made_from: dict) -> bool:
    try:
        return read_json(folder / "meta.json", SCHEMA)["made_from"] == made_from
    except PrepError:
        return False


def _place(partial: Path, folder: Path, made_from: dict) -> None:
    """Gives the part its name, unless another process has been quicker with the same part."""
    while not _is_made(folder, made_from):
        if folder.exists():  # of other images, say
            old = _own_name(folder)
            folder.rename(old)
            shutil.rmtree(old, ignore_errors=True)
        try:
            partial.rename(folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise


def _of_this_machine(folder: Path) -> str:
    return f"{folder.name}.{re.sub(r'[^A-Za-z0-9-]', '-', socket.gethostname())}."


def _own_name(folder: Path) -> Path:
    """A name that no other process has."""
    return folder.with_name(f"{_of_this_machine(folder)}{os.getpid()}.{os.urandom(4).hex()}{PARTIAL}")


def _remove_what_ended_processes_left(folder: Path) -> None:
    for path in folder.parent.glob(f"{_of_this_machine(folder)}*{PARTIAL}"):
        if not _lives(path.name.split(".")[-3]):
            shutil.rmtree(path, ignore_errors=True)


def _lives(process: str) -> bool:
    """Whether a process of this machine runs. One that was killed keeps its number until its parent asks for it."""
    try:
        return Path("/proc", process, "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _sync(folder: Path) -> None:
    """All files and their names are on the disk from here on."""
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
