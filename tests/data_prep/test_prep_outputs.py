"""No program writes over its own input, or over what it did not make itself."""
import json

import cv2
import numpy as np
import pytest

from make_lmdb import main
from mean_image import main as mean_image
from prep.errors import PrepError


@pytest.fixture
def photos(tmp_path):
    """train/ and test/ of two classes, an image each."""
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            cv2.imwrite(str(tmp_path / "photos" / split / name / "1.png"), np.zeros((8, 8, 3), np.uint8))
    return tmp_path / "photos"


def make(photos, out, *options):
    return main(["folders", "--data", str(photos), "--out", str(out), "--size", "8", "--jobs", "1", *options])


def content_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("inside", [".", "train", "new/deep"])
def test_databases_do_not_go_into_the_images(photos, inside):
    before = content_of(photos)
    with pytest.raises(PrepError, match="lies in the input"):
        make(photos, photos / inside)
    assert content_of(photos) == before


def test_a_folder_of_images_named_as_a_database_is_not_replaced(photos):
    named = photos.rename(photos.with_name("train_lmdb"))
    before = content_of(named)
    with pytest.raises(PrepError, match="is the input"):
        make(named, named.parent, "--overwrite")
    assert content_of(named) == before


def test_lists_beside_their_databases_are_fine(photos, monkeypatch):
    monkeypatch.chdir(photos.parent)
    for split in ("train", "test"):
        (photos.parent / f"{split}.txt").write_text(f"photos/{split}/cat/1.png 0\nphotos/{split}/dog/1.png 1\n")
    assert main(["lists", "--train-list", "train.txt", "--test-list", "test.txt", "--out", "data", "--size", "8"]) == 0


@pytest.mark.parametrize("place", ["train_lmdb", "train_lmdb.partial", "train_lmdb.old"])
def test_overwrite_leaves_a_folder_alone_that_holds_something_of_the_users(photos, tmp_path, place):
    assert make(photos, tmp_path / "data") == 0
    (tmp_path / "data" / place).mkdir(exist_ok=True)
    (tmp_path / "data" / place / "thesis.txt").write_text("two years")
    with pytest.raises(PrepError, match=f"{place}: holds thesis.txt"):
        make(photos, tmp_path / "data", "--overwrite")
    assert (tmp_path / "data" / place / "thesis.txt").read_text() == "two years"


@pytest.mark.parametrize("meta", [None, "{", "[]", json.dumps({"key": "of features"})])
def test_overwrite_leaves_a_database_of_another_tool_alone(photos, tmp_path, meta):
    (tmp_path / "data/train_lmdb").mkdir(parents=True)
    (tmp_path / "data/train_lmdb/data.mdb").write_bytes(b"theirs")
    if meta is not None:
        (tmp_path / "data/train_lmdb/meta.json").write_text(meta)
    with pytest.raises(PrepError, match="is no database that make_lmdb wrote"):
        make(photos, tmp_path / "data", "--overwrite")
    assert (tmp_path / "data/train_lmdb/data.mdb").read_bytes() == b"theirs"


def test_overwrite_replaces_its_own(photos, tmp_path):
    assert make(photos, tmp_path / "data") == 0
    assert make(photos, tmp_path / "data", "--overwrite") == 0


def test_the_mean_image_replaces_only_a_mean_image(tmp_path):
    np.save(tmp_path / "mean.npy", np.full((3, 256, 256), 100, np.float32))
    arguments = ["--own", "--npy", str(tmp_path / "mean.npy"), "--out"]
    assert mean_image([*arguments, str(tmp_path / "mean.binaryproto")]) == 0
    assert mean_image([*arguments, str(tmp_path / "mean.binaryproto")]) == 0
    (tmp_path / "photo.jpg").write_bytes(b"a photo")
    with pytest.raises(PrepError, match="photo.jpg: is there and is no mean image"):
        mean_image([*arguments, str(tmp_path / "photo.jpg")])
    with pytest.raises(PrepError, match="is the input"):
        mean_image([*arguments, str(tmp_path / "mean.npy")])
    assert (tmp_path / "photo.jpg").read_bytes() == b"a photo"
