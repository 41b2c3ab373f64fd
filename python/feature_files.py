"""Writes <features>/<split>/: latent.npy, fc7.npy, labels.npy, predictions.npy, thumbs.npy, ids.txt and meta.json.

The arrays are memory-mapped in a folder named <split>.partial, which an interrupted extraction finds again, and which
gets its final name when every row is there.
"""
import hashlib
import json
import os
import shutil
import time

import numpy as np

from driver_errors import DriverError
from run_files import lock_folder, write_json

PROGRESS = "progress.json"
CHECKPOINT_S = 10.0  # rows of at most these seconds are computed twice after an interruption


def cache_key(made_from):
    """SHA-256 over everything features depend on, a dict that JSON can hold."""
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def is_made(folder, key):
    """True when the features in folder are whole and were made from the same things."""
    meta = os.path.join(folder, "meta.json")
    if not os.path.exists(meta):
        return False
    with open(meta) as file:
        return json.load(file).get("key") == key


class FeatureFiles:
    """The arrays of one split in the making. rows: how many of them are there already.

    key: of the cache. thumbs: side of the pictures, which does not make features different ones but the files.
    DriverError when another process is writing the same folder, or when it is there and holds something else.
    """

    def __init__(self, folder, key, thumbs=0):
        self.folder = folder.rstrip("/")
        self.made_from = dict(key=key, thumbs=thumbs)
        self.partial = self.folder + ".partial"
        if os.path.exists(self.folder) and not os.path.exists(os.path.join(self.folder, "meta.json")):
            raise DriverError(f"{self.folder} is there and is no folder of features (it has no meta.json): choose another --out")
        os.makedirs(self.partial, exist_ok=True)
        self.lock = lock_folder(self.partial)
        self.rows = self._rows_done()
        self.arrays = {}
        self.checkpointed = time.monotonic()

    def open(self, arrays):
        """arrays: {name: (shape, dtype)}, rows along the first axis. Made new unless rows are there."""
        if not self.rows:
            for name in os.listdir(self.partial):
                os.remove(os.path.join(self.partial, name))
            for name, (shape, dtype) in arrays.items():
                create_array(self._path(name), shape, dtype)
        self.arrays = {name: np.load(self._path(name), mmap_mode="r+") for name in arrays}

    def _path(self, name):
        return os.path.join(self.partial, f"{name}.npy")

    def _rows_done(self):
        """Rows an interrupted extraction of the very same features left."""
        path = os.path.join(self.partial, PROGRESS)
        if not os.path.exists(path):
            return 0
        with open(path) as file:
            progress = json.load(file)
        return progress.pop("rows") if progress.items() >= self.made_from.items() else 0

    def append(self, **values):
        """Rows for every array, all of one length. Now and then what has been appended is made to last."""
        count = len(next(iter(values.values())))
        for name, rows in values.items():
            self.arrays[name][self.rows:self.rows + count] = rows
        self.rows += count
        if time.monotonic() - self.checkpointed > CHECKPOINT_S:
            self.checkpoint()

    def checkpoint(self):
        """What has been appended survives from here on."""
        for array in self.arrays.values():
            array.flush()
        write_json(os.path.join(self.partial, PROGRESS), dict(self.made_from, rows=self.rows))
        self.checkpointed = time.monotonic()

    def finish(self, ids, meta):
        """Completes the folder and gives it its name; features made from something else are replaced."""
        if self.rows != len(ids):
            raise DriverError(f"{self.partial}: {self.rows} rows for {len(ids)} images; nothing was put in place. Run it again")
        self.checkpoint()
        with open(os.path.join(self.partial, "ids.txt"), "w") as file:
            file.writelines(f"{image_id}\n" for image_id in ids)
        write_json(os.path.join(self.partial, "meta.json"), dict(meta, key=self.made_from["key"]))
        old = self.folder + ".old"
        shutil.rmtree(old, ignore_errors=True)
        if os.path.exists(self.folder):
            os.rename(self.folder, old)
        os.rename(self.partial, self.folder)
        os.remove(os.path.join(self.folder, PROGRESS))
        shutil.rmtree(old, ignore_errors=True)


def create_array(path, shape, dtype):
    """An empty .npy of full size. Its blocks are reserved: a memory map on a full disk would die of SIGBUS later."""
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    size = os.path.getsize(path)
    del array
    with open(path, "r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise DriverError(f"{path}: {error.strerror}: it needs {size / 1e6:.0f} MB. Free some space or choose another --out") \
                from None
