"""Class folders, in a directory, tar or zip: train/<class>/* and test/<class>/*, or only <class>/*."""
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import NoReturn

import numpy as np

from prep.errors import PrepError
from sources.cifar10 import CIFAR10_CLASSES
from sources.file_tree import FileTree
from sources.image_set import SPLITS, ImageSet

LITTER = {".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX"}


def load_folders(tree: FileTree, splits: Sequence[str] = SPLITS, *, split: str | None = None,
                 test_fraction: float | None = None, seed: int = 0) -> dict[str, ImageSet]:
    """ImageSets of the wanted splits. Classes are the sorted folder names of all splits together.

    Folders without train/ and test/ need `split` (all images are of that split) or `test_fraction`
    (of each class, drawn by `seed`). An unreadable or foreign file is found when it is read, not here.
    """
    listing = _Listing(tree)
    if listing.has_splits:
        if split or test_fraction is not None:
            raise PrepError(f"{tree.path}: has train/ and test/ folders; leave --split and --test-fraction away")
        return {name: listing.image_set(f"{name}/") for name in splits}
    if split:
        return {split: listing.image_set("")}
    if test_fraction is None:
        raise PrepError(f"{tree.path}: has no train/ and test/ folders; say --test-fraction 0.1 or --split train")
    return _drawn(listing.image_set(""), test_fraction, seed, splits)


def class_folders(tree: FileTree) -> tuple[bool, list[str]]:
    """(whether there are train/ and test/ folders, names of the classes in their order)."""
    listing = _Listing(tree)
    return listing.has_splits, listing.classes


class _Listing:
    """The tree's files and class folders below the folder that holds them, which may be the root or one deeper."""

    def __init__(self, tree: FileTree):
        self._tree = tree
        files = [name for name in tree.files() if not _is_litter(name)]
        folders = [name for name in tree.folders() if not _is_litter(name)]
        self._base = _base_folder(files, folders)
        self._files = [name[len(self._base):] for name in files if name.startswith(self._base)]
        self._folders = [name[len(self._base):] for name in folders if name.startswith(self._base)]
        self.has_splits = any(name in SPLITS for name in self._folders)
        depth = 2 if self.has_splits else 1
        self.classes = sorted({PurePosixPath(name).name for name in self._folders
                               if name.count("/") == depth - 1 and (depth == 1 or name.split("/")[0] in SPLITS)})

    def image_set(self, prefix: str) -> ImageSet:
        """Images of <prefix><class>/..., class by class, each sorted by name."""
        names, labels = [], []
        self._refuse_alike()
        for label, class_name in enumerate(self.classes):
            found = [name for name in self._files if name.startswith(f"{prefix}{class_name}/")]
            if not found:
                self._refuse_empty(prefix, class_name)
            names += found
            labels += [label] * len(found)
        return ImageSet(names, np.array(labels, np.int64), self.classes,
                        lambda i: self._tree.read(self._base + names[i]),
                        {"description": f"class folders of {self._tree.path.name}"})

    def _refuse_alike(self) -> None:
        """One class in two spellings is a mistake, and a single folder on systems that do not tell them apart."""
        spelled = {}
        for name in self.classes:
            other = spelled.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
            if other != name:
                raise PrepError(f"{self._tree.path}: the classes {other!r} and {name!r} differ by case or spelling of "
                                "accents only; put them together, or rename one")

    def _refuse_empty(self, prefix: str, class_name: str) -> NoReturn:
        other = next((f"{split}/" for split in SPLITS if f"{split}/" != prefix), "")
        if prefix and f"{prefix}{class_name}" not in self._folders:
            raise PrepError(f"{self._tree.path}: {other} has the class {class_name!r} and {prefix} has not; give "
                            f"images of it to {prefix}, or remove {other}{class_name}/")
        raise PrepError(f"{self._tree.path}: no images in the class folder {prefix}{class_name}/; "
                        "fill it or remove the class everywhere")


def _is_litter(name: str) -> bool:
    return any(part in LITTER or part.startswith("._") for part in PurePosixPath(name).parts)


def _base_folder(files: list[str], folders: list[str]) -> str:
    """"" or "name/": a single top folder that holds no images itself only wraps the others, unless it is a split."""
    top = {name for name in folders if "/" not in name}
    if len(top) != 1 or top & set(SPLITS):
        return ""
    wrapper = f"{top.pop()}/"
    holds_images = any(name.startswith(wrapper) and name.count("/") == 1 for name in files)
    holds_folders = any(name.startswith(wrapper) for name in folders)
    return wrapper if holds_folders and not holds_images else ""


def _drawn(images: ImageSet, test_fraction: float, seed: int, splits: Sequence[str]) -> dict[str, ImageSet]:
    """Of each class, round(fraction * n) images, at least 1 and not all, become test images."""
    if not 0 < test_fraction < 1:
        raise PrepError(f"--test-fraction {test_fraction}: must lie between 0 and 1")
    rng, is_test = np.random.default_rng(seed), np.zeros(len(images), bool)
    for label, class_name in enumerate(images.classes):
        rows = np.flatnonzero(images.labels == label)
        if len(rows) < 2:
            raise PrepError(f"class {class_name!r} has a single image, too few to train and to test with; add images, "
                            "or remove the class")
        count = min(max(round(test_fraction * len(rows)), 1), len(rows) - 1)
        is_test[rng.permutation(rows)[:count]] = True
    drawn = replace(images, source={**images.source, "test_fraction": test_fraction, "seed": seed})
    return {split: _subset(drawn, np.flatnonzero(is_test == (split == "test"))) for split in splits}


def _subset(images: ImageSet, rows: np.ndarray) -> ImageSet:
    return ImageSet([images.ids[row] for row in rows], images.labels[rows], images.classes,
                    lambda i: images.read(rows[i]), images.source)


def is_cifar10(images: ImageSet) -> bool:
    """Class folders with CIFAR-10's ten names, whose sorted order is the official one."""
    return tuple(images.classes) == CIFAR10_CLASSES
