"""Parts that extract.py --part left become the features of an unbroken extraction: all of them, each looked at."""
import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from tqdm import tqdm

from caffe_files.arrays import read_array
from caffe_files.entries import check_companions, digest_ranges
from features.extraction import about, origin
from features.feature_files import META, META_SCHEMA, NAMES, FeatureFiles, is_made
from features.options import ExtractOptions, Part, parts_folder
from features.parts import DIGESTS
from features.recipe import Recipe, decide
from features.sources import FileSource, LmdbSource, sources_of
from process.errors import DriverError
from process.identity import cache_key, without_places
from process.readers import read_json

ROWS = 4096  # copied at a time
NAME = re.compile(r"part-(\d{5})-of-(\d{5})")
_FILE = {"type": "object", "required": ["bytes", "sha256"]}
_ROW = {"type": "integer", "minimum": 0}
SCHEMA = {"type": "object", "required": [
    "key", "part", "data", "files", "computed", "bits", "feature_dim"], "properties": {
    "key": {"type": "string"}, "data": {"type": "object", "required": ["fingerprint"]},
    "bits": {"type": ["integer", "null"]}, "feature_dim": {"type": ["integer", "null"]},
    "files": {"type": "object", "additionalProperties": _FILE, "propertyNames": {"enum": [*NAMES, DIGESTS]},
              "required": ["ids.txt", "labels.npy"]},
    "part": {"type": "object", "required": ["part", "first", "end", "images", "batch"],
             "properties": {"first": _ROW, "end": _ROW, "images": _ROW, "batch": {"type": "integer", "minimum": 1}}},
    "computed": {"type": "object", "required": ["host", "device"],
                 "properties": {"host": {"type": "string"}, "device": {"type": "string"}}}}}


@dataclass(frozen=True)
class MadePart:
    """A part that is there, its meta.json read."""
    part: Part
    folder: Path
    meta: dict[str, Any]

    @property
    def rows(self) -> range:
        """The rows that it says it has."""
        return range(self.meta["part"]["first"], self.meta["part"]["end"])

    def fault(self, what: str) -> DriverError:
        """What is wrong with it, and what to do."""
        return DriverError(f"part {self.part} ({self.folder}, made on {self.meta['computed']['host']}) {what}: remove "
                           f"it and make it again with --part {self.part}")

    def array(self, name: str) -> np.ndarray:
        """One of its arrays, memory-mapped: as many rows as the part has."""
        try:
            found = read_array(self.folder / name, "part of features", mmap_mode="r")
        except (DriverError, OSError) as error:
            raise self.fault(f"is damaged ({error})") from None
        if len(found) != len(self.rows):
            raise self.fault(f"is damaged ({name} has {len(found)} rows, not {len(self.rows)})")
        return found


def join(options: ExtractOptions, console: TextIO) -> int:
    """Joins the parts of every source of the options; returns the exit status. The parts are removed at the end."""
    recipe = decide(options, None, console)
    joinings = [Joining(source, out, recipe) for out, source in sources_of(options).items()
                if not _is_joined(source, out, recipe, console)]
    for joining in joinings:
        joining.check()
    for joining in joinings:
        joining.write(options, console)
    return 0


class Joining:
    """The features `out` of `source` from their parts. DriverError for a part that is missing or is none of these."""

    def __init__(self, source: LmdbSource | FileSource, out: Path, recipe: Recipe) -> None:
        self.source, self.out = source, out
        self.parts = _made_parts(out)
        first = self.parts[0].meta
        self.recipe = replace(recipe, engine=first.get("engine"), batch=first["part"]["batch"])

    def check(self) -> None:
        """Everything that can be told without reading the features themselves."""
        for made in self.parts:
            self._check_recipe(made)
            self._check_rows(made)
        self.identity = self._check_images()
        for made in self.parts:
            expected = {**origin(self.recipe, self.source, made.meta["data"]), "part": made.meta["part"]}
            if cache_key(expected) != made.meta["key"]:
                raise made.fault("is damaged (its key does not belong to what it tells)")

    def _check_recipe(self, made: MadePart) -> None:
        """All by the same weights, net, blobs, pre-processing and engine, and by those that are named now."""
        first, expected = self.parts[0], self.recipe.identity()
        if made.meta.get("engine") != first.meta.get("engine"):
            raise made.fault(f"was computed by the engine {_engine(made)}, part {first.part} by {_engine(first)}")
        for name, value in expected.items():
            if without_places(made.meta.get(name)) != without_places(value):
                raise made.fault(f"was made with another {name} ({_short(made.meta.get(name))}) than is named now "
                                 f"({_short(value)})")

    def _check_rows(self, made: MadePart) -> None:
        """The rows that this part of as many has by rule: so none is missing, none there twice."""
        told, batch = made.meta["part"], self.recipe.batch
        if told["images"] != self.source.count:
            raise made.fault(f"is one of {told['images']:,} images, {self.source.path} has {self.source.count:,}")
        if told["batch"] != batch:
            raise made.fault(f"was cut at batches of {told['batch']}, part {self.parts[0].part} at batches of {batch}")
        rows = made.part.rows(self.source.count, batch)
        if made.rows != rows:
            raise made.fault(f"has the rows {made.rows.start:,} to {made.rows.stop:,}, where {rows.start:,} to "
                             f"{rows.stop:,} are its own: it overlaps another, or leaves a gap")

    def _check_images(self) -> dict[str, str]:
        """The identity of all images, once those of each part were found to be the source's."""
        if isinstance(self.source, FileSource):
            whole, of_parts = self._digests_of_files()
        else:
            whole, of_parts = digest_ranges(self.source.place, [made.rows for made in self.parts])
        for made, digest in zip(self.parts, of_parts, strict=True):
            if made.meta["data"]["fingerprint"] != digest:
                raise made.fault(f"was made from other images or labels than {self.source.path} has in the rows "
                                 f"{made.rows.start:,} to {made.rows.stop:,}")
        return self.source.identity_by(whole)

    def _digests_of_files(self) -> tuple[str, list[str]]:
        """Those of all files, and of each part's, from what each part found when it read them."""
        found = [made.array(DIGESTS) for made in self.parts]
        of_parts = [self.source.fingerprint(made.rows, map(bytes, digests)) for made, digests in zip(self.parts, found)]
        everything = (bytes(digest) for digests in found for digest in digests)
        return self.source.fingerprint(range(self.source.count), everything), of_parts

    def write(self, options: ExtractOptions, console: TextIO) -> None:
        """Copies the parts into one folder, their checksums compared on the way, and removes them."""
        made_from = origin(self.recipe, self.source, self.identity)
        arrays = _shapes(self.parts, self.source.count)
        thumbs = arrays["thumbs"][0][1] if "thumbs" in arrays else 0
        files = FeatureFiles(self.out, cache_key(made_from), thumbs)
        files.rows = 0  # an unbroken extraction may have begun: all its rows are here
        try:
            files.open(arrays)
            with tqdm(total=self.source.count, unit="image", desc=f"joining {self.out}", file=console,
                      mininterval=0.5 if console.isatty() else 10) as bar:
                for made in self.parts:
                    self._copy(made, arrays.keys(), files)
                    bar.update(len(made.rows))
            if isinstance(self.source, LmdbSource):
                check_companions(self.source.place, np.array(files.arrays["labels"]))
        except DriverError:
            files.discard()
            raise
        first = self.parts[0].meta
        files.finish(self.source.ids, {**made_from, "split": self.out.name, "bits": first["bits"],
                                       "feature_dim": first["feature_dim"], **about(self.source, options.run)})
        _remove_parts(self.out)
        print(f"{self.out}: {self.source.count:,} rows joined from {len(self.parts)} parts"
              f"{_several_devices(self.parts)}", file=console)

    def _copy(self, made: MadePart, names: Iterable[str], files: FeatureFiles) -> None:
        """The rows of a part behind those that are there."""
        arrays = {name: made.array(f"{name}.npy") for name in names}
        digests = {name: hashlib.sha256(_head(made.folder / f"{name}.npy", array)) for name, array in arrays.items()}
        for start in range(0, len(made.rows), ROWS):
            piece = {name: np.ascontiguousarray(array[start:start + ROWS]) for name, array in arrays.items()}
            for name, rows in piece.items():
                digests[name].update(rows)
            files.append(**piece)
        for name, digest in digests.items():
            self._compare(made, f"{name}.npy", digest.hexdigest())
        ids = (made.folder / "ids.txt").read_bytes() if (made.folder / "ids.txt").is_file() else b""
        self._compare(made, "ids.txt", hashlib.sha256(ids).hexdigest())
        if ids.decode("utf-8", "surrogateescape").splitlines() != list(self.source.ids[made.rows.start:made.rows.stop]):
            raise made.fault(f"names other images than {self.source.path} has in its rows")

    def _compare(self, made: MadePart, name: str, digest: str) -> None:
        told = made.meta["files"][name]
        if (told["bytes"], told["sha256"]) != ((made.folder / name).stat().st_size, digest):
            raise made.fault(f"is damaged ({name} is not what was written)")


def _is_joined(source: LmdbSource | FileSource, out: Path, recipe: Recipe, console: TextIO) -> bool:
    """Whether `out` was joined before, and its parts removed or about to be: then what is left of them goes."""
    try:
        _made_parts(out)
        return False  # a part may be a newer one
    except DriverError:
        if not (out / META).exists():
            return False
    engine = read_json(out / META, META_SCHEMA).get("engine")
    identity = source.identity() if isinstance(source, FileSource) else \
        source.identity_by(digest_ranges(source.place, [range(source.count)])[0])
    if not is_made(out, cache_key(origin(replace(recipe, engine=engine), source, identity))):
        return False
    _remove_parts(out)
    print(f"{out}: kept, joined from parts of the same weights, net, pre-processing and {source.count:,} images",
          file=console)
    return True


def _remove_parts(out: Path) -> None:
    """Also what ended processes left of them. What else lies there stays."""
    folder = parts_folder(out)
    for path in folder.iterdir() if folder.is_dir() else ():
        if NAME.match(path.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _made_parts(out: Path) -> list[MadePart]:
    """Every part of a folder of features, in order. DriverError unless all are there, of one number of parts."""
    folder = parts_folder(out)
    names = sorted(path.name for path in folder.iterdir() if NAME.fullmatch(path.name)) if folder.is_dir() else []
    found = [Part(*map(int, NAME.fullmatch(name).groups())) for name in names]
    if not found:
        raise DriverError(f"{folder} holds no part of {out}: make them with --part 1/n to n/n, then --join")
    numbers = sorted({part.of for part in found})
    if len(numbers) > 1:
        raise DriverError(f"{folder} holds parts of {numbers[0]} and of {numbers[1]}, which overlap: remove those of "
                          "one kind")
    missing = sorted(set(range(1, numbers[0] + 1)) - {part.number for part in found})
    if missing:
        listed = ", ".join(str(Part(number, numbers[0])) for number in missing[:5])
        raise DriverError(f"{folder} lacks {len(missing)} of {numbers[0]} parts: {listed}"
                          f"{', ...' if len(missing) > 5 else ''}. Make each with --part")
    return [MadePart(part, part.folder(out), _meta(part.folder(out))) for part in found]


def _meta(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / META, SCHEMA)
    except FileNotFoundError:
        raise DriverError(f"{folder} has no {META}: it is no whole part. Remove it and make it again") from None


def _shapes(parts: list[MadePart], count: int) -> dict[str, tuple[tuple[int, ...], type]]:
    """{array: (shape, dtype)} of all rows together. DriverError for a part whose arrays are others."""
    arrays = [{name: made.array(name) for name in made.meta["files"] if name.endswith(".npy") and name != DIGESTS}
              for made in parts]
    forms = [{name.removesuffix(".npy"): (array.shape[1:], array.dtype.type) for name, array in found.items()}
             for found in arrays]
    for made, form in zip(parts, forms):
        if form != forms[0]:
            raise made.fault(f"has other arrays ({_short(form)}) than part {parts[0].part} ({_short(forms[0])})")
    return {name: ((count, *shape), dtype) for name, (shape, dtype) in forms[0].items()}


def _head(path: Path, array: np.memmap) -> bytes:
    """What stands in the file before the values."""
    with open(path, "rb") as file:
        return file.read(array.offset)


def _engine(made: MadePart) -> str:
    return made.meta.get("engine") or "caffe, or on a GPU"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 200 else f"{text[:200]}..."


def _several_devices(parts: list[MadePart]) -> str:
    """A word of warning: devices differ by rounding."""
    devices = Counter(made.meta["computed"]["device"] for made in parts)
    if len(devices) == 1:
        return ""
    return "; they were computed on different devices, which differ by rounding: " + \
        ", ".join(f"{device} ({count} parts)" for device, count in devices.most_common())
