"""Features of one run as files: DIR/train is the database, DIR/test the queries.

Needed in each: latent.npy (N, h) and labels.npy (N,) integers or (N, L) 0/1. Optional: fc7.npy (N, d),
predictions.npy (N,), thumbs.npy (N, s, s, 3) uint8 RGB, ids.txt, meta.json. Any tool may have written them.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from codes import binarise, pack
from eval_errors import EvalError

# Entries of meta.json that must agree between queries and database: else two runs were mixed.
SHARED_META = ("weights", "net", "protocol", "mean", "scale", "input", "blobs", "bits", "feature_dim")


@dataclass
class Split:
    """One split: row i of every array is image i. Arrays are memory-mapped where they can be."""

    folder: Path
    labels: np.ndarray | None = None
    latent: np.ndarray | None = None
    fc7: np.ndarray | None = None
    predictions: np.ndarray | None = None
    thumbs: np.ndarray | None = None
    ids: list | None = None
    meta: dict = field(default_factory=dict)

    def __len__(self):
        return len(self.latent if self.labels is None else self.labels)

    @property
    def bits(self):
        return self.latent.shape[1]

    def codes(self):
        """(N, h) bool codes."""
        try:
            return binarise(self.latent)
        except EvalError as error:
            raise EvalError(f"{self.folder / 'latent.npy'}: {error}") from None

    def packed(self):
        """(N, words) packed codes."""
        return pack(self.codes())


def load_array(path, required=True):
    """Memory-map an .npy file; None if it is absent and not required."""
    if not path.exists():
        if required:
            raise EvalError(f"{path} is missing: extract the features again, or put the file there")
        return None
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise EvalError(f"{path} is not a readable .npy file ({error}): extract the features again") from None


def load_labels(path):
    """(N,) int64 class labels, or (N, L) bool for several labels an image."""
    labels = np.asarray(load_array(path))
    if labels.dtype.kind not in "iub":
        raise EvalError(f"{path} holds {labels.dtype} values: labels must be integers")
    if labels.ndim == 2 and labels.shape[1] > 1:
        if labels.min() < 0 or labels.max() > 1:
            raise EvalError(f"{path}: labels of shape {labels.shape} mean several labels an image and must be 0 or 1")
        return labels.astype(bool)
    if labels.ndim == 0 or labels.size != len(labels):
        raise EvalError(f"{path} has shape {labels.shape}: labels must be (images,) or (images, labels)")
    return labels.reshape(-1).astype(np.int64)


def load_split(folder, latent_required=True, labels_required=True):
    """Load DIR/train or DIR/test. Raises EvalError for a missing file or counts that do not agree.

    New images to be asked about have no labels: labels_required=False leaves `labels` None.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EvalError(f"{folder} is not a directory: features need a train/ (database) and a test/ (queries) directory")
    labels = load_labels(folder / "labels.npy") if labels_required else None
    split = Split(folder, labels, load_array(folder / "latent.npy", latent_required))
    for name in ("fc7", "predictions", "thumbs"):
        setattr(split, name, load_array(folder / f"{name}.npy", required=False))
    for name in ("latent", "fc7", "predictions", "thumbs"):
        array = getattr(split, name)
        if array is not None and len(array) != len(split):
            raise EvalError(f"{folder / name}.npy has {len(array)} rows but {'latent' if labels is None else 'labels'}.npy "
                            f"has {len(split)}: they come from different runs; extract the features again")
    if len(split) == 0:
        raise EvalError(f"{folder} holds no images: extract features of at least one")
    split.ids = load_ids(folder / "ids.txt", len(split))
    split.meta = load_meta(folder / "meta.json")
    return split


def load_ids(path, count):
    """The lines of ids.txt, or None without the file."""
    if not path.exists():
        return None
    ids = path.read_text(encoding="utf-8").splitlines()
    if len(ids) != count:
        raise EvalError(f"{path} has {len(ids)} lines but there are {count} images: extract the features again")
    return ids


def load_meta(path):
    """meta.json as a dict; {} without the file."""
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EvalError(f"{path} is not valid JSON ({error}): extract the features again") from None


def load_features(directory, latent_required=True):
    """(queries, database) of one features directory, checked against each other."""
    directory = Path(directory)
    database = load_split(directory / "train", latent_required)
    queries = load_split(directory / "test", latent_required)
    check_pair(queries, database)
    return queries, database


def check_pair(queries, database):
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
    for key in SHARED_META:
        values = [identity(side.meta.get(key)) for side in (queries, database)]
        if all(key in side.meta for side in (queries, database)) and values[0] != values[1]:
            raise EvalError(f"{queries.folder} and {database.folder} come from different runs: meta.json differs in "
                            f"'{key}' ({values[0]} against {values[1]}); extract both with one net")


def identity(entry):
    """What identifies an entry of meta.json: the checksum of a file or of the images, wherever they lay; else its value."""
    checksums = [entry[name] for name in ("sha256", "fingerprint") if entry.get(name)] if isinstance(entry, dict) else []
    return checksums[0] if checksums else entry
