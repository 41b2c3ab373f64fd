"""A run's database cut into row ranges, as files: DIR/manifest.json, DIR/shard-000/codes.npy, fc7.npy, norms.npy.

codes.npy (n, words) packed as `codes.pack` does; fc7.npy (n, d) float32 or float16; norms.npy (n,) float64, its squared
norms. The manifest is written last and names every file with its length and SHA-256.
"""

import hashlib
import io
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm import tqdm

from basics.files import locked_folder, read_json, whole_file, write_json
from basics.program import EvalError
from basics.rows import block_slices, evenly, gather
from search.coarse import CodeIndex
from search.feature_set import Split
from search.fine import Fc7Index, squared_norms
from search.made_from import array_digest, file_digest, json_digest, split_digest

VERSION = 1
MANIFEST = "manifest.json"
BLOCK_ROWS = 4096
WHOLE_BYTES = 1 << 31       # a file up to this size is read whole when a node loads it, of a larger one a sample
SAMPLED_ROWS = 4096
FILE_SCHEMA = {"type": "object", "required": ["bytes", "sha256", "sample"], "properties": {
    "bytes": {"type": "integer"}, "sha256": {"type": "string"}, "sample": {"type": "string"}}}
SCHEMA = {"type": "object", "required": ["version", "count", "bits", "origin", "fc7", "shards"], "properties": {
    "version": {"const": VERSION}, "count": {"type": "integer", "minimum": 1}, "bits": {"type": "integer"},
    "origin": {"type": "object"}, "fc7": {"type": ["object", "null"]},
    "shards": {"type": "array", "minItems": 1, "items": {
        "type": "object", "required": ["start", "stop", "files"], "properties": {
            "start": {"type": "integer"}, "stop": {"type": "integer"},
            "files": {"type": "object", "additionalProperties": FILE_SCHEMA}}}}}}


@dataclass(frozen=True)
class Manifest:
    """What DIR/manifest.json holds. origin: digests of the codes and fc7 that were cut; fc7: {units, dtype} or None."""

    version: int
    count: int
    bits: int
    origin: dict
    fc7: dict | None
    shards: list[dict]

    @cached_property
    def name(self) -> str:
        """Tells these shards from all others."""
        return json_digest(asdict(self))[:16]

    def rows(self, shard: int) -> tuple[int, int]:
        return self.shards[shard]["start"], self.shards[shard]["stop"]


def folder_of(directory: Path, shard: int) -> Path:
    return directory / f"shard-{shard:03d}"


def read_manifest(directory: Path) -> Manifest:
    """EvalError where there is none, or its ranges leave a gap or overlap."""
    path = directory / MANIFEST
    contents = read_json(path, "cut the shards again: make shards", SCHEMA)
    if not contents:
        raise EvalError(f"{path} is missing: make shards RUN= cuts a run's features into shards")
    try:
        manifest = Manifest(**contents)
    except TypeError as error:
        raise EvalError(f"{path} is of another version ({error}): cut the shards again, make shards") from None
    check_ranges(path, manifest)
    return manifest


def check_ranges(path: Path, manifest: Manifest):
    """EvalError unless the row ranges follow each other and cover the database."""
    at = 0
    for number, shard in enumerate(manifest.shards):
        if shard["start"] != at or shard["stop"] <= at:
            raise EvalError(f"{path}: shard {number} has rows {shard['start']} to {shard['stop']}, but the one before "
                            f"ends at {at}: ranges must follow each other; cut the shards again, make shards")
        at = shard["stop"]
    if at != manifest.count:
        raise EvalError(f"{path}: the shards end at row {at}, the database at {manifest.count}: cut the shards again, "
                        "make shards")


def origin_of(database: Split) -> dict:
    """What identifies the database that shards are of."""
    return {"codes": array_digest(database.packed()), "fc7": split_digest(database, "fc7"),
            "key": database.meta.get("key")}


def check_origin(directory: Path, manifest: Manifest, database: Split):
    """EvalError unless the shards are of this database, to the last value."""
    origin = origin_of(database)
    for name, what in (("codes", "other codes"), ("fc7", "other fc7")):
        if manifest.origin.get(name) != origin[name]:
            raise EvalError(f"{directory} holds shards of another run than {database.folder} ({what}, "
                            f"{manifest.count:,} images against {len(database):,}): make shards RUN= OUT={directory}")


def cut(database: Split, directory: Path, count: int, dtype: str | None = None) -> tuple[Manifest, bool]:
    """Cut a database into `count` shards of like size. (the manifest, whether it was made now).

    dtype: of fc7 in the shards, None for that of the features. What is there of the same database is kept.
    """
    if not 1 <= count <= len(database):
        raise EvalError(f"SHARDS={count}: give 1 to {len(database)}, the images of {database.folder}")
    with locked_folder(directory):
        if is_current(database, directory, count, dtype):
            return read_manifest(directory), False
        (directory / MANIFEST).unlink(missing_ok=True)
        packed, bounds = database.packed(), np.linspace(0, len(database), count + 1).astype(int).tolist()
        shards = []
        for number in tqdm(range(count), desc="shards", unit="shard", delay=2, leave=False, disable=None):
            rows = slice(bounds[number], bounds[number + 1])
            shards.append({"start": rows.start, "stop": rows.stop,
                           "files": write_shard(folder_of(directory, number), packed, database.fc7, rows, dtype)})
        fc7 = database.fc7
        kind = None if fc7 is None else {"units": fc7.shape[1], "dtype": dtype or fc7.dtype.name}
        manifest = Manifest(VERSION, len(database), database.bits, origin_of(database), kind, shards)
        write_json(directory / MANIFEST, asdict(manifest))
        return manifest, True


def is_current(database: Split, directory: Path, count: int, dtype: str | None) -> bool:
    """Whether the folder holds these shards already, by their manifest and the lengths of the files."""
    try:
        manifest = read_manifest(directory)
        check_origin(directory, manifest, database)
    except EvalError:
        return False
    wanted = None if database.fc7 is None else dtype or database.fc7.dtype.name
    if len(manifest.shards) != count or (manifest.fc7 or {}).get("dtype") != wanted:
        return False
    return all((path := folder_of(directory, number) / name).is_file() and path.stat().st_size == told["bytes"]
               for number, shard in enumerate(manifest.shards) for name, told in shard["files"].items())


def write_shard(folder: Path, packed: np.ndarray, fc7: np.ndarray | None, rows: slice, dtype: str | None) -> dict:
    """{file: {bytes, sha256, sample}} of one shard."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"codes.npy": write_rows(folder / "codes.npy", packed[rows])}
    if fc7 is not None:
        files["fc7.npy"] = write_rows(folder / "fc7.npy", fc7[rows], dtype)
        kept = np.load(folder / "fc7.npy", mmap_mode="r")
        files["norms.npy"] = write_rows(folder / "norms.npy", squared_norms(kept, f"fc7 of {folder.name}"))
    return files


def write_rows(path: Path, array: np.ndarray, dtype: str | None = None) -> dict:
    """An .npy file written block by block, and what the manifest says of it."""
    dtype, digest = np.dtype(dtype or array.dtype), hashlib.sha256()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": np.lib.format.dtype_to_descr(dtype),
                                                  "fortran_order": False, "shape": array.shape})
    with whole_file(path) as file:
        for part in (header.getvalue(), *(np.ascontiguousarray(array[rows], dtype).data
                                          for rows in block_slices(len(array), BLOCK_ROWS))):
            digest.update(part)
            file.write(part)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest(), "sample": sample_digest(path)}


def sample_digest(path: Path) -> str:
    """Of the shape and 4,096 evenly taken rows of an .npy file."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array_digest(np.array(array.shape), gather(array, evenly(len(array), SAMPLED_ROWS)))


@dataclass(frozen=True, eq=False)
class Shard:
    """One row range in memory, or memory-mapped: start, stop of its rows; fc7_index None without fc7."""

    manifest: str
    number: int
    start: int
    stop: int
    code_index: CodeIndex
    fc7_index: Fc7Index | None


def load_shard(directory: Path, manifest: Manifest, number: int) -> Shard:
    """Load a shard. EvalError for a file that is missing or is not what was cut."""
    folder, (start, stop) = folder_of(directory, number), manifest.rows(number)
    arrays = {}
    for name, told in manifest.shards[number]["files"].items():
        check_file(folder / name, told)
        arrays[name] = np.load(folder / name, mmap_mode=None if name != "fc7.npy" else "r", allow_pickle=False)
        if len(arrays[name]) != stop - start:
            raise EvalError(f"{folder / name} has {len(arrays[name])} rows, the manifest says {stop - start}: cut the "
                            "shards again, make shards")
    fc7 = Fc7Index(arrays["fc7.npy"], arrays["norms.npy"]) if manifest.fc7 else None
    return Shard(manifest.name, number, start, stop, CodeIndex(arrays["codes.npy"]), fc7)


def check_file(path: Path, told: dict):
    """EvalError unless the file is what the manifest says, by its SHA-256; above 2 GiB by length and a sample."""
    if not path.is_file():
        raise EvalError(f"{path} is missing: cut the shards again (make shards), or copy them to this node")
    if path.stat().st_size != told["bytes"]:
        raise EvalError(f"{path} has {path.stat().st_size:,} bytes, {told['bytes']:,} were written: it is damaged; "
                        "remove it and make shards again, or copy it anew")
    whole = told["bytes"] <= WHOLE_BYTES
    if (file_digest(path) if whole else sample_digest(path)) != told["sha256" if whole else "sample"]:
        raise EvalError(f"{path} is damaged, its SHA-256 is another: remove it and make shards again, or copy it anew")
