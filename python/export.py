#!/usr/bin/env python3
"""Writes a deploy net with its weights as ONNX, and compares the file, run by onnxruntime, with Caffe.

    export.py --run runs/cifar10_caffenet_48 --out cifar10_48.onnx
    export.py --weights KevinNet_CIFAR10_48.caffemodel --out released_48.onnx

Input: (batch, channels, height, width) float32, prepared as for Caffe (BGR, mean image subtracted, cropped). Outputs:
the features, the latent activations (bit j of the code is 1 where they are >= 0.5) and, where the net classifies,
probabilities.
"""
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from nets.blobs import FC7, OWN
from onnx_export.options import ExportOptions
from process.errors import DriverError
from process.files import refuse_existing
from process.guard import run_guarded
from process.program import run_program
from process.run_folder import RunFolder


def parse_arguments(argv: Sequence[str] | None) -> ExportOptions:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--run", type=lambda text: RunFolder(Path(text)), metavar="DIR",
                        help="a run's folder: its deploy net and final weights")
    parser.add_argument("--net", type=Path,
                        help="deploy prototxt (default: the run's; without one, the template's where the weights fit "
                             "it)")
    parser.add_argument("--weights", type=Path, help="caffemodel")
    parser.add_argument("--out", type=Path, required=True, help="file to write; must not exist")
    parser.add_argument("--latent-blob", default=OWN,
                        help="blob of the latent layer, or none (own: whichever of this project's names the net has)")
    parser.add_argument("--feature-blob", default=FC7, help="blob of the features, or none")
    parser.add_argument("--trust-net", action="store_true",
                        help="take a net whose layers do more than compute: they can read and write files and run code")
    options = ExportOptions(**vars(parser.parse_args(argv)))
    if options.latent_blob == options.feature_blob == "none":
        parser.error("nothing to export: --latent-blob and --feature-blob are both none")
    return options


def work(options: ExportOptions) -> int:
    """Exports in the guarded child; returns the exit status."""
    def in_child(console: TextIO) -> None:
        try:
            from onnx_export.run import export  # behind the fork: it loads Caffe
        except ModuleNotFoundError as error:
            if error.name not in ("onnx", "onnxruntime"):
                raise
            raise DriverError(f"{error}: export needs the packages onnx and onnxruntime (make setup installs what "
                              "requirements.txt names)") from None
        export(options, console)
    refuse_existing(options.out)  # before a log is begun beside it
    return run_guarded(in_child, options.beside("caffe.log"), "export")


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    return run_program("export", parse_arguments, work, argv)


if __name__ == "__main__":
    sys.exit(main())
