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
import sys
from collections.abc import Sequence
from typing import TextIO

from features.options import ExtractOptions
from features.words import parse_extraction
from process.cpu import use_cpu
from process.guard import run_guarded
from process.program import run_program


def parse_arguments(argv: Sequence[str] | None) -> ExtractOptions:
    """Options of the command line. DriverError when the run is missing, or an output would be an input."""
    return parse_extraction(argv, __doc__.splitlines()[0])


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
