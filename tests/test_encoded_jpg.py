"""make_lmdb.py --encoded jpg: the files' own bytes in the datums, and to every reader the pixels of a raw database."""
import json
import shutil
from pathlib import Path

import caffe
import cv2
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from PIL import Image

import make_lmdb
from caffe_cases import CROP, SIDE, change, images_of, weights_of, write_problem
from caffe_files.entries import check_entries
from caffe_files.samples import sample
from features.sources import LmdbSource
from prep.errors import PrepError

PLAIN = 28  # images of each split in three colours, as cameras leave them
ROTATED = 6  # EXIF: by a quarter


def write_photo(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """train/ and test/ of four classes, JPEG files but for one PNG; one is grey, one CMYK, one rotated by EXIF."""
    folder = tmp_path_factory.mktemp("photos") / "photos"
    exif = Image.Exif()
    exif[0x0112] = ROTATED
    for seed, split in enumerate(("train", "test")):
        images, labels = images_of(PLAIN + 4, seed)
        for row, (image, label) in enumerate(zip(images, labels)):
            image, place = np.ascontiguousarray(image.transpose(1, 2, 0)), folder / split / "abcd"[label]
            if row < PLAIN:
                write_photo(place / f"{row}.jpg", image, quality=85)
        write_photo(folder / split / "a/grey.jpg", image[..., 0])
        write_photo(folder / split / "a/rotated.jpg", image, exif=exif)
        write_photo(folder / split / "b/other.png", image)
        Image.fromarray(image).convert("CMYK").save(folder / split / "b/cmyk.jpg")
    return folder


@pytest.fixture(scope="module")
def databases(photos, tmp_path_factory):
    """Folder with raw/ and jpg/, made of the photos."""
    folder = tmp_path_factory.mktemp("databases")
    for name, options in (("raw", ()), ("jpg", ("--encoded", "jpg"))):
        words = ("folders", "--data", str(photos), "--out", str(folder / name), "--size", str(SIDE))
        assert make_lmdb.main([*words, *options]) == 0
    return folder


def both(databases, split="train"):
    return databases / f"raw/{split}_lmdb", databases / f"jpg/{split}_lmdb"


def test_the_datums_hold_the_files_themselves(databases, photos):
    database = databases / "jpg/train_lmdb"
    ids = (database / "ids.txt").read_text().split()
    with lmdb.open(str(database), readonly=True, lock=False) as env, env.begin() as transaction:
        datums = [caffe_pb2.Datum.FromString(value) for _, value in transaction.cursor()]
    assert all(datum.encoded for datum in datums)
    same = {name for name, datum in zip(ids, datums) if datum.data == (photos / name).read_bytes()}
    assert {Path(name).name for name in set(ids) - same} == {"grey.jpg", "rotated.jpg", "other.png"}
    meta = json.loads((database / "meta.json").read_text())
    assert (meta["jpeg"], meta["count"], meta["encoded"]) == (PLAIN + 1, PLAIN + 4, True)


def test_fingerprints_are_those_of_raw_pixels(databases):
    raw, jpg = (json.loads((path / "meta.json").read_text()) for path in both(databases))
    assert raw["fingerprint"] == jpg["fingerprint"]


def test_our_readers_get_the_pixels_of_the_raw_database(databases):
    raw, jpg = (list(LmdbSource(path).read()) for path in both(databases))
    assert [label for _, label in raw] == [label for _, label in jpg]
    assert all(np.array_equal(one, other) for (one, _), (other, _) in zip(raw, jpg, strict=True))
    assert [check_entries(path).shape for path in both(databases)] == [(3, SIDE, SIDE)] * 2
    raw, jpg = (sample(path, 10)[0] for path in both(databases))
    assert np.array_equal(raw, jpg)


def test_caffes_data_layer_gets_the_pixels_of_the_raw_database(databases, tmp_path):
    found = []
    for path in both(databases, "test"):
        net = tmp_path / "data.prototxt"
        net.write_text(f'''layer {{ name: "data" type: "Data" top: "data" top: "label"
            transform_param {{ crop_size: {CROP} }}
            data_param {{ source: "{path}" batch_size: {PLAIN + 4} backend: LMDB }} }}''')
        blobs = caffe.Net(str(net), caffe.TEST)
        blobs.forward()
        found.append({name: blobs.blobs[name].data.copy() for name in ("data", "label")})
    raw, jpg = found
    assert np.array_equal(raw["data"], jpg["data"])
    assert np.array_equal(raw["label"], jpg["label"])
    assert raw["data"].std() > 1


def test_training_and_extraction_give_the_same_numbers(databases, tmp_path, monkeypatch, call):
    found = []
    for name in ("raw", "jpg"):
        folder = tmp_path / name
        folder.mkdir()
        write_problem(folder)
        for split in ("train", "test"):
            shutil.rmtree(folder / f"{split}_lmdb")
            shutil.copytree(databases / name / f"{split}_lmdb", folder / f"{split}_lmdb")
        change(folder / "solver.prototxt", "test_iter: 7", "test_iter: 4")
        monkeypatch.chdir(folder)
        status, said = call("train", "--solver", "solver.prototxt", "--run", "run", "--weights", "none",
                            "--gpu", "none", "--iterations", 12)
        assert status == 0, said
        status, said = call("extract", "--run", "run", "--databases", ".", "--out", "features", "--gpu", "none")
        assert status == 0, said
        found.append((weights_of(folder / "run/final.caffemodel"), np.load(folder / "features/test/fc7.npy")))
    (raw, raw_fc7), (jpg, jpg_fc7) = found
    assert all(np.array_equal(raw[name], jpg[name]) for name in raw.keys() | jpg.keys())
    assert np.array_equal(raw_fc7, jpg_fc7)


def test_a_file_of_another_size_is_refused_by_name(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    cv2.imwrite(str(tmp_path / "photos/train/c/large.jpg"), np.zeros((SIDE, 99, 3), np.uint8))
    with pytest.raises(PrepError, match=rf"c/large.jpg: is 99x{SIDE}; --encoded jpg keeps files as they are"):
        make_lmdb.main(["folders", "--data", str(tmp_path / "photos"), "--out", str(tmp_path / "out"), "--size",
                        str(SIDE), "--encoded", "jpg"])
    assert not (tmp_path / "out/train_lmdb").exists()


def test_grey_files_are_kept_where_grey_is_asked_for(photos, tmp_path):
    words = ("folders", "--data", str(photos), "--out", str(tmp_path / "out"), "--size", str(SIDE), "--grey")
    assert make_lmdb.main([*words, "--encoded", "jpg"]) == 0
    assert json.loads((tmp_path / "out/train_lmdb/meta.json").read_text())["jpeg"] == 1
    images = [image for image, _ in LmdbSource(tmp_path / "out/train_lmdb").read()]
    assert {image.shape for image in images} == {(SIDE, SIDE)}


def test_a_kept_database_of_another_kind_is_refused(databases, photos):
    words = ("folders", "--data", str(photos), "--out", str(databases / "jpg"), "--size", str(SIDE), "--keep")
    assert make_lmdb.main([*words, "--encoded", "jpg"]) == 0
    for other in ((), ("--encoded",)):
        with pytest.raises(PrepError, match="was made with other settings"):
            make_lmdb.main([*words, *other])
