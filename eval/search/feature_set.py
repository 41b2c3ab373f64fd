"""Features of one run as files: DIR/train is the database, DIR/test the queries.

Needed in each: latent.npy (N, h), or codes.npy as `codes.read_codes` takes it, and labels.npy (N,) integers or (N, L)
0/1. Optional: fc7.npy (N, d), predictions.npy (N,), thumbs.npy (N, s, s, 3) uint8 RGB, ids.txt, meta.json. Any tool may
have written them.
"""

import tokenize
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from basics.files import is_there, read_json, regular_file
from basics.program import EvalError
from basics.rows import block_slices, evenly, gather, release
from search.codes import binarise, pack, read_codes

# Entries of meta.json that must agree between queries and database: else two runs were mixed.
SHARED_META = ("weights", "net", "protocol", "mean", "scale", "input", "blobs", "bits", "feature_dim")


_THING = {"type": ["object", "null"]}
META_SCHEMA = {"type": "object", "properties": {
    "key": {"type": "string"}, "bits": {"type": ["integer", "null"]}, "data": _THING, "weights": _THING,
    "blobs": _THING, "mean": _THING, "training": _THING, "classes": {"type": ["array", "null"]}}}
WHOLE_BYTES, SAMPLED_ROWS = 1 << 31, 4096   # of fc7: looked at whole up to this size, else so many rows


@dataclass
class Split:
    """One split: row i of every array is image i. Arrays are memory-mapped where they can be.

    ready_codes: (N, h) bool, where codes.npy stands in place of latent.npy.
    """

    folder: Path
    labels: np.ndarray | None = None
    latent: np.ndarray | None = None
    ready_codes: np.ndarray | None = None
    fc7: np.ndarray | None = None
    predictions: np.ndarray | None = None
    thumbs: np.ndarray | None = None
    ids: list | None = None
    meta: dict = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(array for array in (self.labels, self.latent, self.ready_codes) if array is not None))

    @property
    def bits(self) -> int:
        return (self.latent if self.ready_codes is None else self.ready_codes).shape[1]

    def image_id(self, row: int) -> str:
        """The image's line of ids.txt, or its row without the file."""
        return self.ids[row] if self.ids else str(row)

    def class_name(self, label) -> str:
        """A class's name by meta.json, or its number where it has none; names joined for several labels."""
        if np.ndim(label):
            return ", ".join(self.class_name(i) for i in np.flatnonzero(label)) or "none"
        if label < 0:
            return "not labelled"
        classes = self.meta.get("classes") or []
        return str(classes[label]) if 0 <= label < len(classes) else str(label)

    @property
    def has_codes(self) -> bool:
        return self.latent is not None or self.ready_codes is not None

    def codes(self) -> np.ndarray:
        """(N, h) bool codes."""
        if self.ready_codes is not None:
            return self.ready_codes
        try:
            return binarise(self.latent)
        except EvalError as error:
            raise EvalError(f"{self.folder / 'latent.npy'}: {error}") from None

    def codes_of(self, rows) -> np.ndarray:
        """(n, h) bool codes of some rows (a slice or indices), without looking at the others."""
        return binarise(np.asarray(self.latent[rows])) if self.ready_codes is None else self.ready_codes[rows]

    def packed(self) -> np.ndarray:
        """(N, words) packed codes."""
        return pack(self.codes())


def holds_codes(folder: Path) -> bool:
    """Whether the folder has what codes come from."""
    return any((folder / name).exists() for name in ("latent.npy", "codes.npy"))


def load_array(path: Path, required=True) -> np.ndarray | None:
    """Memory-map an .npy file; None if it is absent and not required."""
    if not is_there(path):
        if required:
            raise EvalError(f"{path} is missing: extract the features again, or put the file there")
        return None
    try:
        with open(regular_file(path), "rb") as file:
            if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
                raise ValueError("it does not begin as one")
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, TypeError, KeyError, SyntaxError, tokenize.TokenError, OverflowError, MemoryError,
            RecursionError) as error:   # numpy parses a header as Python
        raise EvalError(f"{path} is not a readable .npy file ({error}): extract the features again") from None
    if array.dtype.kind not in "iufb" or array.ndim == 0:
        raise EvalError(f"{path} holds {array.dtype} of shape {array.shape}: features are rows of numbers")
    return array


def load_labels(path: Path) -> np.ndarray:
    """(N,) int64 class labels, or (N, L) bool for several labels an image."""
    labels = np.asarray(load_array(path))
    if labels.dtype.kind not in "iub":
        raise EvalError(f"{path} holds {labels.dtype} values: labels must be integers")
    if labels.ndim == 2 and labels.shape[1] > 1:
        if labels.size and (labels.min() < 0 or labels.max() > 1):
            raise EvalError(f"{path}: labels of shape {labels.shape} mean several labels an image and must be 0 or 1")
        return labels.astype(bool)
    if labels.ndim == 0 or labels.size != len(labels):
        raise EvalError(f"{path} has shape {labels.shape}: labels must be (images,) or (images, labels)")
    return labels.reshape(-1).astype(np.int64)


def load_split(folder: Path, latent_required=True, labels_required=True) -> Split:
    """Load DIR/train or DIR/test. Raises EvalError for a missing file or counts that do not agree.

    New images to be asked about have no labels: labels_required=False leaves `labels` None.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EvalError(f"{folder} is not a directory: features need a train/ (database) and a test/ (queries)")
    labels = load_labels(folder / "labels.npy") if labels_required else None
    codes = folder / "codes.npy"
    split = Split(folder, labels, load_array(folder / "latent.npy", latent_required and not codes.exists()))
    for name in ("fc7", "predictions", "thumbs"):
        setattr(split, name, load_array(folder / f"{name}.npy", required=False))
    split.meta = read_json(folder / "meta.json", "extract the features again", META_SCHEMA)
    if codes.exists():
        split.ready_codes = load_codes(codes, split)
    check_counts(split)
    check_values(split)
    split.ids = load_ids(folder / "ids.txt", len(split))
    return split


def load_codes(path: Path, split: Split) -> np.ndarray:
    """(N, h) bool of codes.npy, of the length that meta.json gives as `bits`. EvalError beside a latent.npy."""
    if split.latent is not None:
        raise EvalError(f"{split.folder} has both latent.npy and codes.npy: codes come from one of them, "
                        "remove the other")
    try:
        return read_codes(load_array(path), split.meta.get("bits"))
    except EvalError as error:
        raise EvalError(f"{path}: {error}") from None


def check_counts(split: Split):
    """Raise EvalError unless all arrays have one row an image."""
    for name in ("latent", "ready_codes", "fc7", "predictions", "thumbs"):
        array = getattr(split, name)
        if array is not None and len(array) != len(split):
            raise EvalError(f"{split.folder / name.removeprefix('ready_')}.npy has {len(array)} rows but "
                            f"{'latent' if split.labels is None else 'labels'}.npy has {len(split)}: "
                            "they come from different runs; extract the features again")
    if len(split) == 0:
        raise EvalError(f"{split.folder} holds no images: extract features of at least one")


def check_values(split: Split):
    """EvalError for arrays that no net of this kind gives: what is ranked by them would be a wrong number.

    Latent activations are sigmoid outputs, 0..1; predictions a class an image; fc7 finite, and small enough for its
    squared distances; pictures (N, s, s) or (N, s, s, 3) bytes. Above 2 GiB fc7 is looked at in 4,096 rows.
    """
    advice = "extract the features again"
    latent, fc7, predictions, thumbs = split.latent, split.fc7, split.predictions, split.thumbs
    if latent is not None and latent.ndim == 2 and latent.size:
        low, high = float(latent.min()), float(latent.max())
        if low < 0 or high > 1:   # NaN is told by `binarise`, with its rows
            raise EvalError(f"{split.folder / 'latent.npy'} goes from {low:g} to {high:g}: latent activations are "
                            f"sigmoid outputs, 0..1. Take the blob behind the Sigmoid (codes go into codes.npy) "
                            f"and {advice}")
    if predictions is not None and (predictions.shape != (len(split),) or predictions.dtype.kind not in "iu"):
        raise EvalError(f"{split.folder / 'predictions.npy'} holds {predictions.dtype} of shape {predictions.shape}: a "
                        f"class number for each of {len(split)} images is wanted; {advice}")
    if thumbs is not None and (thumbs.dtype != np.uint8 or thumbs.shape[3:] not in ((), (3,)) or thumbs.ndim < 3):
        raise EvalError(f"{split.folder / 'thumbs.npy'} holds {thumbs.dtype} of shape {thumbs.shape}: pictures are "
                        f"(images, side, side, 3) bytes; {advice}")
    if fc7 is not None and fc7.ndim == 2 and fc7.size:
        _check_fc7(split.folder / "fc7.npy", fc7)


def _check_fc7(path: Path, fc7: np.ndarray):
    if fc7.dtype.kind != "f":
        raise EvalError(f"{path} holds {fc7.dtype}: activations are floating point numbers")
    limit = float(np.sqrt(np.finfo(np.float32).max / fc7.shape[1]) / 4)
    rows = np.arange(len(fc7)) if fc7.nbytes <= WHOLE_BYTES else evenly(len(fc7), SAMPLED_ROWS)
    for part in block_slices(len(rows), 2048):
        block = fc7[rows[part][0]:rows[part][-1] + 1] if len(rows) == len(fc7) else gather(fc7, rows[part])
        if not max(float(block.max()), -float(block.min())) <= limit:   # so put, NaN fails too
            row = int(rows[part][np.flatnonzero(~(np.abs(block) <= limit).all(axis=1))[0]])
            raise EvalError(f"{path}: row {row} has NaN or infinity, or values above {limit:.3g}: the training "
                            "diverged or the features are damaged; extract them again")
        release(fc7)


def load_ids(path: Path, count: int) -> list[str] | None:
    """The lines of ids.txt, or None without the file."""
    if not is_there(path):
        return None
    ids = regular_file(path).read_text(encoding="utf-8", errors="backslashreplace").split("\n")
    ids = ids if ids[-1] else ids[:-1]
    if len(ids) != count:
        raise EvalError(f"{path} has {len(ids)} lines but there are {count} images: extract the features again")
    return ids


def load_features(directory: Path, latent_required=True) -> tuple[Split, Split]:
    """(queries, database) of one features directory, checked against each other.

    The database without images that python/add.py put there later: figures stay those of the run's own.
    """
    directory = Path(directory)
    database = own_images(load_split(directory / "train", latent_required))
    queries = load_split(directory / "test", latent_required)
    check_pair(queries, database)
    return queries, database


def own_images(split: Split) -> Split:
    """A split without the images that were added to it (`own_count` of meta.json), as it was before."""
    count = split.meta.get("own_count", len(split))
    if not 0 < count < len(split):
        return split
    names = ("labels", "latent", "ready_codes", "fc7", "predictions", "thumbs")
    arrays = {name: array[:count] for name in names if (array := getattr(split, name)) is not None}
    meta = {name: value for name, value in split.meta.items() if name not in ("added", "added_to", "own_count")}
    return replace(split, **arrays, ids=split.ids and split.ids[:count],
                   meta={**meta, "count": count, "key": split.meta.get("added_to")})


def check_pair(queries: Split, database: Split):
    """Raise EvalError unless queries and database can come from one net and one protocol."""
    for name in ("latent", "fc7"):
        query_array, db_array = getattr(queries, name), getattr(database, name)
        if query_array is None or db_array is None:
            continue
        if query_array.ndim != 2 or db_array.ndim != 2 or query_array.shape[1] != db_array.shape[1]:
            raise EvalError(f"{name}.npy has shape {query_array.shape} in {queries.folder} but {db_array.shape} in "
                            f"{database.folder}: both must be (images, units) of one net")
    if queries.labels is not None and queries.labels.shape[1:] != database.labels.shape[1:]:
        raise EvalError(f"labels.npy has shape {queries.labels.shape} in {queries.folder} but "
                        f"{database.labels.shape} in {database.folder}: use the same set of labels in both")
    lengths = [split.bits for split in (queries, database) if split.has_codes]
    if len(set(lengths)) > 1:
        raise EvalError(f"{queries.folder} has codes of {lengths[0]} bits but {database.folder} of {lengths[1]}: use "
                        "codes of one net")
    key = differing_key(queries.meta, database.meta, SHARED_META)
    if key:
        raise EvalError(f"{queries.folder} and {database.folder} come from different runs: meta.json differs in "
                        f"{told_difference(queries, database, key)}; extract both with one net")


def differing_key(meta: dict, other: dict, keys: tuple) -> str | None:
    """The first of `keys` that two meta.json both have and that identifies different things."""
    shared = [key for key in keys if key in meta and key in other]
    return next((key for key in shared if identity(meta[key]) != identity(other[key])), None)


def told_difference(one: Split, other: Split, key: str) -> str:
    """'KEY' (VALUE against VALUE), for error messages."""
    return f"'{key}' ({identity(one.meta[key])} against {identity(other.meta[key])})"


def identity(entry):
    """What identifies an entry of meta.json: the checksum of a file or of images, wherever they lie; else its value."""
    if not isinstance(entry, dict):
        return entry
    return entry.get("sha256") or entry.get("fingerprint") or entry
