"""Writes <features>/<split>/: latent.npy, fc7.npy, labels.npy, predictions.npy, thumbs.npy, ids.txt and meta.json.

The arrays are memory-mapped in a folder named <split>.partial, which an interrupted extraction finds again, and which
gets its final name when every row is there and on the disk.
"""
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from caffe_files.arrays import read_array
from process.errors import DriverError
from process.files import lock_folder, partial, sync_folder, write_json
from process.outputs import refuse_foreign_folder
from process.readers import read_json

PROGRESS, META = "progress.json", "meta.json"
# All that a folder of features holds: one with anything else in it is not replaced.
NAMES = ("latent.npy", "fc7.npy", "labels.npy", "predictions.npy", "thumbs.npy", "ids.txt", PROGRESS, META)
_COUNT = {"type": "integer", "minimum": 0}
_FILE = {"type": ["object", "null"], "properties": {"file": {"type": "string"}, "sha256": {"type": "string"}}}
META_SCHEMA = {"type": "object", "properties": {
    "key": {"type": "string"}, "added_to": {"type": "string"}, "count": _COUNT, "own_count": _COUNT, "bits": {
        "type": ["integer", "null"]}, "protocol": {"enum": ["none", "authors", "caffe"]}, "scale": {"type": "number"},
    "weights": _FILE, "net": _FILE, "mean": _FILE, "data": {"type": ["object", "null"]}, "blobs": {
        "type": "object", "additionalProperties": {"type": ["string", "null"]}},
    "classes": {"type": ["array", "null"]},
    "added": {"type": "array", "items": {"type": "object", "required": ["count"], "properties": {"count": _COUNT}}}}}
PROGRESS_SCHEMA = {"type": "object", "required": ["key", "thumbs", "rows"], "properties": {
    "key": {"type": "string"}, "thumbs": {"type": "integer"}, "rows": {"type": "integer", "minimum": 0}}}
CHECKPOINT_S = 10.0  # rows of at most these seconds are computed twice after an interruption


def is_made(folder: Path, key: str) -> bool:
    """True when the features in folder are whole and were made from the same things; images may be added to them."""
    meta = folder / META
    found = read_json(meta, META_SCHEMA) if meta.exists() else {}
    return key in (found.get("key"), found.get("added_to"))


def added_images(folder: Path) -> int:
    """Images that were added to the features in a folder."""
    meta = folder / META
    return sum(part["count"] for part in read_json(meta, META_SCHEMA).get("added", ())) if meta.exists() else 0


def check_replaceable(folder: Path) -> None:
    """DriverError when writing this folder of features would take away something that is none.

    The folder may hold features, which meta.json with their key tells; the two that stand beside it while it is written
    may hold files of features.
    """
    if folder.exists() and not _holds_features(folder):
        raise DriverError(f"{folder} is there and is no folder of features (it has no {META} with their key): choose "
                          "another --out")
    for place in (folder, partial(folder), replaced(folder)):
        refuse_foreign_folder(place, NAMES, "a folder of features")


def _holds_features(folder: Path) -> bool:
    meta = folder / META
    return meta.is_file() and "key" in read_json(meta, META_SCHEMA)


def replaced(folder: Path) -> Path:
    """Where older features wait until the new ones have their name."""
    return folder.with_name(folder.name + ".old")


class FeatureFiles:
    """The arrays of one split in the making. rows: how many of them are there already.

    key: of the cache. thumbs: side of the pictures, which does not make features different ones but the files.
    DriverError when another process is writing the same folder, or when it is there and holds something else.
    """

    def __init__(self, folder: Path, key: str, thumbs: int = 0) -> None:
        self.folder, self.partial = folder, self._beside(folder)
        self.made_from = {"key": key, "thumbs": thumbs}
        check_replaceable(folder)
        self.partial.mkdir(parents=True, exist_ok=True)
        self.lock = lock_folder(self.partial)
        self.rows = self._rows_done()
        self.arrays: dict[str, np.ndarray] = {}
        self.checkpointed = time.monotonic()

    def _beside(self, folder: Path) -> Path:
        """Where the folder is written before it gets its name: always the same place, to go on from there."""
        return partial(folder)

    def open(self, arrays: dict[str, tuple[tuple[int, ...], type]]) -> None:
        """arrays: {name: (shape, dtype)}, rows along the first axis. Made new unless rows are there."""
        if not self.rows:
            for path in self.partial.iterdir():
                path.unlink()
            for name, (shape, dtype) in arrays.items():
                _create_array(self._path(name), shape, dtype)
        self.arrays = {name: read_array(self._path(name), "feature array", mmap_mode="r+") for name in arrays}
        for name, (shape, dtype) in arrays.items():
            found = self.arrays[name]
            if (found.shape, found.dtype) != (shape, dtype) or self.rows > len(found):
                raise DriverError(f"{self._path(name)} is not what the interrupted extraction was writing: remove "
                                  f"{self.partial} and run it again")

    def _path(self, name: str) -> Path:
        return self.partial / f"{name}.npy"

    def _rows_done(self) -> int:
        """Rows an interrupted extraction of the very same features left."""
        path = self.partial / PROGRESS
        if not path.exists():
            return 0
        progress = read_json(path, PROGRESS_SCHEMA)
        return progress.pop("rows") if progress.items() >= self.made_from.items() else 0

    def append(self, **values: np.ndarray) -> None:
        """Rows for every array, all of one length. Now and then what has been appended is made to last."""
        count = len(next(iter(values.values())))
        for name, rows in values.items():
            self.arrays[name][self.rows:self.rows + count] = rows
        self.rows += count
        if time.monotonic() - self.checkpointed > CHECKPOINT_S:
            self.checkpoint()

    def checkpoint(self) -> None:
        """What has been appended survives from here on."""
        for array in self.arrays.values():
            array.flush()
        write_json(self.partial / PROGRESS, {**self.made_from, "rows": self.rows})
        self.checkpointed = time.monotonic()

    def discard(self) -> None:
        """Removes what is not whole."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def finish(self, ids: Sequence[str], meta: dict[str, Any]) -> None:
        """Completes the folder and gives it its name; features made from something else are replaced."""
        self._complete(ids, meta)
        old = replaced(self.folder)
        shutil.rmtree(old, ignore_errors=True)
        if self.folder.exists():
            self.folder.rename(old)
        self.partial.rename(self.folder)
        (self.folder / PROGRESS).unlink()
        shutil.rmtree(old, ignore_errors=True)

    def _complete(self, ids: Sequence[str], meta: dict[str, Any]) -> None:
        """All files of the folder, on the disk."""
        if self.rows != len(ids):
            raise DriverError(f"{self.partial}: {self.rows} rows for {len(ids)} images; nothing was put in place. Run "
                              "it again")
        self.checkpoint()
        lines = "".join(f"{image_id}\n" for image_id in ids)
        (self.partial / "ids.txt").write_text(lines, "utf-8", "surrogateescape")  # names of files may be any bytes
        write_json(self.partial / META, {**meta, **self._about_files(), "key": self.made_from["key"]})
        sync_folder(self.partial)


    def _about_files(self) -> dict[str, Any]:
        """What meta.json tells of the files themselves."""
        return {}


def _create_array(path: Path, shape: tuple[int, ...], dtype: type) -> None:
    """An empty .npy of full size. Its blocks are reserved: a memory map on a full disk would die of SIGBUS later."""
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    size = path.stat().st_size
    del array
    with open(path, "r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise DriverError(f"{path}: {error.strerror}: it needs {size / 1e6:.1f} MB. Free some space or choose "
                              "another --out") from None
