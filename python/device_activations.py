#!/usr/bin/env python3
"""fc7 and latent activations of one fixed batch on one device: what gpu_check.py compares. A process for each device.

    device_activations.py --setting prototxt/digits_lenet_48 --gpu none --out cpu.npz

The batch is the first of the TEST phase. Weights are those of --weights, or seeded noise that keeps activations near 1.
"""
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from gpu.options import ActivationOptions
from process.guard import run_guarded
from process.program import path_or_none, run_program


def parse_arguments(argv: Sequence[str] | None) -> ActivationOptions:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--setting", type=Path, required=True,
                        help="folder with train_val.prototxt and deploy.prototxt")
    parser.add_argument("--weights", type=path_or_none, default="none", metavar="FILE|none",
                        help="caffemodel, or none for seeded noise")
    parser.add_argument("--seed", type=int, default=1, help="of the noise")
    parser.add_argument("--gpu", required=True, metavar="none|N", help="device")
    parser.add_argument("--out", type=Path, required=True, help=".npz file to write")
    return ActivationOptions(**vars(parser.parse_args(argv)))


def work(options: ActivationOptions) -> int:
    """Writes the activations in the guarded child."""
    def in_child(console: TextIO) -> None:
        from gpu.activations import write_activations  # behind the fork: it loads Caffe
        write_activations(options)
    return run_guarded(in_child, options.out.with_suffix(".log"), "device_activations")


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return run_program("device_activations", parse_arguments, work, argv)


if __name__ == "__main__":
    sys.exit(main())
