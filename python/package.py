#!/usr/bin/env python3
"""Packs a finished run into a folder to hand on: net, weights, mean image, ONNX, codes, figures, model card, checksums.

    package.py --run runs/cifar10_caffenet_48 --out cifar10_48

The folder answers `make query PACKAGE=cifar10_48 IMAGE=photo.jpg` in any checkout, without the run and its data.
"""
import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from packing.options import PackageOptions
from process.errors import DriverError
from process.guard import run_guarded
from process.package_folder import FURTHER
from process.program import run_program
from process.run_folder import RunFolder


def parse_arguments(argv: Sequence[str] | None) -> PackageOptions:
    """Options of the command line. DriverError when the run is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--run", type=lambda text: RunFolder(Path(text)), required=True, metavar="DIR",
                        help="a run that is trained, extracted and evaluated")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write; must not exist")
    parser.add_argument("--with", dest="further", nargs="+", choices=FURTHER, default=(), metavar="ARRAY",
                        help=f"arrays of the database to take along: {', '.join(FURTHER)} (fc7 for the second stage of "
                             "the search, thumbs for pictures; they are large)")
    parser.add_argument("--license", dest="licence", metavar="ID",
                        help="licence of the weights, an identifier of Hugging Face's hub, bsd-2-clause say (default: "
                             "the card says that none is stated)")
    given = parser.parse_args(argv)
    if given.licence and not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", given.licence):
        parser.error(f"--license {given.licence}: an identifier has small letters, digits, dots and dashes, as "
                     "bsd-2-clause has")
    if not given.run.path.is_dir():
        raise DriverError(f"--run {given.run}: no such folder")
    return PackageOptions(given.run, given.out, tuple(dict.fromkeys(given.further)), given.licence)


def work(options: PackageOptions) -> int:
    """Packs in the guarded child; returns the exit status."""
    def in_child(console: TextIO) -> None:
        from packing.run import package  # behind the fork: it loads Caffe
        package(options, console)
    return run_guarded(in_child, options.run.caffe_log, "package")


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return run_program("package", parse_arguments, work, argv)


if __name__ == "__main__":
    sys.exit(main())
