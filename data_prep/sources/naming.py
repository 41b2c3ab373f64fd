"""The name of a data set of the user's: it becomes a folder below data/, and part of the run's name."""
from pathlib import Path

from sources.found import CIFAR10, MNIST, find_source

KNOWN = ("mnist", "cifar10", "digits", "yahoo1m")  # those whose nets and settings are the paper's or ours
ARCHIVE_SUFFIXES = (".tar", ".zip", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz")
NAMELESS = "images"


def dataset_name(path: Path) -> str:
    """mnist and cifar10 for these sets, by what `path` holds; else a name made from the path's.

    PrepError for a path that holds no images this project knows.
    """
    found = find_source(path)
    if found.kind in (MNIST, CIFAR10):
        return found.kind
    if found.is_cifar10:
        return CIFAR10
    name = plain_name(path.resolve().name)
    return f"{name}-{NAMELESS}" if name in KNOWN else name


def plain_name(text: str) -> str:
    """Lower case letters (of any alphabet) and digits, all else one dash; archive suffixes dropped; never empty."""
    text = text.lower()
    while text.endswith(ARCHIVE_SUFFIXES):
        text = text.rpartition(".")[0]
    words = "".join(character if character.isalnum() else " " for character in text).split()
    return "-".join(words) or NAMELESS
