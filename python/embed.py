#!/usr/bin/env python3
"""Holds a run's net and answers through a pipe: image in, code and fc7 out. `make serve` starts it.

    embed.py --run runs/demo --images-of runs/demo/features

Requests come on standard input, answers go to standard output, in the frames that python/README.md describes. It ends
when its standard input does.
"""
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from embedding.options import EmbedOptions
from features.options import ExtractOptions, add_model_options, add_pre_processing_options, check_options
from process.cpu import add_cpu_options, use_cpu
from process.guard import run_guarded
from process.program import run_program


def parse_arguments(argv: Sequence[str] | None) -> EmbedOptions:
    """Options of the command line. DriverError when the run is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add_model_options(parser)
    add_pre_processing_options(parser)
    add_cpu_options(parser)
    parser.add_argument("--images-of", type=Path, metavar="DIR",
                        help="features (with train/ and test/) whose images can be asked for")
    given = vars(parser.parse_args(argv))
    images_of = given.pop("images_of")
    if given["run"] is None and given["package"] is None:
        parser.error("--run or --package is missing: name the run or package whose net is to answer")
    out = given["run"].path / "query" / "features" if given["run"] else Path("build/query/features")
    model = ExtractOptions(**given, lmdb=None, images=[], databases=None, root=Path(), out=out, thumbs=None)
    check_options(parser, model)
    return EmbedOptions(model, images_of)


def work(options: EmbedOptions) -> int:
    """Answers in the guarded child; returns the exit status."""
    use_cpu(options.model.engine, options.model.threads)

    def in_child(console: TextIO) -> int:
        from embedding.run import embed  # behind the fork: it loads Caffe and starts OpenCV
        return embed(options, console)
    return run_guarded(in_child, options.model.caffe_log, "embed")


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return run_program("embed", parse_arguments, work, argv)


if __name__ == "__main__":
    sys.exit(main())
