#!/usr/bin/env python3
"""Layer by layer on the CPU: Caffe's own engine, the one on oneDNN and PyTorch, in turns within one run.

    bench_layers.py                     # CaffeNet, batch 32
    bench_layers.py --net lenet --rounds 9

What exactly is timed stands in checks/layer_speed.py. `make bench` runs it.
"""
import argparse
import sys
from collections.abc import Sequence

from checks.options import CONTENDERS, LayerOptions
from process.cpu import add_cpu_options, use_cpu
from process.program import run_program


def parse_arguments(argv: Sequence[str] | None) -> LayerOptions:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--net", choices=("caffenet", "lenet"), default="caffenet")
    parser.add_argument("--batch", type=int, default=32, help="images an iteration")
    parser.add_argument("--rounds", type=int, default=5, help="the best of all counts, layer by layer")
    parser.add_argument("--worker", choices=CONTENDERS, help="time one contender, a round for each line of standard "
                                                             "input: what the program starts by itself")
    add_cpu_options(parser)
    options = LayerOptions(**vars(parser.parse_args(argv)))
    for name in ("batch", "rounds"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    return options


def work(options: LayerOptions) -> None:
    """Prints the table, or is one of those who fill it."""
    use_cpu(options.engine, options.threads)
    if options.worker:
        from checks.layer_worker import serve  # loads Caffe, or PyTorch
        serve(options)
    else:
        from checks.layer_speed import bench  # loads numpy, whose BLAS looks at the threads
        bench(options)


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return run_program("bench_layers", parse_arguments, work, argv)


if __name__ == "__main__":
    sys.exit(main())
