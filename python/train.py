#!/usr/bin/env python3
"""Fine-tunes a net with Caffe's own solver; stopped at any point, the same command goes on.

    train.py --solver prototxt/cifar10_caffenet_48/solver.prototxt --run runs/cifar10_caffenet_48 \\
        --weights bvlc_reference_caffenet.caffemodel

Leaves in the run's folder: run.json (settings), the resolved prototxt, caffe.log (Caffe's own log), train_log.csv,
curves.png, snapshots/ and final.caffemodel.
"""
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from process.cpu import add_cpu_options, use_cpu
from process.errors import DriverError
from process.guard import run_guarded
from process.outputs import refuse_inputs_as_outputs
from process.program import path_or_none, run_program
from process.run_folder import RunFolder
from training.options import TrainOptions


def parse_arguments(argv: Sequence[str] | None) -> TrainOptions:
    """Options of the command line. DriverError when the weights are missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--solver", type=Path, required=True,
                        help="solver prototxt; paths in it are relative to the current directory")
    parser.add_argument("--run", type=lambda text: RunFolder(Path(text)), required=True, metavar="DIR",
                        help="folder of the run, made when missing")
    parser.add_argument("--weights", type=path_or_none, required=True, metavar="FILE|none",
                        help="initial caffemodel (layers are taken by name), or none to start from the fillers")
    parser.add_argument("--iterations", type=int, help="train up to this iteration (default: the solver's max_iter)")
    parser.add_argument("--schedule", type=float, default=1.0, metavar="F",
                        help="this part of the solver's schedule: max_iter, the learning rate's steps and the "
                             "intervals are multiplied by it (0.1: a tenth)")
    parser.add_argument("--seed", type=int,
                        help="of fillers, crops, mirrors and dropout (default: the solver's random_seed, else 1)")
    parser.add_argument("--gpu", default="auto", metavar="auto|none|N[,N]",
                        help="device; N,N: several GPUs, each with a batch of its own")
    add_cpu_options(parser)
    parser.add_argument("--iter-size", type=int, metavar="N",
                        help="for small GPUs: cut the images of an iteration into N batches whose gradients are added "
                             "(default: the solver's iter_size)")
    parser.add_argument("--share-batch", action="store_true",
                        help="several GPUs: share the prototxt's batch instead of taking one each")
    parser.add_argument("--any-memory", action="store_true",
                        help="train even where the GPU's memory is estimated to be too small")
    parser.add_argument("--trust-net", action="store_true",
                        help="take a net whose layers do more than compute: they can read and write files and run code")
    parser.add_argument("--snapshot-every", type=int, help="iterations (default: the solver's snapshot)")
    parser.add_argument("--test-every", type=int, help="iterations, 0 for never (default: the solver's test_interval)")
    options = TrainOptions(**vars(parser.parse_args(argv)))
    _check(parser, options)
    return options


def _check(parser: argparse.ArgumentParser, options: TrainOptions) -> None:
    for name in ("iterations", "snapshot_every", "iter_size"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if (options.test_every or 0) < 0:
        parser.error("--test-every must be at least 0")
    if not 0 < options.schedule <= 1:
        parser.error("--schedule must be above 0 and at most 1")
    if options.seed is not None and not 0 <= options.seed < 2**31:
        parser.error("--seed must be between 0 and 2147483647")
    if options.weights and not options.weights.is_file():
        raise DriverError(f"--weights {options.weights}: no such file. Give a caffemodel, or none to start from the "
                          "fillers")
    refuse_inputs_as_outputs([options.run.path], [options.solver, options.weights])
    options.run.refuse_other_folder()


def work(options: TrainOptions) -> int:
    """Trains in the guarded child; returns the exit status."""
    use_cpu(options.engine, options.threads)

    def in_child(console: TextIO) -> int:
        from training.run import train  # behind the fork: it loads Caffe
        return train(options, console)
    return run_guarded(in_child, options.run.caffe_log, "train")


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return run_program("train", parse_arguments, work, argv)


if __name__ == "__main__":
    sys.exit(main())
