"""The databases of a data set: data/<set>/{train,test}_lmdb and, where asked for, their originals beside them."""
import ctypes
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2

from databases.parts import Part, Recipe, join_parts, remove_parts, write_part
from databases.writer import JPG, PNG, ImageFormat, read_meta, write_database
from prep.errors import PrepError
from prep.outputs import refuse_inputs_as_outputs
from sources.folders import is_cifar10
from sources.image_set import ImageSet

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
KEPT_BY = {"seed", "encoded", "channels", "height", "width", "count", "classes", "resized"}  # of meta.json
REFUSE, KEEP, OVERWRITE = "refuse", "keep", "overwrite"  # what to do with databases that exist


@dataclass(frozen=True)
class Options:
    """load: names of splits -> their ImageSets. out: data/<set>; its name is the data set's.

    originals: also write <split>_originals_lmdb, in each image's own size. existing: REFUSE, KEEP or OVERWRITE.
    inputs: files and folders that are read, as the user named them. part: of each database, to be joined. join: parts.
    """
    load: Callable[[Sequence[str]], dict[str, ImageSet]]
    out: Path
    splits: tuple[str, ...]
    image_format: ImageFormat
    originals: bool
    seed: int
    jobs: int
    skip_unreadable: bool
    existing: str
    inputs: tuple[Path, ...]
    part: Part | None = None
    join: bool = False

    def targets(self) -> list[Path]:
        """Every database that may be written."""
        wanted = [self.database(split) for split in self.splits]
        return wanted + [self.originals_of(split) for split in self.splits if self.originals]

    def database(self, split: str) -> Path:
        return self.out / f"{split}_lmdb"

    def originals_of(self, split: str) -> Path:
        return self.out / f"{split}_originals_lmdb"


def make_databases(options: Options) -> None:
    """Write what `options` describe, each database whole or not at all; the training database is shuffled."""
    refuse_inputs_as_outputs(options.targets(), options.inputs)
    cv2.setNumThreads(0)  # the threads of --jobs are the parallel part
    _keep_freed_memory()
    sets = options.load(options.splits)
    if options.part:  # several processes at a time: none writes where another does
        if options.existing == REFUSE:
            _check_absent(options)
        for split, images in sets.items():
            _write_parts(options, split, images)
        return
    with _locked(options.out):
        if options.existing == REFUSE:
            _check_absent(options)
        for split, images in sets.items():
            (_join_split if options.join else _write_split)(options, split, images)


def _keep_freed_memory() -> None:
    """Let glibc hand freed blocks out again instead of returning each image's memory to the system.

    Otherwise every 200 KB costs 50 page faults, several times an image: a quarter of the whole time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries lack it, and are only slower
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, 1 << 29)
        mallopt(M_TRIM_THRESHOLD, 1 << 30)


def _check_absent(options: Options) -> None:
    found = next((path for path in options.targets() if path.exists()), None)
    if found:
        raise PrepError(f"{found}: exists already; use it, or make it anew with --overwrite")


def _write_split(options: Options, split: str, images: ImageSet) -> None:
    meta = _write(options, split, images, options.database(split), options.image_format)
    if options.originals and meta["resized"]:
        _write(options, split, images, options.originals_of(split), _as_they_are(options))
    elif options.originals:
        print(f"{options.database(split)}: the images have this size already; no originals beside it")


def _write_parts(options: Options, split: str, images: ImageSet) -> None:
    """The part of a split's database, and of its originals: whether any image is resized, all parts together know."""
    for target in _targets(options, split):
        write_part(images, target, options.part, _recipe(options, split, images, target), options.jobs,
                   options.skip_unreadable)


def _join_split(options: Options, split: str, images: ImageSet) -> None:
    meta = _join(options, split, images, options.database(split))
    if options.originals and meta["resized"]:
        _join(options, split, images, options.originals_of(split))
    elif options.originals:
        remove_parts(options.originals_of(split))
        print(f"{options.database(split)}: the images have this size already; no originals beside it")


def _join(options: Options, split: str, images: ImageSet, target: Path) -> dict:
    recipe = _recipe(options, split, images, target)
    kept = options.existing == KEEP and target.exists()
    meta = _kept_meta(target, recipe.seed, recipe.image_format) if kept else join_parts(images, target, recipe)
    _print_summary(target, meta)
    return meta


def _targets(options: Options, split: str) -> list[Path]:
    return [options.database(split), *([options.originals_of(split)] if options.originals else [])]


def _recipe(options: Options, split: str, images: ImageSet, target: Path) -> Recipe:
    own_size = target == options.database(split)
    image_format = options.image_format if own_size else _as_they_are(options)
    return Recipe(image_format, options.seed if split == "train" else None, own_size,
                  {"split": split, "dataset": _dataset(options, images)})


def _dataset(options: Options, images: ImageSet) -> str:
    return "cifar10" if is_cifar10(images) else options.out.name


def _as_they_are(options: Options) -> ImageFormat:
    return ImageFormat(0, options.image_format.grey, options.image_format.encoded)


def _write(options: Options, split: str, images: ImageSet, target: Path, image_format: ImageFormat) -> dict:
    """meta.json of the database at `target`, made now unless it is there and to be kept."""
    seed = options.seed if split == "train" else None
    if options.existing == KEEP and target.exists():
        meta = _kept_meta(target, seed, image_format)
    else:
        # Caffe's Data layer wants one size in a batch; the originals are only read image by image.
        meta = write_database(images, target, image_format, seed=seed, jobs=options.jobs, split=split,
                              same_size=target == options.database(split), skip_unreadable=options.skip_unreadable,
                              dataset=_dataset(options, images))
    _print_summary(target, meta)
    return meta


def _kept_meta(path: Path, seed: int | None, image_format: ImageFormat) -> dict:
    """meta.json of an older database; PrepError if it was made with other settings or cannot be read."""
    meta = read_meta(path)
    if not meta.keys() >= KEPT_BY:
        raise PrepError(f"{path}: its meta.json cannot be read; "
                        "make the database anew with --overwrite instead of --keep")
    found = (meta["seed"], _encoding(meta), meta["channels"] == 1)
    sides = {meta["height"], meta["width"]}
    has_size = image_format.size == 0 or sides == {image_format.size}
    if found != (seed, image_format.encoded, image_format.grey) or not has_size:
        raise PrepError(f"{path}: was made with other settings (--seed, --size, --grey or --encoded); "
                        "make it anew with --overwrite instead of --keep")
    return meta


def _encoding(meta: dict) -> str | None:
    """ImageFormat.encoded of the database that has this meta.json."""
    return (JPG if "jpeg" in meta else PNG) if meta["encoded"] else None


def _print_summary(path: Path, meta: dict) -> None:
    shape = "x".join(str(meta[side] or "?") for side in ("channels", "height", "width"))
    kind = "labels, several an image" if "several_labels" in meta else "classes"
    order = "in order" if meta["seed"] is None else f"shuffled with seed {meta['seed']}"
    stored = {None: "", PNG: " PNG", JPG: f", {meta.get('jpeg')} JPEG as they were and the others PNG"}[_encoding(meta)]
    print(f"{path}: {meta['count']} images {shape}{stored}, "
          f"{len(meta['classes'])} {kind}, {order}, {(path / 'data.mdb').stat().st_size / 1e6:.0f} MB")


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Two programs that write the same databases at a time would mix them."""
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise PrepError(f"{directory}: another make_lmdb is writing there; wait for it") from None
    finally:
        os.close(handle)
