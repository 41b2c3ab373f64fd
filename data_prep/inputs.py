"""What an experiment starts from is there, or is fetched: asked for before anything long begins.

Images: --data of the user's, databases made before, or the public files of the data set. Weights: a file of the user's,
none, or the public ImageNet weights of CaffeNet. Everything that is missing is named at once.
"""
import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from downloads import MIRROR_VARIABLE, address, fetch
from prep_errors import PrepError, run_program
from public_files import PublicFile, files_of

PUBLIC_SETS = {"mnist": "mnist", "cifar10": "cifar10"}  # data set -> its public files
IMAGENET_WEIGHTS = "caffenet"
NO_WEIGHTS = "none"
COMPLETE = ".complete"  # written into data/<set> once all its databases are there


@dataclass(frozen=True)
class Options:
    """data, weights: what the user gave; None where nothing was. databases: data/<set>. to: folder of the downloads."""
    dataset: str
    data: str | None
    weights: str | None
    databases: Path
    to: Path
    target: str


def main(argv: list[str] | None = None) -> int:
    check_inputs(parse(argv))
    return 0


def check_inputs(options: Options) -> None:
    """PrepError that names each path that does not exist and each file that could not be fetched."""
    _check_given(options)
    failures = [failure for file in _needed(options) if (failure := _failure_to_fetch(file, options.to))]
    if failures:
        raise PrepError("\n".join([*failures, "Copies that you have already can be named: "
                                   f"make {options.target} DATA=<images> WEIGHTS=<caffemodel>"]))
    if options.data and _is_complete(options):
        print(f"{options.databases} is kept as it was made "
              "(DATA= is not read again; remove the folder to make it anew)")


def _check_given(options: Options) -> None:
    if options.data and not Path(options.data).exists():
        raise PrepError(f"DATA={options.data}: no such file or directory")
    if options.weights and options.weights != NO_WEIGHTS and not Path(options.weights).is_file():
        raise PrepError(f"WEIGHTS={options.weights}: no such file")


def _needed(options: Options) -> list[PublicFile]:
    needed = []
    if not options.data and not _is_complete(options) and options.dataset in PUBLIC_SETS:
        needed += files_of(PUBLIC_SETS[options.dataset])
    if not options.weights:
        needed += files_of(IMAGENET_WEIGHTS)
    return needed


def _is_complete(options: Options) -> bool:
    return (options.databases / COMPLETE).exists()


def _failure_to_fetch(file: PublicFile, folder: Path) -> str | None:
    try:
        fetch(file, folder / file.name, address(file, os.environ.get(MIRROR_VARIABLE)))
    except PrepError as error:
        return str(error)
    return None


def parse(argv: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="name of the data set")
    parser.add_argument("--data", help="images of the user's: file or directory; empty: none given")
    parser.add_argument("--weights", help="initial weights: a caffemodel, none, or empty for those of ImageNet")
    parser.add_argument("--databases", type=Path, required=True, metavar="DIR", help="data/<set>")
    parser.add_argument("--to", type=Path, default=Path("data/downloads"), metavar="DIR",
                        help="folder of the downloads")
    parser.add_argument("--target", default="train-cifar", help="the make target that the advice names")
    return Options(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(run_program(main))
