"""idx files by hand, the official files where they are, and the packaged digits."""
import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from prep.errors import PrepError
from sources import mnist
from sources.file_tree import open_tree
from sources.mnist import IMAGES_MAGIC, LABELS_MAGIC, load_digits, load_mnist, parse_idx

WHERE = "some-file"


def test_idx_by_hand():
    data = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(parse_idx(data, IMAGES_MAGIC, WHERE), [[[1, 2, 3]], [[4, 5, 6]]])
    np.testing.assert_array_equal(parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]), LABELS_MAGIC, WHERE), [7, 9])


@pytest.mark.parametrize("data, message", [
    (b"\0\0\x08", "too few"),
    (struct.pack(">4I", 2049, 1, 1, 1) + b"x", "magic number 2049, expected 2051"),
    (struct.pack(">4I", 2051, 2, 2, 2) + b"1234567", "23 bytes, its header says 24"),
])
def test_damaged_idx(data, message):
    with pytest.raises(PrepError, match=f"some-file: .*{message}"):
        parse_idx(data, IMAGES_MAGIC, WHERE)


def test_missing_damaged_and_foreign_files(tmp_path):
    with pytest.raises(PrepError, match="neither train-images-idx3-ubyte nor train-images-idx3-ubyte.gz"):
        load_mnist(open_tree(tmp_path))
    packed = tmp_path / "train-images-idx3-ubyte.gz"
    packed.write_bytes(gzip.compress(b"x" * 100)[:-9])
    with pytest.raises(PrepError, match="damaged or cut short"):
        load_mnist(open_tree(tmp_path))
    packed.write_bytes(gzip.compress(b"x" * 100))
    with pytest.raises(PrepError, match="not the official file"):
        load_mnist(open_tree(tmp_path))


def test_counts_of_images_and_labels_must_agree():
    with pytest.raises(PrepError, match="3 images but 2 labels"):
        mnist.digits(np.zeros((3, 28, 28), np.uint8), np.zeros(2, np.uint8), "mnist", ["a", "b", "c"])
    with pytest.raises(PrepError, match="label 10 at row 1"):
        mnist.digits(np.zeros((2, 28, 28), np.uint8), np.array([0, 10], np.uint8), "mnist", ["a", "b"])


@pytest.mark.skipif("REAL_DATA" not in os.environ, reason="REAL_DATA names no directory with mnist/")
def test_official_files(tmp_path):
    sets = load_mnist(open_tree(Path(os.environ["REAL_DATA"]) / "mnist"))
    assert [len(sets[split]) for split in ("train", "test")] == [60000, 10000]
    assert sets["train"].labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert sets["test"].labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert sets["test"].read(0).shape == (28, 28)


def test_packaged_digits_are_split_without_overlap():
    sets = load_digits()
    ids = [set(sets[split].ids) for split in ("train", "test")]
    assert [len(part) for part in ids] == [4000, 1000]
    assert len(ids[0] | ids[1]) == 5000
    assert np.bincount(np.concatenate([sets["train"].labels, sets["test"].labels])).tolist() == [500] * 10
    assert sets["test"].read(0).max() > 200
