"""The command line of an extraction, for the programs that start one. Imports nothing that loads Caffe."""
import argparse
from collections.abc import Sequence
from pathlib import Path

from features.options import (
    ExtractOptions,
    add_model_options,
    add_part_options,
    add_pre_processing_options,
    check_options,
    parts_folder,
)
from process.cpu import add_cpu_options
from process.outputs import refuse_inputs_as_outputs


def parse_extraction(argv: Sequence[str] | None, description: str) -> ExtractOptions:
    """Options of the command line. DriverError when the run is missing, or an output would be an input."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
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
