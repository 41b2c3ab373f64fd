"""Images named by list files: `path label` a line, or paths in one file and labels in another, line by line."""
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np

from prep.errors import PrepError
from prep.readers import parse_label, read_lines
from sources.file_tree import FileTree, open_tree
from sources.image_set import ImageSet
from sources.several_labels import has_commas, matrix, split_several


@dataclass(frozen=True)
class ListFiles:
    """labels None: `images` has `path label` lines."""
    images: Path
    labels: Path | None = None


def load_lists(lists: dict[str, ListFiles], root: Path, classes_file: Path | None = None) -> dict[str, ImageSet]:
    """ImageSets of the given splits; paths are relative to `root`, a directory or a tar.

    Labels must be 0..C-1 with every class among the training images (or, without a training list, among all images).
    classes_file: C names, a line each; without it classes are named by their numbers.
    """
    several = _several(lists, root, classes_file)
    if several:
        return several
    parsed = {split: _parse(files) for split, files in lists.items()}
    used = np.unique((parsed.get("train") or next(iter(parsed.values())))[1])
    if used.max() >= used.size and classes_file is None:  # before a name is made for each of 2**31 classes
        _refuse_gap(lists, np.flatnonzero(used != np.arange(used.size))[0], used.max())
    classes = _class_names(classes_file) if classes_file else [str(label) for label in range(used.max() + 1)]
    for split, (_, labels) in parsed.items():
        _check_labels(lists[split], labels, classes)
    missing = np.setdiff1d(np.arange(len(classes)), used)
    if missing.size:
        _refuse_gap(lists, missing[0], len(classes) - 1)
    tree = open_tree(root)
    return {split: _image_set(tree, *parsed[split], classes, lists[split]) for split in parsed}


def _refuse_gap(lists: dict[str, ListFiles], missing: int, last: int) -> NoReturn:
    first = next(iter(lists.values())).images
    raise PrepError(f"{first}: no image has label {missing} of 0..{last}; number the classes without gaps")


def _several(lists: dict[str, ListFiles], root: Path, classes_file: Path | None) -> dict[str, ImageSet]:
    """ImageSets of lists with several labels an image; {} for lists with one. PrepError where both kinds are mixed."""
    lines = {split: read_lines(files.images) for split, files in lists.items() if files.labels is None}
    commas = any(map(has_commas, lines.values()))
    found = {split: split_several(lines[split], lists[split].images, commas) for split in lines}
    if not all(found.values()):
        if any(found.values()):
            raise PrepError("of the lists "
                            + ", ".join(str(files.images) for files in lists.values())
                            + " some have several labels an image and some have one; give all alike")
        return {}
    names = _class_names(classes_file) if classes_file else None
    count = len(names) if names else max((parsed[2] for parsed in found.values()), default=0)
    tree, sets = open_tree(root), {}
    for split, (paths, labels, least) in found.items():
        if least > count:
            raise PrepError(f"{lists[split].images}: has label {least - 1}, but there are {count} labels")
        sets[split] = ImageSet(paths, np.zeros(len(paths), np.int64), names or [str(i) for i in range(count)],
                               partial(_read, tree, paths), {"description": f"list {lists[split].images.name}"},
                               matrix(labels, count))
    first = sets.get("train") or next(iter(sets.values()), None)
    if first and not first.several.any(0).all():
        raise PrepError(f"{next(iter(lists.values())).images}: no image has label {first.several.any(0).argmin()} of "
                        f"0..{count - 1}; number the labels without gaps")
    return sets


def _read(tree: FileTree, paths: list[str], row: int) -> bytes:
    return tree.read(paths[row])


def _image_set(tree, names: list[str], labels: np.ndarray, classes: list[str], files: ListFiles) -> ImageSet:
    return ImageSet(names, labels, classes, lambda i: tree.read(names[i]), {"description": f"list {files.images.name}"})


def _parse(files: ListFiles) -> tuple[list[str], np.ndarray]:
    lines = read_lines(files.images)
    if files.labels is None:
        pairs = [_split_line(line, files.images, number) for number, line in enumerate(lines, 1)]
        return [name for name, _ in pairs], np.array([label for _, label in pairs], np.int64)
    labels = [parse_label(line, f"{files.labels}, line {number}")
              for number, line in enumerate(read_lines(files.labels), 1)]
    if len(lines) != len(labels):
        raise PrepError(f"{files.images} has {len(lines)} lines, {files.labels} {len(labels)}; "
                        "they must agree line by line")
    return lines, np.array(labels, np.int64)


def _split_line(line: str, path: Path, number: int) -> tuple[str, int]:
    """The label is what follows the last blank, as in convert_imageset: names may contain blanks."""
    parts = line.rsplit(maxsplit=1)
    if len(parts) < 2:
        raise PrepError(f"{path}, line {number}: {line!r} is not `path label`; "
                        "give --train-labels or --test-labels if the labels are in a file of their own")
    return parts[0], parse_label(parts[1], f"{path}, line {number}")


def _class_names(path: Path) -> list[str]:
    names = read_lines(path)
    if len(set(names)) != len(names):
        raise PrepError(f"{path}: a class name occurs twice")
    return names


def _check_labels(files: ListFiles, labels: np.ndarray, classes: list[str]) -> None:
    if labels.max() >= len(classes):
        raise PrepError(f"{files.labels or files.images}, line {labels.argmax() + 1}: label {labels.max()}, "
                        f"but there are {len(classes)} classes, 0..{len(classes) - 1}")
