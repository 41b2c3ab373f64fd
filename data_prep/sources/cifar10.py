"""CIFAR-10 from its official binary archive (cifar-10-binary.tar.gz) or the directory unpacked from it."""
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from downloads.checksums import check_file
from downloads.public_files import PUBLIC_FILES
from prep.errors import PrepError
from sources.file_tree import FileTree
from sources.image_set import SPLITS, ImageSet

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES = {"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "test": ["test_batch.bin"]}
RECORDS = 10000  # a file
SIDE = 32
RECORD_BYTES = 1 + 3 * SIDE * SIDE


def load_cifar10(tree: FileTree, splits: Sequence[str] = SPLITS) -> dict[str, ImageSet]:
    """An archive must have the official MD5; of a directory unpacked from it only sizes and labels can be checked."""
    if tree.path.is_file():
        check_file(tree.path, PUBLIC_FILES["cifar10"].checksum)
    return {split: _load_split(tree, split) for split in splits}


def _load_split(tree: FileTree, split: str) -> ImageSet:
    batches = [parse_batch(_read_batch(tree, name), f"{tree.path}: {name}") for name in BATCHES[split]]
    labels, pixels = (np.concatenate(part) for part in zip(*batches))
    return ImageSet([f"{split}/{row:05d}" for row in range(len(labels))], labels, CIFAR10_CLASSES,
                    lambda i: pixels[i], {"description": f"CIFAR-10 binary version, {', '.join(BATCHES[split])}"})


def _read_batch(tree: FileTree, name: str) -> bytes:
    found = [path for path in tree.files() if PurePosixPath(path).name == name]
    if not found:
        raise PrepError(f"{tree.path}: no {name} in it; give cifar-10-binary.tar.gz or the directory unpacked from it")
    return tree.read(found[0])


def parse_batch(data: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Records of 1 label byte and 1024 R, G and B bytes each -> labels (N,) int64, pixels (N, 32, 32, 3) uint8 BGR."""
    if len(data) != RECORDS * RECORD_BYTES:
        raise PrepError(f"{where}: {len(data)} bytes, expected {RECORDS * RECORD_BYTES}; fetch the archive again")
    table = np.frombuffer(data, np.uint8).reshape(RECORDS, RECORD_BYTES)
    labels = table[:, 0].astype(np.int64)
    if labels.max() >= len(CIFAR10_CLASSES):
        raise PrepError(f"{where}: label {labels.max()} in record {labels.argmax()}; CIFAR-10 has 0..9")
    bgr = table[:, 1:].reshape(RECORDS, 3, SIDE, SIDE)[:, ::-1]
    return labels, np.ascontiguousarray(bgr.transpose(0, 2, 3, 1))
