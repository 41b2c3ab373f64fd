"""Images added to a run's database: their features behind those that are there, whole or not at all."""
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from caffe_files.arrays import read_array
from features.feature_files import META, META_SCHEMA, FeatureFiles
from features.options import ExtractOptions
from features.run import extract
from process.errors import DriverError
from process.identity import cache_key, sha256, without_places
from process.readers import is_there, read_json, read_lines
from process.run_folder import RunFolder

ROWS = 4096  # copied at a time
# Entries of meta.json that must be the same for features that stand in one database.
SAME = ("weights", "net", "blobs", "protocol", "mean", "scale", "resize", "input", "engine")
ARRAYS = ("latent", "fc7", "labels", "predictions", "thumbs")


@dataclass(frozen=True)
class Database:
    """A folder of features, read. arrays: those of ARRAYS that it has, memory-mapped."""
    folder: Path
    meta: dict[str, Any]
    ids: list[str]
    arrays: dict[str, np.ndarray]

    @property
    def thumb_size(self) -> int:
        """Side of its pictures, 0 without."""
        return self.arrays["thumbs"].shape[1] if "thumbs" in self.arrays else 0


def read_database(folder: Path) -> Database:
    """The Database in a folder. DriverError when it holds none that extract.py made."""
    if not (folder / META).is_file():
        raise DriverError(f"{folder} has no {META}: there are no features to add to. Finish the run with the command "
                          "that began it")
    arrays = {name: read_array(folder / f"{name}.npy", "feature array", mmap_mode="r") for name in ARRAYS
              if is_there(folder / f"{name}.npy")}
    if "labels" not in arrays:
        raise DriverError(f"{folder / 'labels.npy'} is missing: the features are damaged; remove them and give the "
                          "command that made the run once more")
    ids = read_lines(folder / "ids.txt", "list of ids")
    uneven = [name for name, array in arrays.items() if len(array) != len(ids)]
    if uneven:
        raise DriverError(f"{folder}: {uneven[0]}.npy has {len(arrays[uneven[0]])} rows, ids.txt {len(ids)} lines: the "
                          "features are damaged; remove them and give the command that made the run once more")
    return Database(folder, read_json(folder / META, META_SCHEMA), ids, arrays)


def add(options: ExtractOptions, console: TextIO) -> int:
    """Extracts options.images as the run's database was, and puts them behind it; returns the exit status.

    options.out: a folder, in one of its own, for the new features alone; both are removed at the end.
    """
    database = read_database(options.run.features / "train")
    _check_weights(options.run, database)
    meta = database.meta
    asked = replace(options, protocol=meta["protocol"], latent_blob=meta["blobs"].get("latent", "none"),
                    feature_blob=meta["blobs"].get("fc7", "none"), thumbs=database.thumb_size)
    status = extract(asked, console)
    if status:
        return status
    new = read_database(options.out)
    _check_addable(database, new)
    _write(database, new)
    shutil.rmtree(options.out.parent)
    print(f"{database.folder}: {len(new.ids):,} images added to {len(database.ids):,}; searches see them, and what was "
          f"evaluated stays that of the {own_count(database.meta):,} images of the run's own", file=console)
    return 0


def own_count(meta: dict[str, Any]) -> int:
    """Images that a database had before any was added."""
    return meta.get("own_count", meta["count"])


def _check_weights(run: RunFolder, database: Database) -> None:
    """Before the long part: what is not the same cannot become so."""
    for path, name in ((run.final_model, "weights"), (run.deploy, "net")):
        if not path.is_file() or sha256(path) != (database.meta.get(name) or {}).get("sha256"):
            raise DriverError(f"{database.folder} was extracted by another {path.name} than {run} has now: codes of "
                              "two nets cannot be compared. Give the command that made the run once more, then add")


def _check_addable(database: Database, new: Database) -> None:
    """DriverError unless the new features can stand behind the database's."""
    for name in SAME:
        before, now = database.meta.get(name), new.meta.get(name)
        if without_places(before) != without_places(now):
            raise DriverError(f"{database.folder} was extracted with another {name} ({json.dumps(before)}; now "
                              f"{json.dumps(now)}), so bits can differ: add with the same (GPU=, ENGINE=), or give the "
                              "command that made the run once more, then add")
    known = set(database.ids)
    again = next((name for name in new.ids if name in known), None)
    if again:
        raise DriverError(f"{again} is in the database of {database.folder} already: leave it out")
    classes = database.meta.get("classes") or []
    labels = new.arrays["labels"]
    if database.arrays["labels"].ndim == 1 and classes and labels.max() >= len(classes):
        raise DriverError(f"the list of new images has label {labels.max()}, the database's classes are 0 to "
                          f"{len(classes) - 1}: correct it, or give -1 where the class is not known")
    if database.arrays["labels"].ndim == 2 and labels.max() >= 0:
        raise DriverError("the images of this database have several labels each, and a list for extraction gives one: "
                          "give the new images without labels (the files, or -1 in the list)")


def _write(database: Database, new: Database) -> None:
    """Writes the longer database beside the old one, and gives it its name."""
    meta = _meta(database, new)
    files = FeatureFiles(database.folder, meta["key"], database.thumb_size)
    count = len(database.ids) + len(new.ids)
    files.open({name: ((count, *array.shape[1:]), array.dtype.type) for name, array in database.arrays.items()})
    later = _as(database.arrays, new)
    while files.rows < count:
        first = files.rows - len(database.ids)  # of the new images; an interrupted call may have got that far
        part = {name: array[files.rows:files.rows + ROWS] for name, array in database.arrays.items()} if first < 0 \
            else {name: array[first:first + ROWS] for name, array in later.items()}
        files.append(**part)
    files.finish([*database.ids, *new.ids], {name: value for name, value in meta.items() if name != "key"})


def _as(arrays: dict[str, np.ndarray], new: Database) -> dict[str, np.ndarray]:
    """The new arrays in the shapes of the old ones. An image without labels has none of several."""
    found = {name: new.arrays[name] for name in arrays if name in new.arrays}
    if arrays["labels"].ndim == 2:
        found["labels"] = np.zeros((len(new.ids), arrays["labels"].shape[1]), arrays["labels"].dtype)
    lacking = arrays.keys() - found.keys()
    if lacking:
        raise DriverError(f"the new images have no {sorted(lacking)[0]}, which the database has: give the command that "
                          "made the run once more, then add")
    return found


def _meta(database: Database, new: Database) -> dict[str, Any]:
    """meta.json of both together: added_to is the key of the database's own images."""
    meta = database.meta
    added = [*meta.get("added", ()), {"path": new.meta["data"]["path"], "count": len(new.ids),
                                      "fingerprint": new.meta["data"]["fingerprint"]}]
    return {**meta, "count": len(database.ids) + len(new.ids), "own_count": own_count(meta),
            "added_to": meta.get("added_to", meta["key"]), "added": added,
            "key": cache_key({"database": meta["key"], "added": new.meta["key"]})}
