"""The program: its databases against convert_imageset's, its options, its exit status."""
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest

from databases.datums import messages
from make_lmdb import main
from prep.errors import PrepError

ROOT = Path(__file__).resolve().parents[2]
CONVERT = ROOT / "build/caffe/current/build/tools/convert_imageset"


def values(path):
    with lmdb.open(str(path), readonly=True, lock=False) as env, env.begin() as transaction:
        return [value for _, value in transaction.cursor()]


@pytest.fixture
def folder(tmp_path):
    """train/ and test/ of two classes, images of many sizes and kinds."""
    rng = np.random.default_rng(0)
    for number in range(24):
        name = f"{number:02d}{('.jpg', '.png')[number % 3 > 0]}"
        path = tmp_path / "images" / ("train", "test")[number % 2] / "ab"[number // 12] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (rng.integers(5, 400), rng.integers(5, 400), 3)[:2 + (number % 4 > 0)]
        cv2.imwrite(str(path), cv2.resize(rng.integers(0, 256, (9, 9, *shape[2:])).astype(np.uint8), shape[1::-1]))
    return tmp_path / "images"


def run(source, *options, **named):
    words = [str(word) for key, value in named.items() for word in (f"--{key}", value)]
    return main([source, *words, *options])


@pytest.mark.skipif(not CONVERT.exists(), reason="Caffe's convert_imageset is not built (make caffe)")
@pytest.mark.parametrize("options, flags", [((), ()), (("--grey",), ("--gray",)), (("--size", "28"), ())])
def test_datums_equal_those_of_convert_imageset(folder, tmp_path, options, flags):
    assert run("folders", "--splits", "test", *options, data=folder, out=tmp_path / "ours") == 0
    side = 28 if "28" in options else 256
    ids = (tmp_path / "ours/test_lmdb/ids.txt").read_text().split()
    labels = np.load(tmp_path / "ours/test_lmdb/labels.npy")
    (tmp_path / "list").write_text("".join(f"{name} {label}\n" for name, label in zip(ids, labels)))
    subprocess.run([CONVERT, *flags, f"--resize_height={side}", f"--resize_width={side}", f"{folder}/",
                    tmp_path / "list", tmp_path / "theirs"], check=True, capture_output=True)
    ours = values(tmp_path / "ours/test_lmdb")
    assert len(ours) == 12
    assert ours == values(tmp_path / "theirs")


def test_originals_keep_order_and_size(folder, tmp_path):
    assert run("folders", "--originals", "--seed", "4", data=folder, out=tmp_path / "set", size=32) == 0
    small, originals = tmp_path / "set/train_lmdb", tmp_path / "set/train_originals_lmdb"
    assert (small / "ids.txt").read_text() == (originals / "ids.txt").read_text()
    first = messages().Datum.FromString(values(originals)[0])
    image = cv2.imread(str(folder / (originals / "ids.txt").read_text().split()[0]))
    assert first.data == image.transpose(2, 0, 1).tobytes()


def test_no_originals_where_nothing_was_resized(tmp_path, capsys):
    assert run("digits", "--grey", "--originals", "--splits", "test", out=tmp_path / "digits", size=28) == 0
    assert not (tmp_path / "digits/test_originals_lmdb").exists()
    assert "have this size already" in capsys.readouterr().out


def test_lists_and_folders_make_the_same_database(folder, tmp_path):
    lines = [f"{path.relative_to(folder)} {'ab'.index(path.parent.name)}" for path in sorted(folder.glob("train/*/*"))]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    for source, options in (("folders", {"data": folder}),
                            ("lists", {"train-list": tmp_path / "list.txt", "root": folder})):
        assert run(source, "--splits", "train", out=tmp_path / source, size=16, **options) == 0
    found = [json.loads((tmp_path / source / "train_lmdb/meta.json").read_text()) for source in ("folders", "lists")]
    assert found[0]["fingerprint"] == found[1]["fingerprint"]
    assert found[0]["dataset"] == "folders"


def test_an_existing_database_is_not_touched_unless_told(folder, tmp_path):
    options = {"data": folder, "out": tmp_path / "d", "size": 28}
    assert run("folders", "--splits", "test", **options) == 0
    with pytest.raises(PrepError, match="test_lmdb: exists already; .*--overwrite"):
        run("folders", **options)
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["test_lmdb"]
    assert run("folders", "--splits", "test", "--overwrite", "--grey", **options) == 0
    assert json.loads((tmp_path / "d/test_lmdb/meta.json").read_text())["channels"] == 1


def test_keep_makes_only_what_is_missing(folder, tmp_path):
    options = {"data": folder, "out": tmp_path / "d", "size": 28}
    assert run("folders", "--splits", "train", **options) == 0
    before = (tmp_path / "d/train_lmdb").stat().st_ino
    assert run("folders", "--keep", "--originals", **options) == 0
    assert (tmp_path / "d/train_lmdb").stat().st_ino == before
    assert {path.name for path in (tmp_path / "d").iterdir()} == {
        "train_lmdb", "test_lmdb", "train_originals_lmdb", "test_originals_lmdb"}
    for other in (["--seed", "9"], ["--size", "27"], ["--grey"], ["--encoded"]):
        with pytest.raises(PrepError, match="train_lmdb: was made with other settings"):
            main(["folders", "--data", str(folder), "--out", str(tmp_path / "d"), "--size", "28", "--keep", *other])


def test_two_writers_at_a_time(folder, tmp_path):
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(PrepError, match="another make_lmdb is writing"):
            run("folders", data=folder, out=tmp_path)
    finally:
        os.close(handle)


def test_a_missing_list_is_asked_for(tmp_path):
    with pytest.raises(PrepError, match="--test-list is missing; .*--splits train"):
        run("lists", "--train-list", "x", out=tmp_path)


@pytest.mark.parametrize("words", [["--size", "-1"], ["--size", "big"], ["--jobs", "0"], ["--splits", "val"]])
def test_options_out_of_range_are_usage_errors(tmp_path, words):
    with pytest.raises(SystemExit, match="2"):
        run("digits", *words, out=tmp_path)


def test_as_a_program_a_mistake_is_a_sentence_and_status_1(folder, tmp_path):
    (folder / "train/a/notes.txt").write_text("no image")
    command = [sys.executable, ROOT / "data_prep/make_lmdb.py", "folders", "--data", folder, "--out", tmp_path / "x"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "1 of 13 images unreadable" in done.stderr
    assert "train/a/notes.txt: not an image" in done.stderr
    assert (tmp_path / "x/train_lmdb_unreadable.txt").exists()
    assert not (tmp_path / "x/train_lmdb").exists()
