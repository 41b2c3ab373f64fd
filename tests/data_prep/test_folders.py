"""Class folders in the shapes people have them in, and in shapes that are mistakes."""
import tarfile

import pytest

from prep.errors import PrepError
from sources.cifar10 import CIFAR10_CLASSES
from sources.file_tree import open_tree
from sources.folders import is_cifar10, load_folders


def fill(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_train_and_test_folders(tmp_path):
    root = fill(tmp_path, "train/dog/2.jpg", "train/dog/1.jpg", "train/cat/9.jpg",
                "test/cat/x.jpg", "test/dog/deep/y.jpg", "README.txt", "train/.DS_Store", "train/dog/._1.jpg")
    sets = load_folders(open_tree(root))
    assert sets["train"].classes == ["cat", "dog"]
    assert sets["train"].ids == ["train/cat/9.jpg", "train/dog/1.jpg", "train/dog/2.jpg"]
    assert sets["train"].labels.tolist() == [0, 1, 1]
    assert sets["test"].ids == ["test/cat/x.jpg", "test/dog/deep/y.jpg"]
    assert sets["train"].read(2) == b"train/dog/2.jpg"


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_tar_equals_the_directory(tmp_path, wrapped):
    root = fill(tmp_path / "set", "train/a/1", "train/b/2", "test/a/3", "test/b/4")
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(root, arcname="set" if wrapped else ".")
    sets, packed = load_folders(open_tree(root)), load_folders(open_tree(tmp_path / "set.tar"))
    for split in ("train", "test"):
        assert packed[split].ids == sets[split].ids
        assert [packed[split].read(i) for i in range(2)] == [sets[split].read(i) for i in range(2)]


def test_an_empty_class_and_one_that_lacks_a_split(tmp_path):
    root = fill(tmp_path, "train/a/1", "train/b/2", "test/a/3")
    with pytest.raises(PrepError, match="train/ has the class 'b' and test/ has not"):
        load_folders(open_tree(root))
    assert len(load_folders(open_tree(root), ["train"])["train"]) == 2
    (root / "train/empty").mkdir()
    with pytest.raises(PrepError, match="train/empty/"):
        load_folders(open_tree(root), ["train"])


def test_single_level_needs_to_be_told(tmp_path):
    root = fill(tmp_path, *(f"{name}/{number}.png" for name in "ab" for number in range(10)))
    with pytest.raises(PrepError, match="say --test-fraction"):
        load_folders(open_tree(root))
    assert len(load_folders(open_tree(root), split="test")["test"]) == 20
    sets = load_folders(open_tree(root), test_fraction=0.3, seed=5)
    assert [sets["test"].labels.tolist().count(label) for label in (0, 1)] == [3, 3]
    everything = load_folders(open_tree(root), split="test")["test"].ids
    assert sorted(sets["test"].ids + sets["train"].ids) == sorted(everything)
    assert sets["test"].ids == load_folders(open_tree(root), test_fraction=0.3, seed=5)["test"].ids
    assert sets["test"].ids != load_folders(open_tree(root), test_fraction=0.3, seed=6)["test"].ids
    assert sets["test"].read(0) == sets["test"].ids[0].encode()


@pytest.mark.parametrize("fraction", [0, 1, -0.5])
def test_fraction_out_of_range(tmp_path, fraction):
    with pytest.raises(PrepError, match="between 0 and 1"):
        load_folders(open_tree(fill(tmp_path, "a/1", "a/2")), test_fraction=fraction)


def test_a_class_of_one_image_cannot_be_divided(tmp_path):
    with pytest.raises(PrepError, match="'b' has a single image"):
        load_folders(open_tree(fill(tmp_path, "a/1", "a/2", "b/1")), test_fraction=0.5)


def test_split_option_on_a_tree_that_has_splits(tmp_path):
    with pytest.raises(PrepError, match="leave --split"):
        load_folders(open_tree(fill(tmp_path, "train/a/1", "test/a/1")), split="train")


def test_empty_directory(tmp_path):
    with pytest.raises(PrepError, match="no images found"):
        load_folders(open_tree(tmp_path), split="train")


def test_cifar10_is_known_by_its_classes(tmp_path):
    root = fill(tmp_path, *(f"train/{name}/1.jpg" for name in CIFAR10_CLASSES))
    assert is_cifar10(load_folders(open_tree(root), ["train"])["train"])
    assert not is_cifar10(load_folders(open_tree(fill(tmp_path, "train/horseshoe/1.jpg")), ["train"])["train"])
