"""Which files a place holds: told without reading all of them, so that a set made from other images is noticed."""
import hashlib
from collections.abc import Sequence
from pathlib import PurePosixPath

from prep.errors import PrepError
from sources.file_tree import LARGEST_MEMBER, FileTree
from sources.image_set import spread_rows

SAMPLED = 1000  # files whose content is read: all of a small set
LIST_ENDING = ".txt"  # lists of images and labels: a label can change and leave the size as it is


def files_digest(tree: FileTree) -> str:
    """SHA-256 over names and sizes of all files of `tree`, the content of all lists and that of a sample of the rest.

    64 hex digits. Times are left out: a copy of the same images is the same.
    """
    names = tree.files()
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\0{tree.size(name)}\n".encode("utf-8", "surrogateescape"))
    for name in looked_into(names):
        digest.update(hashlib.sha256(_content(tree, name)).digest())
    return digest.hexdigest()


def looked_into(names: Sequence[str]) -> list[str]:
    """The names whose files files_digest reads."""
    lists = [name for name in names if PurePosixPath(name).suffix == LIST_ENDING]
    others = [name for name in names if PurePosixPath(name).suffix != LIST_ENDING]
    return lists + [others[row] for row in spread_rows(len(others), SAMPLED)]


def _content(tree: FileTree, name: str) -> bytes:
    """Content of a file; nothing where it cannot be read, which whoever needs it will say."""
    try:
        return tree.read(name) if tree.size(name) <= LARGEST_MEMBER else b""
    except (OSError, PrepError):
        return b""
