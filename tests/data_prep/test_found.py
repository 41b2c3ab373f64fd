"""What a path holds is found by its content, said, and loaded; what is none of the known kinds is refused."""
import gzip
import hashlib
import re
import struct
import tarfile
import zipfile
from dataclasses import replace

import cv2
import numpy as np
import pytest

from downloads.public_files import PUBLIC_FILES
from make_lmdb import main
from prep.errors import PrepError
from sources import cifar10, mnist
from sources.found import find_source

PICTURE = cv2.imencode(".png", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()


def fill(root, *names, content=PICTURE):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def class_folders(tmp_path):
    return fill(tmp_path / "photos", "train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png")


def tar_of(folder):
    with tarfile.open(folder.with_suffix(".tar"), "w") as tar:
        tar.add(folder, arcname=folder.name)
    return folder.with_suffix(".tar")


def zip_of(folder):
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, path.relative_to(folder.parent))
    return folder.with_suffix(".zip")


@pytest.mark.parametrize("pack", [lambda folder: folder, tar_of, zip_of], ids=["directory", "tar", "zip"])
def test_class_folders(tmp_path, pack):
    found = find_source(pack(class_folders(tmp_path)))
    assert found.kind == "folders"
    sets = found.load(["train", "test"])
    assert sets["train"].ids == ["train/cat/1.png", "train/dog/1.png"]
    assert sets["test"].read(1) == PICTURE


def mnist_files(folder, monkeypatch):
    """One image a split, packed, with checksums to match."""
    folder.mkdir()
    for images, labels in mnist.FILES.values():
        for name, data in ((images, struct.pack(">4I", 2051, 1, 28, 28) + bytes(784)),
                           (labels, struct.pack(">2I", 2049, 1) + b"\7")):
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
            known = replace(PUBLIC_FILES[name], checksum=f"md5:{hashlib.md5(data).hexdigest()}")
            monkeypatch.setitem(PUBLIC_FILES, name, known)
    return folder


@pytest.mark.parametrize("pack", [lambda folder: folder, tar_of, zip_of], ids=["directory", "tar", "zip"])
def test_mnist(tmp_path, monkeypatch, pack):
    found = find_source(pack(mnist_files(tmp_path / "digits", monkeypatch)), dataset="mnist")
    assert found.kind == "mnist"
    assert found.load(["test"])["test"].labels.tolist() == [7]


def test_one_file_of_mnist_stands_for_its_folder(tmp_path, monkeypatch):
    folder = mnist_files(tmp_path / "digits", monkeypatch)
    assert find_source(folder / "t10k-labels-idx1-ubyte.gz").kind == "mnist"


def test_cifar10(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "RECORDS", 1)
    names = cifar10.BATCHES["train"] + cifar10.BATCHES["test"]
    fill(tmp_path / "cifar-10-batches-bin", *names, content=bytes([4]) + bytes(3072))
    found = find_source(tmp_path / "cifar-10-batches-bin", dataset="cifar10")
    assert found.kind == "cifar10"
    assert found.load(["test"])["test"].labels.tolist() == [4]
    assert find_source(tmp_path / "cifar-10-batches-bin/test_batch.bin").kind == "cifar10"


def test_the_python_version_of_cifar10_is_refused_with_what_to_take(tmp_path):
    with pytest.raises(PrepError, match="Python version; take the binary version, cifar-10-binary.tar.gz"):
        find_source(fill(tmp_path, "cifar-10-batches-py/data_batch_1"))


def test_the_files_of_another_set_than_the_one_asked_for_are_refused(tmp_path):
    fill(tmp_path, *cifar10.BATCHES["train"], content=b"x")
    with pytest.raises(PrepError, match="holds CIFAR-10, binary version, but mnist is asked for"):
        find_source(tmp_path, dataset="mnist")


@pytest.mark.parametrize("lists", [
    {"train.txt": "a.png 0\nb c.png 1\n", "test.txt": "a.png 1\n"},
    {"train-file-list.txt": "a.png\nb c.png\n", "train-label.txt": "0\n1\n", "test-file-list.txt": "a.png\n",
     "test-label.txt": "1\n"}], ids=["path label", "the authors' pairs"])
def test_lists(tmp_path, lists):
    fill(tmp_path, "a.png", "b c.png")
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
    found = find_source(tmp_path)
    assert found.kind == "lists"
    assert found.load(["train"])["train"].ids == ["a.png", "b c.png"]
    assert found.load(["train"])["train"].read(1) == PICTURE
    assert found.load(["train", "test"])["test"].labels.tolist() == [1]
    assert find_source(tmp_path / next(iter(lists))).kind == "lists"


def test_lists_in_an_archive_ask_for_it_to_be_unpacked(tmp_path):
    for split in ("train", "test"):
        fill(tmp_path / "set", f"{split}.txt", content=b"a.png 0\n")
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for split in ("train", "test"):
            packed.write(tmp_path / f"set/{split}.txt", f"{split}.txt")
    with pytest.raises(PrepError, match="set.zip: holds list files; unpack it"):
        find_source(archive)


def test_what_is_none_of_these_is_refused_with_what_is_known(tmp_path):
    with pytest.raises(PrepError, match=r"neither class folders .*nor lists .*nor the files of MNIST"):
        find_source(fill(tmp_path, "1.png", "2.png"))


def test_the_program_says_what_it_found_and_makes_the_same_database_as_when_it_is_told(tmp_path, capsys):
    photos = zip_of(class_folders(tmp_path))
    for source in ("auto", "folders"):
        assert main([source, "--data", str(photos), "--size", "16", "--out", str(tmp_path / source)]) == 0
    assert f"{photos}: train/ and test/ folders of 2 classes\n" in capsys.readouterr().out
    one, other = ((tmp_path / source / "train_lmdb/data.mdb").read_bytes() for source in ("auto", "folders"))
    assert one == other


@pytest.mark.parametrize("names, words", [
    (["cat/1.png", "cat/2.png"], "has one class only, 'cat'; a classifier tells at least two apart"),
    (["train/cat/1.png", "test/cat/1.png"], "has one class only, 'cat'"),
    (["train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png", "test/fox/1.png"],
     "test/ has the class 'fox' and train/ has not; give images of it to train/, or remove test/fox/"),
    (["train/cat/1.png", "train/dog/1.png", "test/cat/1.png"], "train/ has the class 'dog' and test/ has not"),
    (["cat/1.png", "Cat/2.png", "dog/1.png"], "the classes 'Cat' and 'cat' differ by case"),
    (["zéro/1.png", "ze\u0301ro/1.png"], "differ by case or spelling of accents only")])
def test_classes_that_make_no_set(tmp_path, names, words):
    with pytest.raises(PrepError, match=re.escape(words)):
        find_source(fill(tmp_path / "photos", *names)).load(["train", "test"])
