"""What a make target starts from: the user's files, which must exist, and public files, which are fetched."""
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from downloads.fetching import MIRROR_VARIABLE, addresses, fetch
from downloads.public_files import PUBLIC_FILES, PublicFile, files_of
from prep.errors import PrepError

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


def _fetch_all(files: Iterable[PublicFile], folder: Path, advice: str) -> None:
    failures = [failure for file in files if (failure := _failure(file, folder))]
    if failures:
        raise PrepError("\n".join([*failures, f"Copies that you have already can be named: {advice}"]))


def _failure(file: PublicFile, folder: Path) -> str | None:
    """What went wrong with the download, None when nothing did."""
    try:
        fetch(file, folder / file.name, *addresses(file, os.environ.get(MIRROR_VARIABLE)))
    except PrepError as error:
        return str(error)
    return None
