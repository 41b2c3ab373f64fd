#!/usr/bin/env python3
"""Writes train_val.prototxt, deploy.prototxt and solver.prototxt of a data set, net and code length.

The files under prototxt/ are the output of `net_template.py --all` (a test holds them together). Others on demand:

    net_template.py --dataset cifar10 --net caffenet --bits 32 --out build/prototxt
    net_template.py --dataset shoes --classes 7 --net caffenet --bits 64 --out build/prototxt
    net_template.py --database data/shoes --net caffenet --bits 64 --out build/prototxt
"""
import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from process.errors import DriverError
from process.program import run_program

# isort: split
from nets.definitions import DATASETS, NETS, DataSet, Setting
from nets.own_data import data_set_of
from nets.template import committed_settings, write, write_unless_edited


@dataclass(frozen=True)
class Options:
    """What to write, and the parent of the folders it goes into."""
    settings: list[Setting]
    out: Path
    keep_edited: bool


def parse_arguments(argv: Sequence[str] | None) -> Options:
    """Options of the command line. DriverError for a setting that makes no net."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--all", action="store_true", help="write every committed setting into prototxt/")
    parser.add_argument("--dataset", default="cifar10",
                        help=f"{', '.join(DATASETS)}, or a name of yours with --classes")
    parser.add_argument("--classes", type=int, help="number of classes of a data set of yours")
    parser.add_argument("--database", type=Path, metavar="DIR",
                        help="databases that make_lmdb.py made: classes and a schedule for their number of images are "
                             "taken from them")
    parser.add_argument("--net", choices=sorted(NETS), default="caffenet")
    parser.add_argument("--bits", type=int, default=48, help="code length h")
    parser.add_argument("--out", type=Path, default=Path("prototxt"),
                        help="parent folder; the files go into <dataset>_<net>_<bits> there")
    parser.add_argument("--keep-edited", action="store_true",
                        help="leave files alone that are not what this program wrote last, and say so")
    given = parser.parse_args(argv)
    settings = committed_settings() if given.all else [Setting(_data_set(given), given.net, given.bits)]
    return Options(settings, given.out, given.keep_edited)


def _data_set(given: argparse.Namespace) -> DataSet:
    """The data set known by its name, or one of the user's. DriverError when classes or bits make no net."""
    if given.bits < 1 or (given.classes or 2) < 2:
        raise DriverError("--bits must be at least 1 and --classes at least 2")
    found = DATASETS.get(given.dataset) or (data_set_of(given.database, given.dataset) if given.database else None)
    if found is None and given.classes is None:
        raise DriverError(f"--dataset {given.dataset} is not known here: give its number of classes with --classes, or "
                          "its databases with --database")
    if found is not None and given.classes not in (None, found.classes):
        raise DriverError(f"--classes {given.classes}: {found.name} has {found.classes}; leave --classes out or rename "
                          "the data set")
    return found or DataSet(given.dataset, given.classes)


def work(options: Options) -> None:
    """Writes the settings and prints their folders."""
    for setting in options.settings:
        print((write_unless_edited if options.keep_edited else write)(setting, options.out))


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return run_program("net_template", parse_arguments, work, argv)


if __name__ == "__main__":
    sys.exit(main())
