"""A run that is trained, extracted and evaluated, all of one net: what a package is made from."""
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caffe_files.arrays import read_array
from features.feature_files import META_SCHEMA
from process.errors import DriverError
from process.identity import sha256
from process.readers import read_json
from process.run_folder import RunFolder

_NUMBER, _COUNT, _OBJECT = {"type": "number"}, {"type": "integer"}, {"type": "object"}
# What the card quotes. Figures that are not there are left out.
RESULTS_SCHEMA = {"type": "object", "required": ["features"], "properties": {
    "features": _OBJECT, "accuracy": _NUMBER, "queries": _COUNT, "protocols": {"type": "array", "items": {
        "type": "object", "required": ["protocol", "map", "top_k", "queries", "database", "ap_divisor"], "properties": {
            "map": {"type": ["number", "null"]}, "top_k": _COUNT, "queries": _COUNT, "database": _COUNT}}}}}
_DATA = {"type": "object", "required": ["images"], "properties": {"images": _COUNT}}
SETTINGS_SCHEMA = {"type": "object", "required": ["train_data", "test_data", "iterations", "batch", "seed", "commit",
                                                  "started", "classes"],
                   "properties": {"train_data": _DATA, "test_data": _DATA, "iterations": _COUNT, "batch": _COUNT,
                                  "schedule": _NUMBER}}
META_OF_A_PACKAGE = META_SCHEMA | {"required": ["key", "count", "bits", "blobs", "weights", "net", "protocol", "scale",
                                                "mean", "data"]}


@dataclass(frozen=True)
class Finished:
    """settings, meta, results: contents of run.json, of the database's meta.json and of results.json."""
    folder: RunFolder
    settings: dict[str, Any]
    meta: dict[str, Any]
    results: dict[str, Any]
    mean: Path | None

    @property
    def database(self) -> Path:
        """Folder of the database's features."""
        return self.folder.features / "train"

    def packed_codes(self) -> np.ndarray:
        """(N, bytes) uint8, those of images added later behind the run's own.

        DriverError when they are not the codes that were evaluated.
        """
        latent = read_array(self.database / "latent.npy", "feature array", "f", mmap_mode="r")
        codes = np.packbits(np.atleast_1d(latent) >= 0.5, axis=-1)
        evaluated = self.folder.evaluation / "codes-train.npy"
        own = codes[:self.meta.get("own_count", len(codes))]
        if not np.array_equal(own, read_array(evaluated, "list of codes", "u")):
            raise DriverError(f"{evaluated} holds other codes than {self.database}: make evaluate RUN=")
        return codes

    @property
    def results_file(self) -> Path:
        """Its figures."""
        return self.folder.evaluation / "results.json"


def finished_run(folder: RunFolder) -> Finished:
    """The Finished of a run. DriverError that says what is missing, or not of the run's weights as they are now."""
    train, test = (folder.features / split / "meta.json" for split in ("train", "test"))
    results_file = folder.evaluation / "results.json"
    for path, what in ((folder.final_model, "is not trained to its end"), (folder.settings, "is no run"),
                       (folder.deploy, "has no deploy net"), (train, "has no features"), (test, "has no features"),
                       (results_file, "is not evaluated"), (folder.evaluation / "codes-train.npy", "is not evaluated")):
        if not path.is_file():
            raise DriverError(f"{folder} {what} ({path} is missing): finish it with the command that began it, or make "
                              "evaluate RUN=")
    meta, results = read_json(train, META_OF_A_PACKAGE), read_json(results_file, RESULTS_SCHEMA)
    for path, key in ((folder.final_model, "weights"), (folder.deploy, "net")):
        if sha256(path) != meta[key]["sha256"]:
            raise DriverError(f"{folder.features} was extracted by another {path.name} than the run has now: give the "
                              "command that made the run once more, then package it")
    if results["features"].get("key") != read_json(test, META_SCHEMA).get("key"):
        raise DriverError(f"{results_file} is of other features than the run has now: make evaluate RUN=")
    settings = folder.read_settings() | read_json(folder.settings, SETTINGS_SCHEMA)
    return Finished(folder, settings, meta, results, _mean(meta))


def _mean(meta: dict[str, Any]) -> Path | None:
    """The mean image that the features were made with, None without."""
    if not meta["mean"]:
        return None
    mean = Path(meta["mean"]["file"])
    if not mean.is_file() or sha256(mean) != meta["mean"]["sha256"]:
        raise DriverError(f"the mean image {mean} is not the one that the features were made with (SHA-256 "
                          f"{meta['mean']['sha256']}): put it back, or give the command that made the run once more")
    return mean
