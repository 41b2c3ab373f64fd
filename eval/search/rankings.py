"""Ranked lists as files: searches write them, measures read them, so that scoring needs no search."""

import json
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from basics.files import whole_file
from basics.program import EvalError

LOCAL_HEADER = struct.Struct("<26xHH")    # of an entry of a zip file; the lengths of its name and of what follows
READ_HEADER = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass
class Ranking:
    """Ranked lists of one search: ids (Q, k) int32 rows of the database, and both distances where known.

    hamming (Q, k) and euclidean (Q, k) may be None; pool (Q,) is None but for hdl. meta: JSON values; "seconds" the
    search took, "made_from" (made_from.py), "radius" and "radius_mean" of hdl, "blob" of es-pretrained.
    """

    ids: np.ndarray
    hamming: np.ndarray | None = None
    euclidean: np.ndarray | None = None
    pool: np.ndarray | None = None
    meta: dict | None = None

    def cut(self, top_k: int) -> "Ranking":
        """The first `top_k` results of each list."""
        hamming, euclidean = (None if kept is None else kept[:, :top_k] for kept in (self.hamming, self.euclidean))
        return Ranking(self.ids[:, :top_k], hamming, euclidean, self.pool, self.meta)


def save_ranking(path: Path, ranking: Ranking):
    """Write an .npz beside, then rename."""
    arrays = {name: getattr(ranking, name) for name in ("ids", "hamming", "euclidean", "pool")}
    with whole_file(path) as file:
        np.savez(file, meta=json.dumps(ranking.meta), **{k: v for k, v in arrays.items() if v is not None})


def load_ranking(path: Path) -> Ranking:
    """A saved Ranking. Raises EvalError if it is missing or damaged; `made_from` is the caller's to check."""
    def read(saved):
        if saved.zip.testzip():
            raise ValueError("its checksums do not agree")
        arrays = {name: _mapped(path, saved, name) for name in saved.files if name != "meta"}
        return Ranking(**arrays, meta=json.loads(str(saved["meta"])))
    return _read(path, read)


def _mapped(path, saved, name):
    """One array of an uncompressed .npz, memory-mapped: lists of a large evaluation take gigabytes."""
    entry = saved.zip.getinfo(f"{name}.npy")
    with open(path, "rb") as file, saved.zip.open(entry) as member:
        file.seek(entry.header_offset + LOCAL_HEADER.size - 4)
        start = entry.header_offset + LOCAL_HEADER.size + sum(struct.unpack("<HH", file.read(4)))
        version = np.lib.format.read_magic(member)
        shape, fortran, dtype = READ_HEADER[version](member)
        if entry.compress_type != zipfile.ZIP_STORED or fortran or 0 in shape:
            return saved[name]
        return np.memmap(path, dtype, "r", start + member.tell(), shape)


def load_made_from(path: Path):
    """What a saved ranking was made from (None if it does not tell), without its lists. Errors as `load_ranking`."""
    return _read(path, lambda saved: json.loads(str(saved["meta"])).get("made_from"))


def _read(path, read):
    if not path.exists():
        raise EvalError(f"{path} is missing: run without --score-only to search first")
    try:
        with np.load(path, allow_pickle=False) as saved:
            return read(saved)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise EvalError(f"{path} is not a saved search ({error}): run without --score-only to search again") from None
