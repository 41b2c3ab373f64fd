#!/usr/bin/env python3
"""Extracts fc7 and the latent activations of every image in one pass, from databases or straight from images.

    extract.py --run runs/cifar10_caffenet_48 --databases data/cifar10 --out runs/cifar10_caffenet_48/features
    extract.py --run runs/cifar10_caffenet_48 --lmdb data/cifar10/test_originals_lmdb --out runs/.../features/test
    extract.py --run runs/cifar10_caffenet_48 --databases data/cifar10 --out runs/... --part 3/8     # then --join
    extract.py --net deploy.prototxt --weights KevinNet_CIFAR10_48.caffemodel --mean mean.binaryproto \\
        --images photos/ --out q

Row i of the arrays is image i of the source. Interrupted, the same command goes on; features made already from the same
weights, net, blobs, pre-processing and images are kept.
"""
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from features.options import (
    ExtractOptions,
    add_model_options,
    add_part_options,
    add_pre_processing_options,
    check_options,
    parts_folder,
)
from process.cpu import add_cpu_options, use_cpu
from process.guard import run_guarded
from process.outputs import refuse_inputs_as_outputs
from process.program import run_program


def parse_arguments(argv: Sequence[str] | None) -> ExtractOptions:
    """Options of the command line. DriverError when the run is missing, or an output would be an input."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add_model_options(parser)
    _add_images(parser)
    parser.add_argument("--out", type=Path, required=True,
                        help="folder of the features, e.g. runs/x/features/test; with --databases their parent")
    add_pre_processing_options(parser)
    parser.add_argument("--thumbs", type=int,
                        help="side of the pictures kept for the report, 0 for none (default: by the images)")
    add_part_options(parser)
    add_cpu_options(parser)
    options = ExtractOptions(**vars(parser.parse_args(argv)))
    check_options(parser, options)
    refuse_inputs_as_outputs([*options.folders, *map(parts_folder, options.folders)], options.inputs)
    return options


def _add_images(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--lmdb", type=Path, help="LMDB of Caffe Datums, of 256x256 or of original images")
    source.add_argument("--images", nargs="+", help="image files, directories, or lists (.txt) of `path label` lines")
    source.add_argument("--databases", type=Path, metavar="DIR",
                        help="both splits: {train,test}_originals_lmdb in it, or {train,test}_lmdb where there are no "
                             "originals")
    parser.add_argument("--root", type=Path, default=Path(), help="folder that the paths of a list are relative to")


def work(options: ExtractOptions) -> int:
    """Extracts in the guarded child; returns the exit status."""
    use_cpu(options.engine, options.threads)

    def in_child(console: TextIO) -> int:
        from features.run import extract  # behind the fork: it loads Caffe and starts OpenCV
        return extract(options, console)
    return run_guarded(in_child, options.caffe_log, "extract")


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return run_program("extract", parse_arguments, work, argv)


if __name__ == "__main__":
    sys.exit(main())
