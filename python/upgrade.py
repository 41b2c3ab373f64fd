#!/usr/bin/env python3
"""Brings nets, solvers and weights of older Caffe formats into today's. Without --out it only says what a file is.

    upgrade.py KevinNet_CIFAR10_48.caffemodel --out released_48.caffemodel
    upgrade.py old_deploy.prototxt
"""
import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from process.program import run_program


@dataclass(frozen=True)
class Options:
    """The command line."""
    file: Path
    out: Path | None


def parse_arguments(argv: Sequence[str] | None) -> Options:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="net or solver (prototxt), or caffemodel")
    parser.add_argument("--out", type=Path, help="file to write; must not exist")
    return Options(**vars(parser.parse_args(argv)))


def work(options: Options) -> None:
    """Upgrades, and prints the sentence about it."""
    from caffe_files.upgrade import upgrade  # Caffe takes a second to load: --help need not wait for it
    print(upgrade(options.file, options.out))


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return run_program("upgrade", parse_arguments, work, argv)


if __name__ == "__main__":
    sys.exit(main())
