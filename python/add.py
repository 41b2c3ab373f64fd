#!/usr/bin/env python3
"""Adds images to a finished run's database: every search sees them, what was evaluated stays as it was.

    add.py --run runs/cifar10_caffenet_48 --images new_photos/

Their labels are not known, unless a list of `path label` lines gives them. Whole or not at all: stopped, the same
command goes on, and until it ends the database is the old one.
"""
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from features.options import PROTOCOLS, ExtractOptions
from nets.blobs import FC7, OWN
from process.cpu import add_cpu_options, use_cpu
from process.errors import DriverError
from process.guard import run_guarded
from process.program import run_program
from process.run_folder import RunFolder


def parse_arguments(argv: Sequence[str] | None) -> ExtractOptions:
    """Options of the command line. DriverError when the run is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--run", type=lambda text: RunFolder(Path(text)), required=True, metavar="DIR",
                        help="a run that is trained and extracted")
    parser.add_argument("--images", nargs="+", required=True,
                        help="image files, directories, or lists (.txt) of `path label` lines")
    parser.add_argument("--root", type=Path, default=Path(), help="folder that the paths of a list are relative to")
    parser.add_argument("--gpu", default="auto", metavar="auto|none|N", help="device")
    parser.add_argument("--trust-net", action="store_true",
                        help="take a net whose layers do more than compute: they can read and write files and run code")
    add_cpu_options(parser)
    given = parser.parse_args(argv)
    if not given.run.path.is_dir():
        raise DriverError(f"--run {given.run}: no such folder")
    return ExtractOptions(
        **vars(given), package=None, initial=False, net=None, weights=None, lmdb=None, databases=None,
        out=given.run.path / "adding" / "features", protocol=PROTOCOLS[0], mean=None, scale=None, resize=None,
        latent_blob=OWN, feature_blob=FC7, batch=None, thumbs=None, any_memory=False)


def work(options: ExtractOptions) -> int:
    """Extracts and adds in the guarded child; returns the exit status."""
    use_cpu(options.engine, options.threads)

    def in_child(console: TextIO) -> int:
        from features.adding import add  # behind the fork: it loads Caffe and starts OpenCV
        return add(options, console)
    return run_guarded(in_child, options.caffe_log, "add")


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return run_program("add", parse_arguments, work, argv)


if __name__ == "__main__":
    sys.exit(main())
