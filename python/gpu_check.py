#!/usr/bin/env python3
"""GPU against CPU: the same activations of one batch, and the same loss curve from one seed? `make gpu-check` runs it.

    gpu_check.py --setting prototxt/digits_lenet_48 --devices none 0 --out runs/gpu-check

Leaves gpu-check.json, loss_curves.png and both runs. Status 1 when a difference is above its tolerance
(gpu/comparison.py). Dropout is left out of the training: each device draws masks of its own. The tests compare CPU with
CPU, and with a GPU that pretends.
"""
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from checks.options import WINDOW, CheckOptions
from gpu import nvidia
from process.program import run_program


def parse_arguments(argv: Sequence[str] | None) -> CheckOptions:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--setting", type=Path, default=Path("prototxt/digits_lenet_48"),
                        help="folder with solver, train_val and deploy prototxt")
    parser.add_argument("--devices", nargs=2, default=["none", "0"], metavar="none|N", help="the two devices")
    parser.add_argument("--weights", default="none", metavar="FILE|none",
                        help="caffemodel; none: seeded noise, fillers in training")
    parser.add_argument("--seed", type=int, default=1, help="of weights, crops and mirrors")
    parser.add_argument("--iterations", type=int, default=200, help="of training on each device")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-check"), help="folder of the results")
    options = CheckOptions(**vars(parser.parse_args(argv)))
    if options.iterations < WINDOW or options.iterations % WINDOW:
        parser.error(f"--iterations must be a multiple of {WINDOW}")
    if not all(name == "none" or name.isdigit() for name in options.devices):
        parser.error("--devices takes none or the index of a GPU, twice")
    return options


def work(options: CheckOptions) -> None:
    """Compares the devices; without a GPU to compare it says that nothing was run."""
    if options.devices != ["none", "none"]:
        gpus, absence = nvidia.look()
        if not gpus:
            print(f"gpu-check: no NVIDIA GPU here, nothing was run: {absence}")
            return
    from checks.devices import check  # needs Caffe, which a machine without a GPU need not have to be told so
    check(options)


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return run_program("gpu-check", parse_arguments, work, argv)


if __name__ == "__main__":
    sys.exit(main())
