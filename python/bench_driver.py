#!/usr/bin/env python3
"""The driver against Caffe's own programs, in turns within one run: training and extraction. `make bench` runs it.

    bench_driver.py                                        # the digits' LeNet, and CaffeNet where its databases are
    bench_driver.py --setting prototxt/cifar10_caffenet_48 --lmdb data/cifar10/test_lmdb

What exactly is timed stands in checks/driver_speed.py.
"""
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from checks.options import WINDOW, BenchOptions
from process.program import run_program


def parse_arguments(argv: Sequence[str] | None) -> BenchOptions:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--setting", type=Path, action="append", metavar="DIR",
                        help="folder with solver, train_val and deploy prototxt (default: the digits' LeNet and "
                             "CIFAR-10's CaffeNet, where their databases exist)")
    parser.add_argument("--lmdb", type=Path, help="database to extract from (default: the setting's training database)")
    parser.add_argument("--originals", type=Path,
                        help="database whose images are written as files to extract from (default: the originals)")
    parser.add_argument("--iterations", type=int, help="of training a round")
    parser.add_argument("--count", type=int, help="images to extract a round")
    parser.add_argument("--rounds", type=int, default=4, help="of every program, in turns")
    parser.add_argument("--gpu", default="none", metavar="none|N", help="device")
    options = BenchOptions(**vars(parser.parse_args(argv)))
    if (options.lmdb or options.originals) and len(options.setting or []) != 1:
        parser.error("--lmdb and --originals go with one --setting")
    if options.iterations is not None and options.iterations < 4 * WINDOW:
        parser.error(f"--iterations must be at least {4 * WINDOW}")
    return options


def work(options: BenchOptions) -> None:
    """Prints the ratios."""
    from checks.driver_speed import bench  # Caffe takes a second to load: --help need not wait for it
    bench(options)


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return run_program("bench_driver", parse_arguments, work, argv)


if __name__ == "__main__":
    sys.exit(main())
