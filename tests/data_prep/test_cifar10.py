"""The binary records by hand, and directories and archives that are not what they should be."""
import tarfile

import numpy as np
import pytest

from prep.errors import PrepError
from sources import cifar10
from sources.cifar10 import load_cifar10, parse_batch
from sources.file_tree import open_tree


def record(label, red, green, blue):
    return bytes([label]) + bytes([red]) * 1024 + bytes([green]) * 1024 + bytes([blue]) * 1024


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An unpacked directory with 2 records a file instead of 10,000; file f holds labels f and 9."""
    monkeypatch.setattr(cifar10, "RECORDS", 2)
    directory = tmp_path / "cifar-10-batches-bin"
    directory.mkdir()
    for number, name in enumerate(cifar10.BATCHES["train"] + cifar10.BATCHES["test"]):
        (directory / name).write_bytes(record(number, number, 20, 30) + record(9, 1, 2, 3))
    return directory


def test_records_become_bgr_images(monkeypatch):
    monkeypatch.setattr(cifar10, "RECORDS", 2)
    first = bytearray(record(3, 10, 20, 30))
    first[1 + 33] = 99  # red, row 1, column 1
    labels, pixels = parse_batch(bytes(first) + record(9, 1, 2, 3), "x")
    assert labels.tolist() == [3, 9]
    assert labels.dtype == np.int64
    assert pixels.shape == (2, 32, 32, 3)
    assert pixels[0, 0, 0].tolist() == [30, 20, 10]
    assert pixels[0, 1, 1].tolist() == [30, 20, 99]
    assert pixels[1, 31, 31].tolist() == [3, 2, 1]


@pytest.mark.parametrize("data, message", [(record(1, 0, 0, 0)[:-1], "3072 bytes, expected 3073"),
                                           (record(10, 0, 0, 0), "label 10 in record 0")])
def test_damaged_records(data, message, monkeypatch):
    monkeypatch.setattr(cifar10, "RECORDS", 1)
    with pytest.raises(PrepError, match=f"batch: .*{message}"):
        parse_batch(data, "batch")


def test_unpacked_directory_in_official_order(folder):
    sets = load_cifar10(open_tree(folder))
    assert sets["train"].labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    assert sets["test"].labels.tolist() == [5, 9]
    assert sets["train"].read(4)[0, 0].tolist() == [30, 20, 2]
    assert load_cifar10(open_tree(folder.parent), ["test"])["test"].classes[9] == "truck"


def test_a_missing_batch_and_a_foreign_archive(folder):
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(PrepError, match="no data_batch_3.bin"):
        load_cifar10(open_tree(folder))
    archive = folder.parent / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    with pytest.raises(PrepError, match="MD5 .* expected c32a1d4ab5d03f1284b67883e8d87530"):
        load_cifar10(open_tree(archive))
