"""Extraction: equal to Caffe's own test phase and the authors' protocol, whole, resumable, cached by what made it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import caffe
import cv2
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from caffe_cases import BATCH, CROP, DEPLOY, REPO, SCALE, SIDE, TEST_IMAGES, change, images_of, write_lmdb
from extraction_cases import assert_equal, extract, read
from features.sources import LmdbSource
from preprocess_cases import authors_slowly
from process.identity import sha256


def test_from_an_lmdb_it_equals_caffes_own_test_phase_bit_for_bit(trained, call):
    assert extract(call)[0] == 0
    net = caffe.Net("run/train_val.prototxt", "run/final.caffemodel", caffe.TEST)
    expected = {"fc8_kevin_encode": [], "fc7": [], "label": [], "fc8_pascal": []}
    for _ in range(-(-TEST_IMAGES // BATCH)):
        net.forward()
        for blob, parts in expected.items():
            parts.append(net.blobs[blob].data.copy())
    expected = {
        blob: np.concatenate(parts)[:TEST_IMAGES] for blob, parts in expected.items()
    }  # the Data layer went on from the start
    found = read("features/test")
    assert found["latent"].dtype == found["fc7"].dtype == np.float32
    assert (found["latent"] == expected["fc8_kevin_encode"]).all()
    assert (found["fc7"] == expected["fc7"]).all()
    assert (found["predictions"] == expected["fc8_pascal"].argmax(1)).all()
    assert (found["labels"] == expected["label"]).all()
    assert found["labels"].dtype == found["predictions"].dtype == np.int64
    assert (found["labels"] == images_of(TEST_IMAGES, 2)[1]).all()
    assert (found["fc7"] == 0).any()
    assert found["fc7"].min() == 0  # after the ReLU
    assert found["thumbs"].shape == (TEST_IMAGES, SIDE, SIDE, 3)
    assert (found["thumbs"][3] == images_of(TEST_IMAGES, 2)[0][3].transpose(1, 2, 0)[:, :, ::-1]).all()
    assert (trained / "features/test/ids.txt").read_text().split() == [f"{row:08d}" for row in range(TEST_IMAGES)]
    assert not list((trained / "features").glob("*.partial"))
    assert not (trained / "features/test/progress.json").exists()


def test_meta_tells_what_made_it(trained, call):
    (trained / "test_lmdb/meta.json").write_text(
        json.dumps(dict(dataset="tiny", fingerprint="f" * 64, classes=list("abcd")))
    )
    assert extract(call)[0] == 0
    meta = json.loads((trained / "features/test/meta.json").read_text())
    sha = subprocess.run(["sha256sum", "run/final.caffemodel"], capture_output=True, text=True).stdout.split()[0]
    assert meta["weights"] == {"file": "run/final.caffemodel", "sha256": sha}
    assert meta["net"]["file"] == "run/deploy.prototxt"
    assert meta["blobs"] == {"latent": "fc8_kevin_encode", "fc7": "fc7"}
    assert meta["protocol"] == "caffe"
    assert (meta["split"], meta["count"], meta["bits"], meta["feature_dim"]) == ("test", TEST_IMAGES, 8, 16)
    entries = meta["data"].pop("entries")
    assert len(entries) == 64
    assert meta["data"] == {"path": "test_lmdb", "fingerprint": "f" * 64, "dataset": "tiny"}
    assert meta["classes"] == list("abcd")
    assert meta["mean"]["file"] == "mean.binaryproto"
    assert meta["scale"] == SCALE
    assert len(meta["key"]) == 64


@pytest.fixture
def originals(trained):
    """Small photographs as PNG files, list and encoded LMDB: (list file, LMDB, images (H, W, 3) BGR, labels)."""
    images, labels = images_of(13, 4, side=12)
    images = [np.ascontiguousarray(image.transpose(1, 2, 0)) for image in images]
    (trained / "photos").mkdir()
    for row, image in enumerate(images):
        cv2.imwrite(f"photos/{row:02d}.png", image)
    (trained / "photos.txt").write_text("".join(f"photos/{row:02d}.png {label}\n" for row, label in enumerate(labels)))
    write_lmdb(trained / "photos_lmdb", [image.transpose(2, 0, 1) for image in images], labels, encoded=True)
    return "photos.txt", "photos_lmdb", images, labels


def test_authors_protocol_equals_a_slow_account_of_it(tiny_run, originals, call):
    _, database, images, labels = originals
    assert extract(call, source=("--lmdb", database), protocol="authors")[0] == 0
    net = caffe.Net("run/deploy.prototxt", "run/final.caffemodel", caffe.TEST)
    found = read("features/test")
    for row, image in enumerate(images):
        net.blobs["data"].data[...] = authors_slowly(image, tiny_run.mean, CROP, SCALE)
        net.forward()
        assert np.allclose(found["latent"][row], net.blobs["fc8_kevin_encode"].data[0], atol=1e-5)
        assert np.allclose(found["fc7"][row], net.blobs["fc7"].data[0], atol=1e-4)
    assert (found["labels"] == labels).all()
    assert extract(call, source=("--lmdb", database), out="features/caffe")[0] == 0
    assert np.abs(found["latent"] - read("features/caffe")["latent"]).max() > 1e-3  # the protocols do differ


@pytest.mark.parametrize("protocol", ["authors", "caffe"])
def test_images_equal_a_database_of_the_same_images(originals, call, protocol):
    listed, database, _, labels = originals
    for out, source in (("a", ("--images", listed)), ("b", ("--lmdb", database)), ("c", ("--images", "photos"))):
        assert extract(call, source=source, out=out, protocol=protocol)[0] == 0
    assert_equal("a", "b")
    assert_equal("a", "c", ("latent", "fc7", "predictions", "thumbs"))
    assert (read("c")["labels"] == -1).all()
    assert (read("a")["labels"] == labels).all()
    with open("a/ids.txt") as ids:
        assert ids.read().split() == [f"photos/{row:02d}.png" for row in range(13)]


def test_encoded_entries_equal_raw_ones(trained, call):
    write_lmdb(trained / "png_lmdb", *images_of(TEST_IMAGES, 2), encoded=True)
    assert extract(call, out="raw")[0] == 0
    assert extract(call, source=("--lmdb", "png_lmdb"), out="png")[0] == 0
    assert_equal("raw", "png")


@pytest.mark.parametrize("batch", [1, 7, 50, 64])
def test_no_row_is_lost_or_doubled(trained, call, batch):
    assert extract(call)[0] == 0
    assert extract(call, "--batch", batch, out="other")[0] == 0
    one, other = read("features/test"), read("other")
    assert len(other["latent"]) == TEST_IMAGES
    assert (one["labels"] == other["labels"]).all()
    assert np.allclose(one["latent"], other["latent"], atol=1e-6)
    assert np.allclose(one["fc7"], other["fc7"], atol=1e-5)


STOP_AT = """
import os, signal, sys
sys.path.insert(0, {python!r})
import extract
from features import feature_files
feature_files.CHECKPOINT_S = 0
append = feature_files.FeatureFiles.append
def stopping(self, **values):
    append(self, **values)
    if self.rows == {row}:
        self.checkpointed = float("inf")  # the rows of the last batches have not been made to last
    if self.rows > {row} + 8:
        os.kill(os.getpid(), signal.{signal})
feature_files.FeatureFiles.append = stopping
sys.exit(extract.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number, status, words", [("SIGKILL", 1, "killed"), ("SIGINT", 130, "interrupted. The same "
                                                                                             "command goes on")])
def test_interrupted_it_goes_on(trained, call, number, status, words):
    assert extract(call, out="whole")[0] == 0
    code = STOP_AT.format(python=os.path.join(REPO, "python"), row=24, signal=number)
    stopped = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            "--run",
            "run",
            "--lmdb",
            "test_lmdb",
            "--out",
            "features/test",
            "--protocol",
            "caffe",
            "--gpu",
            "none",
        ],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert stopped.returncode == status
    assert words in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert not os.path.exists("features/test")
    with open("features/test.partial/progress.json") as progress:
        assert json.load(progress)["rows"] == (24 if number == "SIGKILL" else 40)
    said = extract(call)[1]
    assert f"{24 if number == 'SIGKILL' else 40}/50" in said
    assert_equal("features/test", "whole")


def test_what_is_left_of_another_extraction_is_not_gone_on_with(trained, call):
    code = STOP_AT.format(python=os.path.join(REPO, "python"), row=24, signal="SIGKILL")
    subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            "--run",
            "run",
            "--lmdb",
            "train_lmdb",
            "--out",
            "features/test",
            "--protocol",
            "caffe",
            "--gpu",
            "none",
        ],
        capture_output=True,
        timeout=600,
    )
    assert os.path.exists("features/test.partial/progress.json")
    assert extract(call)[0] == 0
    assert extract(call, out="whole")[0] == 0
    assert_equal("features/test", "whole")


def test_a_cached_result_is_kept_only_for_the_same_things(trained, call):
    assert "kept" not in extract(call)[1]
    made = os.stat("features/test/latent.npy").st_mtime_ns
    status, said = extract(call)
    assert status == 0
    assert "kept, made from the same" in said
    assert os.stat("features/test/latent.npy").st_mtime_ns == made
    shutil.copytree("run", "elsewhere")  # the same files at another place are the same
    assert "kept" in extract(call, run=("--run", "elsewhere"))[1]
    shutil.copy("mean.binaryproto", "mean2.binaryproto")
    assert "kept" in extract(call, "--mean", "mean2.binaryproto")[1]


@pytest.mark.parametrize("what", ["weights", "net", "blob", "protocol", "mean", "scale", "data"])
def test_a_cached_result_of_something_else_is_made_anew(trained, call, what):
    assert extract(call)[0] == 0
    options, source, protocol = [], ("--lmdb", "test_lmdb"), "caffe"
    if what == "weights":
        options = ["--weights", "run/snapshots/iter_50.caffemodel"]
    elif what == "net":
        change(trained / "run/deploy.prototxt", 'name: "tiny"', 'name: "other"')
    elif what == "blob":
        options = ["--feature-blob", "fc6"]
    elif what == "protocol":
        protocol = "authors"
    elif what == "mean":
        np.save("mean.npy", np.zeros((3, SIDE, SIDE), np.float32))
        options = ["--mean", "mean.npy"]
    elif what == "scale":
        options = ["--scale", 0.01]
    else:
        source = ("--lmdb", "train_lmdb")
    status, said = extract(call, *options, source=source, protocol=protocol)
    assert status == 0
    assert "kept" not in said
    assert "kept" in extract(call, *options, source=source, protocol=protocol)[1]
    assert not os.path.exists("features/test.old")


def test_a_net_without_mean_image_gets_the_crop_of_its_test_phase(trained, call):
    change(trained / "run/train_val.prototxt", 'mean_file: "mean.binaryproto"', "")
    np.save("zero.npy", np.zeros((3, SIDE, SIDE), np.float32))
    assert extract(call, out="none")[0] == 0
    assert extract(call, "--mean", "zero.npy", out="zero")[0] == 0
    assert_equal("none", "zero")


def test_features_of_a_net_without_latent_layer(trained, call):
    status, said = extract(call, "--latent-blob", "none")
    assert status == 0
    assert sorted(os.listdir("features/test")) == ["fc7.npy", "ids.txt", "labels.npy", "meta.json", "thumbs.npy"]


def drop_layer(model, name):
    net = caffe_pb2.NetParameter.FromString(model.read_bytes())
    kept = [layer for layer in net.layer if layer.name != name]
    assert len(kept) == len(net.layer) - 1
    del net.layer[:]
    net.layer.extend(kept)
    model.write_bytes(net.SerializeToString())


def test_weights_that_lack_a_layer(trained, call):
    shutil.copyfile("run/final.caffemodel", "own.caffemodel")
    drop_layer(trained / "own.caffemodel", "fc8_pascal")  # only the classes are lost with it
    assert extract(call, "--weights", "own.caffemodel")[0] == 0
    assert not os.path.exists("features/test/predictions.npy")
    drop_layer(trained / "own.caffemodel", "fc6")
    status, said = extract(call, "--weights", "own.caffemodel", out="other")
    assert status == 1
    assert "own.caffemodel has no weights for layer fc6 of run/deploy.prototxt" in said
    assert not os.path.exists("other")


@pytest.mark.parametrize("options, words", [
    (["--latent-blob", "fc9"], "has no blob 'fc9' (--latent-blob). It has: data, conv1"),
    (["--latent-blob", "fc8_kevin"], "latent activations lie in 0..1. Name the blob behind the Sigmoid"),
    (["--feature-blob", "fc8_kevin"], "blob fc8_kevin goes down to"),
    (["--net", "train_val.prototxt"], "extraction takes a deploy net"),
    (["--net", "gone.prototxt"], "gone.prototxt: no such file"),
    (["--mean", "gone.npy"], "gone.npy does not exist"),
    (["--mean", "solver.prototxt"], "solver.prototxt is not a mean image"),
    (["--gpu", "zero"], "give auto, none, or indices"),
])
def test_options_that_cannot_be(trained, call, options, words):
    status, said = extract(call, *options)
    assert status == 1
    assert words in said
    assert not os.path.exists("features/test")


def test_fc7_before_its_relu(trained, call):
    text = DEPLOY.replace('layer { name: "relu7" type: "ReLU" bottom: "fc7" top: "fc7" }\n', "")
    assert text != DEPLOY
    (trained / "no_relu.prototxt").write_text(text)
    status, said = extract(call, "--net", "no_relu.prototxt")
    assert status == 1
    assert "taken before its ReLU" in said


def test_weights_with_nan(trained, call):
    net = caffe_pb2.NetParameter.FromString((trained / "run/final.caffemodel").read_bytes())
    net.layer[[layer.name for layer in net.layer].index("fc8_kevin")].blobs[0].data[0] = float("nan")
    (trained / "nan.caffemodel").write_bytes(net.SerializeToString())
    status, said = extract(call, "--weights", "nan.caffemodel")
    assert status == 1
    assert "nan.caffemodel: layer fc8_kevin has weights that are not finite" in said


def test_unreadable_and_missing_images(originals, call, trained):
    (trained / "photos/05.png").write_bytes(b"\x89PNG no more")
    status, said = extract(call, source=("--images", "photos"), protocol="authors")
    assert status == 1
    assert "photos/05.png is not an image that OpenCV can read, or cut short" in said
    assert not os.path.exists("features/test")
    (trained / "photos/05.png").unlink()
    status, said = extract(call, source=("--images", "photos.txt"), protocol="authors")
    assert status == 1
    assert "photos/05.png" in said
    (trained / "photos.txt").write_text("photos/00.png 1\nphotos/01.png one\n")
    status, said = extract(call, source=("--images", "photos.txt"), protocol="authors")
    assert status == 1
    assert "photos.txt, line 2: expected `path label`" in said
    status, said = extract(call, source=("--images", "snapshots"), protocol="authors")
    assert status == 1
    assert "snapshots" in said


def test_broken_databases(trained, call):
    status, said = extract(call, source=("--lmdb", "gone_lmdb"))
    assert status == 1
    assert "gone_lmdb is no LMDB directory" in said
    images, labels = images_of(9, 1)
    write_lmdb(trained / "bad_lmdb", images, labels, encoded=True)
    with lmdb.open("bad_lmdb", map_size=1 << 28) as database, database.begin(write=True) as transaction:
        transaction.put(b"%08d" % 4, caffe_pb2.Datum(encoded=True, data=b"nothing").SerializeToString())
    status, said = extract(call, source=("--lmdb", "bad_lmdb"))
    assert status == 1
    assert "bad_lmdb: entry 00000004 is not an image that OpenCV can read" in said
    assert not os.path.exists("features/test")


def test_a_reader_that_is_killed_does_not_leave_the_net_waiting(trained, call, monkeypatch):
    read = LmdbSource.read

    def read_some(self, start=0):
        for row, entry in enumerate(read(self, start)):
            if row == 20:
                os.kill(os.getpid(), signal.SIGKILL)
            yield entry
    monkeypatch.setattr(LmdbSource, "read", read_some)
    status, said = extract(call)
    assert status == 1
    assert "the reader of test_lmdb was killed" in said


def test_a_folder_that_holds_something_else_is_left_alone(trained, call):
    status, said = extract(call, out="run")
    assert status == 1
    assert "the output run holds the input run/" in said
    assert os.path.exists("run/final.caffemodel")
    os.mkdir("mine")
    Path("mine/letter.txt").write_text("dear")
    status, said = extract(call, out="mine")
    assert status == 1
    assert "mine is there and is no folder of features" in said
    assert os.listdir("mine") == ["letter.txt"]


def test_initial_takes_the_weights_the_run_started_from(trained, call):
    shutil.copy("run/final.caffemodel", "start.caffemodel")
    started_from("start.caffemodel")
    assert extract(call, "--initial", "--latent-blob", "none", out="before")[0] == 0
    assert extract(call, out="after")[0] == 0
    assert json.loads((trained / "before/meta.json").read_text())["weights"]["file"] == "start.caffemodel"
    assert (np.load("before/fc7.npy") == np.load("after/fc7.npy")).all()
    assert not (trained / "before/latent.npy").exists()


@pytest.mark.parametrize("damage, complaint", [
    (lambda: started_from(None), "run started from the fillers"),
    (lambda: os.remove("start.caffemodel"), "start.caffemodel, which is not there"),
    (lambda: shutil.copy("run/deploy.prototxt", "start.caffemodel"), "is not what run started from"),
    (lambda: os.remove("run/run.json"), "run.json is missing"),
])
def test_initial_weights_that_are_not_those_are_refused(trained, call, damage, complaint):
    shutil.copy("run/final.caffemodel", "start.caffemodel")
    started_from("start.caffemodel")
    damage()
    status, said = extract(call, "--initial", "--latent-blob", "none", out="before")
    assert status == 1
    assert complaint in said
    assert not (trained / "before").exists()


def started_from(weights):
    """Puts another start into the run's run.json."""
    with open("run/run.json") as file:
        made = json.load(file)
    made["weights"] = dict(file=weights, sha256=sha256(weights) if weights else None)
    with open("run/run.json", "w") as file:
        json.dump(made, file)


def extract_both(call, *options, run=("--run", "run")):
    """Both splits of the current directory's databases, into both/."""
    return extract(call, *options, source=("--databases", "."), out="both", run=run)


def test_both_splits_in_one_call_are_those_of_two(trained, call):
    status, said = extract_both(call)
    assert status == 0
    for split in ("train", "test"):
        assert extract(call, source=("--lmdb", f"{split}_lmdb"), out=f"alone/{split}")[0] == 0
        assert_equal(f"both/{split}", f"alone/{split}")
        both, alone = (json.loads((trained / out / split / "meta.json").read_text()) for out in ("both", "alone"))
        assert both == alone
    assert said.count("device: CPU") == 1


def test_both_splits_are_kept_one_by_one(trained, call):
    assert extract_both(call)[0] == 0
    shutil.rmtree("both/test")
    status, said = extract_both(call)
    assert status == 0
    assert "both/train: kept" in said
    assert "both/test: 50 rows" in said
    status, said = extract_both(call)
    assert said.count("kept, made from the same") == 2
    assert "device" not in said


def test_originals_are_taken_where_there_are_some(trained, call):
    write_lmdb(trained / "test_originals_lmdb", *images_of(7, 5, side=12), encoded=True)
    assert extract_both(call)[0] == 0
    assert json.loads((trained / "both/test/meta.json").read_text())["data"]["path"] == "test_originals_lmdb"
    assert json.loads((trained / "both/train/meta.json").read_text())["data"]["path"] == "train_lmdb"


def test_a_split_that_is_missing(trained, call):
    shutil.move("test_lmdb", "elsewhere_lmdb")
    status, said = extract_both(call)
    assert status == 1
    assert "--databases . has neither test_lmdb nor test_originals_lmdb" in said
    assert not (trained / "both").exists()


def test_a_mistake_in_the_second_split_is_found_before_the_first_is_extracted(trained, call):
    images, labels = images_of(9, 1)
    write_lmdb(trained / "test_originals_lmdb", images, labels, encoded=True)
    with lmdb.open("test_originals_lmdb", map_size=1 << 28) as database, database.begin(write=True) as transaction:
        transaction.put(b"%08d" % 4, caffe_pb2.Datum(encoded=True, data=b"nothing").SerializeToString())
    status, said = extract_both(call)
    assert status == 1
    assert "test_originals_lmdb: entry 00000004 is not an image that OpenCV can read" in said
    assert not (trained / "both/train").exists()
    assert not (trained / "both/test").exists()


def test_both_splits_of_a_model_without_a_run(trained, call):
    status, said = extract_both(call, "--net", "run/deploy.prototxt", "--weights", "run/final.caffemodel",
                                "--mean", "mean.binaryproto", "--scale", SCALE, run=())
    assert status == 0, said
    assert (trained / "both/caffe.log").exists()
    assert extract(call)[0] == 0
    assert_equal("both/test", "features/test")


def test_images_come_from_one_place(trained, call):
    status, said = extract(call, "--databases", ".")
    assert status == 2
    assert "not allowed with argument" in said
