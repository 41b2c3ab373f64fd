"""What a make target starts from is there, or is fetched: asked for before anything long begins.

experiment: images (the user's, databases made before, or public files) and initial weights.
released: the model that the paper's authors published. Everything that is missing is named at once.
"""
import argparse
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from downloads import MIRROR_VARIABLE, address, fetch
from prep_errors import PrepError, run_program
from public_files import PUBLIC_FILES, PublicFile, files_of

IMAGES_OF = {"mnist": "mnist", "cifar10": "cifar10"}  # data set -> its public files
NO_WEIGHTS = "none"
COMPLETE = ".complete"  # in data/<set> once all its databases are there


@dataclass(frozen=True)
class Experiment:
    """data: the user's images, None without. weights: a caffemodel, or none. databases: data/<set>. to: the downloads.

    target: the make target that the advice names.
    """
    dataset: str
    data: Path | None
    weights: Path
    databases: Path
    to: Path
    target: str

    def check(self) -> None:
        """PrepError that names what does not exist, or all that could not be fetched."""
        if self.data and not self.data.exists():
            raise PrepError(f"DATA={self.data}: no such file or directory")
        _fetch_all(self._public_files(), self.to, f"make {self.target} DATA=<images> WEIGHTS=<caffemodel>")
        if self.weights != Path(NO_WEIGHTS) and not self.weights.is_file():
            raise PrepError(f"WEIGHTS={self.weights}: no such file")
        if self.data and self._is_complete():
            print(f"{self.databases} is kept as it was made "
                  "(DATA= is not read again; remove the folder to make it anew)")

    def _public_files(self) -> list[PublicFile]:
        """Images when there are none of any kind, weights when their path is the one that downloads get."""
        wants_images = not self.data and not self._is_complete()
        images = files_of(IMAGES_OF[self.dataset]) if wants_images and self.dataset in IMAGES_OF else []
        return images + [file for file in PUBLIC_FILES.values() if self.to / file.name == self.weights]

    def _is_complete(self) -> bool:
        return (self.databases / COMPLETE).exists()


@dataclass(frozen=True)
class Released:
    """bits: code length of the model. file: the user's copy, None without. to: folder of the downloads."""
    bits: str
    file: Path | None
    to: Path

    def check(self) -> None:
        """PrepError when the user's file does not exist, or there is no public one of this code length to fetch."""
        if self.file and not self.file.is_file():
            raise PrepError(f"RELEASED={self.file}: no such file")
        if not self.file and f"released-{self.bits}" not in PUBLIC_FILES:
            raise PrepError(f"only the 48-bit model has an address; name the {self.bits}-bit one with RELEASED=")
        if not self.file:
            _fetch_all(files_of(f"released-{self.bits}"), self.to, "make compare-cifar RELEASED=<caffemodel>")


def main(argv: list[str] | None = None) -> int:
    parse(argv).check()
    return 0


def _fetch_all(files: Iterable[PublicFile], folder: Path, advice: str) -> None:
    failures = [failure for file in files if (failure := _failure(file, folder))]
    if failures:
        raise PrepError("\n".join([*failures, f"Copies that you have already can be named: {advice}"]))


def _failure(file: PublicFile, folder: Path) -> str | None:
    """What went wrong with the download, None when nothing did."""
    try:
        fetch(file, folder / file.name, address(file, os.environ.get(MIRROR_VARIABLE)))
    except PrepError as error:
        return str(error)
    return None


def parse(argv: list[str] | None) -> Experiment | Released:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    inputs = parser.add_subparsers(dest="inputs", required=True)
    experiment = inputs.add_parser("experiment", help="images and initial weights")
    experiment.add_argument("--dataset", required=True, help="name of the data set")
    experiment.add_argument("--data", type=_path, help="images of the user's, file or directory; empty: none")
    experiment.add_argument("--weights", type=Path, required=True, metavar="FILE|none", help="initial weights")
    experiment.add_argument("--databases", type=Path, required=True, metavar="DIR", help="data/<set>")
    experiment.add_argument("--target", default="train-cifar", help="the make target that the advice names")
    released = inputs.add_parser("released", help="the authors' released model")
    released.add_argument("--bits", required=True, help="its code length")
    released.add_argument("--file", type=_path, help="a caffemodel of the user's; empty: none")
    for program in (experiment, released):
        program.add_argument("--to", type=Path, default=Path("data/downloads"), metavar="DIR", help="for downloads")
    args = vars(parser.parse_args(argv))
    return (Experiment if args.pop("inputs") == "experiment" else Released)(**args)


def _path(text: str) -> Path | None:
    return Path(text) if text else None


if __name__ == "__main__":
    sys.exit(run_program(main))
