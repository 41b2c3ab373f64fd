"""Images added to a run's database: searches see them, evaluation does not, and they are there whole or not at all."""
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import evaluate
import query
from caffe_cases import change, images_of, kill, run, start
from embedding.decoder import Decoder
from embedding.originals import Originals
from features.preprocess import Preprocessor
from finished_cases import measure

ARRAYS = ("latent", "fc7", "labels", "predictions", "thumbs")
EVALUATE = ("--features", "run/features", "--out", "run/eval", "--baselines", "none", "--no-sweep", "--no-report")


@pytest.fixture
def here(finished_run, tmp_path, monkeypatch):
    """A copy of the finished run in the current directory."""
    shutil.copytree(finished_run, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def add(call, *images):
    return call("add", "--run", "run", "--images", *images, "--gpu", "none")


def arrays():
    return {name: np.load(f"run/features/train/{name}.npy") for name in ARRAYS}


def ids():
    return Path("run/features/train/ids.txt").read_text().splitlines()


def answers(call, image):
    status, said = call("extract", "--run", "run", "--images", image, "--out", "asked/features", "--gpu", "none")
    assert status == 0, said
    assert measure(query.main, "--queries", "asked/features", "--features", "run/features", "--out", "asked") == (0, "")
    return json.loads(Path("asked/answers.json").read_text())[0]


def test_added_images_stand_behind_the_others_and_are_found(here, call):
    before, names = arrays(), ids()
    status, said = add(call, "new")
    assert status == 0, said
    assert "3 images added to 60; searches see them, and what was evaluated stays that of the 60 images" in said
    now = arrays()
    for name in ARRAYS:
        assert np.array_equal(now[name][:60], before[name]), name
        assert len(now[name]) == 63
    assert now["labels"][60:].tolist() == [-1] * 3
    assert ids() == names + ["new/0.png", "new/1.png", "new/2.png"]
    found = answers(call, "new/1.png")
    nearest = next(result for result in found["results"] if result["id"] == "new/1.png")
    assert nearest["hamming"] == 0
    assert nearest["euclidean"] == pytest.approx(0, abs=1e-3)
    assert nearest["class"] == "not labelled"
    assert sorted(path.name for path in Path("run").iterdir() if "adding" in path.name) == []


def test_what_was_evaluated_stays_of_its_own_database(here, call, capfd):
    before = Path("run/eval/results.json").read_text()
    assert add(call, "new")[0] == 0
    assert evaluate.main([*EVALUATE, "--if-changed"]) == 0
    assert "kept, made from these features" in capfd.readouterr().out
    assert evaluate.main([*EVALUATE]) == 0
    found = json.loads(Path("run/eval/results.json").read_text())
    assert found["database"] == 60
    assert found["key"] == json.loads(before)["key"]


def test_labels_of_a_list_are_taken_and_further_images_join(here, call):
    assert add(call, "new/0.png")[0] == 0
    Path("more.txt").write_text("new/1.png 2\nnew/2.png -1\n")
    status, said = add(call, "more.txt")
    assert status == 0, said
    assert arrays()["labels"][60:].tolist() == [-1, 2, -1]
    meta = json.loads(Path("run/features/train/meta.json").read_text())
    assert (meta["count"], meta["own_count"]) == (63, 60)
    assert [(part["path"], part["count"]) for part in meta["added"]] == [("new/0.png", 1), ("more.txt", 2)]


def test_the_command_that_made_the_run_keeps_what_was_added(here, call):
    assert add(call, "new")[0] == 0
    extract = ("extract", "--run", "run", "--databases", ".", "--out", "run/features", "--gpu", "none")
    status, said = call(*extract)
    assert (status, "60 images; 3 were added" in said) == (0, True), said
    assert len(ids()) == 63
    shutil.copy("run/snapshots/iter_100.caffemodel", "run/final.caffemodel")
    status, said = call(*extract)
    assert "made anew, without the 3 images that were added to it: add them again with make add" in said
    assert len(ids()) == 60


def test_a_package_takes_them_along(here, call):
    assert add(call, "new")[0] == 0
    status, said = call("package", "--run", "run", "--out", "package")
    assert status == 0, said
    assert np.load("package/codes.npy").shape == (63, 1)
    assert "`cvprw15`: 50 queries, 60 images in the database" in Path("package/README.md").read_text()


def test_their_originals_are_the_files(here, call):
    assert add(call, "new")[0] == 0
    decoder = Decoder(Preprocessor("caffe", 3, 20, 36))
    try:
        shown = [Originals(Path("run/features/train")).png(row, decoder) for row in (0, 61)]
    finally:
        decoder.close()
    pixels = [cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR) for png in shown]
    assert np.array_equal(pixels[1], cv2.imread("new/1.png"))
    assert np.array_equal(pixels[0], np.moveaxis(images_of(60, 1)[0][0], 0, 2))


def test_an_image_that_is_there_already(here, call):
    assert add(call, "new/0.png")[0] == 0
    status, said = add(call, "new")
    assert status == 1
    assert "new/0.png is in the database of run/features/train already: leave it out" in said
    assert len(ids()) == 61


@pytest.mark.parametrize("spoil, words", [
    (lambda: shutil.copy("run/snapshots/iter_100.caffemodel", "run/final.caffemodel"),
     "was extracted by another final.caffemodel than run has now: codes of two nets cannot be compared"),
    (lambda: change(Path("run/features/train/meta.json"), '"engine": "onednn"', '"engine": "other"'),
     "was extracted with another engine"),
    (lambda: Path("run/features/train/meta.json").unlink(), "there are no features to add to"),
    (lambda: Path("new/1.png").write_bytes(b"no image"), "new/1.png"),
    (lambda: Path("new/0.png").unlink() or Path("new/1.png").unlink() or Path("new/2.png").unlink(),
     "new: no image files")])
def test_what_cannot_be_added_is_named_and_nothing_changes(here, call, spoil, words):
    before, names = arrays(), ids()
    spoil()
    status, said = add(call, "new")
    assert status == 1
    assert words in said
    assert "Traceback" not in said
    assert ids() == names
    for name, array in arrays().items():
        assert np.array_equal(array, before[name])


def test_a_label_that_is_no_class_is_refused(here, call):
    change(Path("run/features/train/meta.json"), '"classes": null', '"classes": ["a", "b", "c", "d"]')
    Path("more.txt").write_text("new/1.png 4\n")
    status, said = add(call, "more.txt")
    assert status == 1
    assert "the list of new images has label 4, the database's classes are 0 to 3" in said


def test_a_kill_leaves_the_old_database_and_the_same_command_adds(here):
    process = start("add.py", "--run", "run", "--images", "new", "--gpu", "none", cwd=here)
    while not Path("run/adding").exists() and process.poll() is None:
        pass
    kill(process)
    assert len(ids()) in (60, 63)
    if len(ids()) == 60:
        status, said = run("add.py", "--run", "run", "--images", "new", "--gpu", "none", cwd=here)
        assert status == 0, said
    assert len(ids()) == len(arrays()["latent"]) == 63
