"""What a path of the user's holds: MNIST, CIFAR-10, lists or class folders; by content, not by name."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from prep.errors import PrepError
from sources.cifar10 import BATCHES, load_cifar10
from sources.file_tree import DirectoryTree, FileTree, open_tree
from sources.folders import load_folders
from sources.image_set import SPLITS, ImageSet
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
    """kind: one of this module's four. text: the same for a person. load: names of splits -> their ImageSets."""
    kind: str
    text: str
    load: Callable[[Sequence[str]], dict[str, ImageSet]]


def find_source(path: Path, *, dataset: str | None = None) -> Found:
    """What `path` holds: a directory, tar or zip. Of one file of MNIST, CIFAR-10 or of lists its folder is taken.

    dataset: the set that is meant. PrepError for the official files of another one, and for none of the four kinds.
    """
    tree = open_tree(_folder_of_known_file(path))
    names = {PurePosixPath(name).name for name in tree.files()}
    found = _found_in(tree, names)
    if dataset in (MNIST, CIFAR10) and found.kind in (MNIST, CIFAR10) and found.kind != dataset:
        raise PrepError(f"{path}: holds {found.text}, but {dataset} is asked for; name the images of {dataset}")
    return found


def _folder_of_known_file(path: Path) -> Path:
    lists = {name for layout in LIST_NAMES for names in layout.values() for name in names}
    return path.parent if path.is_file() and path.name in MNIST_NAMES | CIFAR_NAMES | lists else path


def _found_in(tree: FileTree, names: set[str]) -> Found:
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
    return Found(FOLDERS, "class folders", partial(load_folders, tree))


def _lists_in(tree: FileTree) -> dict[str, ListFiles]:
    """Lists at the top of a directory; {} without. Paths in them are relative to that directory."""
    at_top = {name for name in tree.files() if "/" not in name}
    layout = next((layout for layout in LIST_NAMES if all(at_top.issuperset(layout[split]) for split in SPLITS)), None)
    if layout is None:
        return {}
    if not isinstance(tree, DirectoryTree):
        raise PrepError(f"{tree.path}: holds list files; unpack it and name the directory")
    return {split: ListFiles(*(tree.path / name for name in names)) for split, names in layout.items()}
