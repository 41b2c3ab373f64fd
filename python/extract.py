#!/usr/bin/env python3
"""Extracts fc7 and the latent activations of every image in one pass, from databases or straight from images.

    extract.py --run runs/cifar10_caffenet_48 --databases data/cifar10 --out runs/cifar10_caffenet_48/features
    extract.py --run runs/cifar10_caffenet_48 --lmdb data/cifar10/test_originals_lmdb --out runs/.../features/test
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

from features.options import PROTOCOLS, ExtractOptions
from nets.blobs import FC7, OWN
from process.cpu import add_cpu_options, use_cpu
from process.errors import DriverError
from process.guard import run_guarded
from process.outputs import refuse_inputs_as_outputs
from process.package_folder import PackageFolder
from process.program import run_program
from process.run_folder import RunFolder


def parse_arguments(argv: Sequence[str] | None) -> ExtractOptions:
    """Options of the command line. DriverError when the run is missing, or an output would be an input."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    _add_model(parser)
    _add_images(parser)
    parser.add_argument("--out", type=Path, required=True,
                        help="folder of the features, e.g. runs/x/features/test; with --databases their parent")
    _add_pre_processing(parser)
    parser.add_argument("--batch", type=int, help="images a forward pass (default: the deploy net's)")
    parser.add_argument("--thumbs", type=int,
                        help="side of the pictures kept for the report, 0 for none (default: by the images)")
    parser.add_argument("--gpu", default="auto", metavar="auto|none|N", help="device")
    add_cpu_options(parser)
    parser.add_argument("--any-memory", action="store_true",
                        help="extract even where the GPU's memory is estimated to be too small")
    parser.add_argument("--trust-net", action="store_true",
                        help="take a net whose layers do more than compute: they can read and write files and run code")
    options = ExtractOptions(**vars(parser.parse_args(argv)))
    _check(parser, options)
    return options


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", type=lambda text: RunFolder(Path(text)), metavar="DIR",
                        help="a run's folder: its deploy net, final weights, mean image and scale are the defaults")
    parser.add_argument("--initial", action="store_true",
                        help="with --run: the weights it started from, not its final ones")
    parser.add_argument("--package", type=lambda text: PackageFolder(Path(text)), metavar="DIR",
                        help="a folder that package.py made, in place of a run: net, weights and pre-processing are "
                             "its own")
    parser.add_argument("--net", type=Path,
                        help="deploy prototxt (default: the run's; without one, the template's where the weights fit "
                             "it)")
    parser.add_argument("--weights", type=Path, help="caffemodel")
    parser.add_argument("--latent-blob", default=OWN,
                        help="blob of the latent layer, or none (own: whichever of this project's names the net has)")
    parser.add_argument("--feature-blob", default=FC7, help="blob of the features, or none")


def _add_images(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--lmdb", type=Path, help="LMDB of Caffe Datums, of 256x256 or of original images")
    source.add_argument("--images", nargs="+", help="image files, directories, or lists (.txt) of `path label` lines")
    source.add_argument("--databases", type=Path, metavar="DIR",
                        help="both splits: {train,test}_originals_lmdb in it, or {train,test}_lmdb where there are no "
                             "originals")
    parser.add_argument("--root", type=Path, default=Path(), help="folder that the paths of a list are relative to")


def _add_pre_processing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--protocol", choices=PROTOCOLS, default="authors", help="pre-processing")
    parser.add_argument("--mean", metavar="FILE|none", help="mean image (.binaryproto or .npy), or none")
    parser.add_argument("--scale", type=float, help="factor on the pixels after the mean (default: the run's, else 1)")
    parser.add_argument("--resize", type=int,
                        help="side images are resized to before the crop, without a mean image, which tells it "
                             "(default: the run's images', else the net's input)")


def _check(parser: argparse.ArgumentParser, options: ExtractOptions) -> None:
    if options.latent_blob == options.feature_blob == "none":
        parser.error("nothing to extract: --latent-blob and --feature-blob are both none")
    if options.batch is not None and options.batch < 1:
        parser.error("--batch must be at least 1")
    if options.initial and not options.run:
        parser.error("--initial goes with --run")
    if options.package and (options.run or options.net or options.weights or options.mean or options.scale
                            or options.resize or options.latent_blob != OWN or options.feature_blob != FC7):
        parser.error("--package brings net, weights, blobs and pre-processing: leave --run, --net, --weights, --mean, "
                     "--scale, --resize and the blobs out")
    if options.package:
        options.package.check()
    if options.run and not options.run.path.is_dir():
        raise DriverError(f"--run {options.run}: no such folder")
    refuse_inputs_as_outputs(options.folders, options.inputs)


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
