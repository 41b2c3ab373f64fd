#!/usr/bin/env python3
"""Extracts on the nodes of a Ray cluster: parts of the images as tasks, joined into the features of one process.

    extract_cluster.py --cluster 10.0.0.5:6379 --parts 40 --run runs/x --data data/yahoo1m --out runs/x/features

What one process would make, bit for bit on the same kind of machine. Killed workers and nodes lose nothing: their parts
are begun anew elsewhere. Interrupted, the same command goes on from the parts that are there.
"""
import sys
from collections.abc import Sequence
from typing import TextIO

from on_cluster.options import ClusterOptions, parse
from process.cpu import use_cpu
from process.guard import run_guarded
from process.program import run_program


def parse_arguments(argv: Sequence[str] | None) -> ClusterOptions:
    """Options of the command line. DriverError when run, data or the cluster's token are missing."""
    return parse(argv, __doc__.splitlines()[0])


def work(options: ClusterOptions) -> int:
    """Waits for the nodes in the guarded child; returns the exit status."""
    use_cpu(options.extraction.engine, None)

    def in_child(console: TextIO) -> int:
        from on_cluster.run import extract_on_cluster  # behind the fork: it loads Caffe, and Ray starts threads
        return extract_on_cluster(options, console)
    return run_guarded(in_child, options.extraction.caffe_log, "extract_cluster")


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return run_program("extract_cluster", parse_arguments, work, argv)


if __name__ == "__main__":
    sys.exit(main())
