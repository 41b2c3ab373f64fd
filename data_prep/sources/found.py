"""What a path of the user's holds: MNIST, CIFAR-10, lists or class folders; by content, not by name."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from prep.errors import PrepError
from sources.cifar10 import BATCHES, CIFAR10_CLASSES, load_cifar10
from sources.file_tree import DirectoryTree, FileTree, open_tree
from sources.folders import class_folders, load_folders
from sources.image_set import SPLITS, ImageSet
from sources.listing import files_digest
from sources.lists import ListFiles, load_lists
from sources.mnist import FILES, load_mnist

MNIST, CIFAR10, LISTS, FOLDERS = "mnist", "cifar10", "lists", "folders"
MNIST_NAMES = {name + ending for pair in FILES.values() for name in pair for ending in ("", ".gz")}
CIFAR_NAMES = {name for names in BATCHES.values() for name in names}
CIFAR_PYTHON_NAME = "data_batch_1"  # the batches of CIFAR-10's Python version have no .bin
# Names of list files: `path label` lines, or the pairs of files that the paper's authors published.
LIST_NAMES = ({"train": ("train.txt",), "test": ("test.txt",)},
              {"train": ("train-file-list.txt", "train-label.txt"), "test": ("test-file-list.txt", "test-label.txt")})


@dataclass(frozen=True)
class Found:
    """kind: one of this module's four. text: the same for a person. load: names of splits -> their ImageSets.

    files: digest of all files of the place, sources/listing.py. is_cifar10: class folders with CIFAR-10's ten names.
    """
    kind: str
    text: str
    load: Callable[[Sequence[str]], dict[str, ImageSet]]
    files: str = ""
    is_cifar10: bool = False


@dataclass(frozen=True)
class Division:
    """Of class folders without train/ and test/ this part of each class, drawn by `seed`, is for tests."""
    test_fraction: float = 0.1
    seed: int = 0


A_TENTH = Division()


def find_source(path: Path, *, dataset: str | None = None, division: Division = A_TENTH) -> Found:
    """What `path` holds: a directory, tar or zip. Of one file of MNIST, CIFAR-10 or of lists its folder is taken.

    dataset: the set that is meant. The ImageSets tell of the files in their source. PrepError for the official files
    of another set, and for none of the four kinds.
    """
    tree = open_tree(_folder_of_known_file(path))
    names = {PurePosixPath(name).name for name in tree.files()}
    found = _found_in(tree, names, division)
    files = files_digest(tree)
    found = replace(found, files=files, load=partial(_load_with_files, found.load, files))
    if dataset in (MNIST, CIFAR10) and found.kind in (MNIST, CIFAR10) and found.kind != dataset:
        raise PrepError(f"{path}: holds {found.text}, but {dataset} is asked for; name the images of {dataset}")
    return found


def _load_with_files(load: Callable[[Sequence[str]], dict[str, ImageSet]], files: str,
                     splits: Sequence[str]) -> dict[str, ImageSet]:
    return {split: replace(images, source={**images.source, "files": files})
            for split, images in load(splits).items()}


def _folder_of_known_file(path: Path) -> Path:
    lists = {name for layout in LIST_NAMES for names in layout.values() for name in names}
    return path.parent if path.is_file() and path.name in MNIST_NAMES | CIFAR_NAMES | lists else path


def _found_in(tree: FileTree, names: set[str], division: Division) -> Found:
    if MNIST_NAMES & names:
        return Found(MNIST, "MNIST's official files", partial(load_mnist, tree))
    if CIFAR_NAMES & names:
        return Found(CIFAR10, "CIFAR-10, binary version", partial(load_cifar10, tree))
    if CIFAR_PYTHON_NAME in names:
        raise PrepError(f"{tree.path}: holds CIFAR-10's Python version; "
                        "take the binary version, cifar-10-binary.tar.gz")
    lists = _lists_in(tree)
    if lists:
        return Found(LISTS, f"lists ({', '.join(file.images.name for file in lists.values())})",
                     lambda splits: load_lists({split: lists[split] for split in splits}, tree.path))
    if not tree.folders():
        raise PrepError(f"{tree.path}: holds neither class folders (train/<class>/*, test/<class>/*), nor lists "
                        "(train.txt and test.txt), nor the files of MNIST or of CIFAR-10's binary version")
    return _found_folders(tree, division)


def _found_folders(tree: FileTree, division: Division) -> Found:
    has_splits, classes = class_folders(tree)
    if len(classes) == 1:
        raise PrepError(f"{tree.path}: has one class only, {classes[0]!r}; a classifier tells at least two apart, give "
                        "a folder of images for each class")
    is_cifar10 = tuple(classes) == CIFAR10_CLASSES
    if has_splits:
        return Found(FOLDERS, f"train/ and test/ folders of {len(classes)} classes", partial(load_folders, tree),
                     is_cifar10=is_cifar10)
    return Found(FOLDERS, f"folders of {len(classes)} classes; of each {division.test_fraction:.0%}, drawn with seed "
                 f"{division.seed}, are for tests",
                 partial(load_folders, tree, test_fraction=division.test_fraction, seed=division.seed),
                 is_cifar10=is_cifar10)


def _lists_in(tree: FileTree) -> dict[str, ListFiles]:
    """Lists at the top of a directory; {} without. Paths in them are relative to that directory."""
    at_top = {name for name in tree.files() if "/" not in name}
    layout = next((layout for layout in LIST_NAMES if all(at_top.issuperset(layout[split]) for split in SPLITS)), None)
    if layout is None:
        return {}
    if not isinstance(tree, DirectoryTree):
        raise PrepError(f"{tree.path}: holds list files; unpack it and name the directory")
    return {split: ListFiles(*(tree.path / name for name in names)) for split, names in layout.items()}
