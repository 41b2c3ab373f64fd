"""Nets and weights of older Caffe formats: read as they are, upgraded, and bit for bit the same features either way."""
import hashlib

import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_cases import BITS, change, weights_of
from caffe_files.weights import read_caffemodel, stored_layers
from old_format_cases import V0_TRAIN, V1_TRAIN, deploy, old_weights


@pytest.fixture
def folder(tiny_run, tmp_path, monkeypatch):
    """A folder with the trained small net's weights in three formats and deploy nets in three."""
    content = (tiny_run.run / "final.caffemodel").read_bytes()
    (tmp_path / "today.caffemodel").write_bytes(content)
    (tmp_path / "today.prototxt").write_text((tiny_run.run / "deploy.prototxt").read_text())
    for form in ("v0", "v1"):
        (tmp_path / f"{form}.caffemodel").write_bytes(old_weights(content, deploy(form)))
        (tmp_path / f"{form}.prototxt").write_text(deploy(form))
        (tmp_path / f"{form}_codes.prototxt").write_text(deploy(form, classifier=False))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def features(call, tiny_run, net, weights, out):
    """{name: array} of the test images by a deploy net and a weight file."""
    status, said = call(
        "extract",
        "--net",
        net,
        "--weights",
        weights,
        "--lmdb",
        tiny_run.folder / "test_lmdb",
        "--out",
        out,
        "--mean",
        tiny_run.folder / "mean.binaryproto",
        "--scale",
        "0.0078125",
        "--protocol",
        "caffe",
        "--gpu",
        "none",
    )
    assert status == 0, said
    return {path.stem: np.load(path) for path in out.glob("*.npy")}


@pytest.fixture
def reference(folder, tiny_run, call):
    result = features(call, tiny_run, folder / "today.prototxt", folder / "today.caffemodel", folder / "reference")
    assert 0.01 < result["latent"].std()
    assert len(np.unique(result["predictions"])) > 1
    return result


@pytest.mark.parametrize(
    "net, weights",
    [("v0", "v0"), ("v1", "v1"), ("v1", "today"), ("today", "v1"), ("v0_codes", "v1"), ("v1_codes", "v1")],
)
def test_old_files_give_the_same_features_bit_for_bit(folder, tiny_run, call, reference, net, weights):
    found = features(call, tiny_run, folder / f"{net}.prototxt", folder / f"{weights}.caffemodel", folder / "out")
    assert found.keys() == reference.keys() - ({"predictions"} if "codes" in net else set())
    assert all((found[name] == reference[name]).all() for name in found)


def test_weights_without_the_classifier_give_codes_and_no_predictions(folder, tiny_run, call, reference):
    (folder / "codes.caffemodel").write_bytes(
        old_weights((folder / "today.caffemodel").read_bytes(), deploy("v1", classifier=False))
    )
    found = features(call, tiny_run, folder / "v1.prototxt", folder / "codes.caffemodel", folder / "out")
    assert "predictions" not in found
    assert (found["latent"] == reference["latent"]).all()


@pytest.mark.parametrize("form", ["v0", "v1"])
def test_upgraded_files_are_of_today_and_give_the_same_features(folder, tiny_run, call, reference, form):
    for ending in ("prototxt", "caffemodel"):
        status, said = call("upgrade", f"{form}.{ending}", "--out", f"new/{form}.{ending}")
        assert status == 0
        assert f"in Caffe's {form.upper()} format; upgraded to new/{form}.{ending}" in said
    net = read_caffemodel(folder / f"new/{form}.caffemodel")
    assert not net.layers
    assert not any(blob.HasField("num") for layer in net.layer for blob in layer.blobs)
    assert stored_layers(net)["fc8_kevin"] == [(BITS, 16), (BITS,)]
    assert stored_layers(net)["conv1"] == [(8, 3, 5, 5), (8,)]
    new, today = weights_of(folder / f"new/{form}.caffemodel"), weights_of(folder / "today.caffemodel")
    assert new.keys() == today.keys()
    assert all((new[name] == today[name]).all() for name in today)
    text = (folder / f"new/{form}.prototxt").read_text()
    assert "layers" not in text
    assert "input_dim" not in text
    found = features(call, tiny_run, folder / f"new/{form}.prototxt", folder / f"new/{form}.caffemodel", folder / "out")
    assert all((found[name] == reference[name]).all() for name in reference)


def test_today_s_files_are_recognised_and_copied(folder, call):
    for name in ("today.prototxt", "today.caffemodel"):
        assert "in today's format; copied to" in call("upgrade", name, "--out", f"copy.{name}")[1]
        assert call("upgrade", f"copy.{name}") == (0, f"copy.{name}: {'net' if 'proto' in name else 'weights'} in "
                                                      "today's format\n")
    first, second = (text_format.Parse((folder / name).read_text(), caffe_pb2.NetParameter()) for name in
                     ("today.prototxt", "copy.today.prototxt"))
    assert first == second


def test_options_that_caffe_ignores_are_left_out_and_listed(folder, call):
    """Those of the authors' training nets: a data layer with a window data layer's options."""
    (folder / "v0_train.prototxt").write_text(V0_TRAIN)
    status, said = call("upgrade", "v0_train.prototxt", "--out", "new.prototxt")
    assert status == 0, said
    assert "without what Caffe ignores (det_context_pad of data, det_crop_mode of data); upgraded to" in said
    assert "window_data_param" not in (folder / "new.prototxt").read_text()


def test_an_old_solver(folder, call):
    (folder / "solver.prototxt").write_text('net: "x" base_lr: 0.1 solver_type: NESTEROV\n')
    assert "solver in the format with solver_type; make upgrade" in call("upgrade", "solver.prototxt")[1]
    assert call("upgrade", "solver.prototxt", "--out", "new.prototxt")[0] == 0
    solver = text_format.Parse((folder / "new.prototxt").read_text(), caffe_pb2.SolverParameter())
    assert (solver.type, solver.HasField("solver_type"), solver.net) == ("Nesterov", False, "x")


@pytest.mark.parametrize("form, text", [("v0", V0_TRAIN), ("v1", V1_TRAIN)])
def test_an_old_training_net_trains(problem, call, form, text):
    """It starts from the same seed as today's net and so reaches the very same weights."""
    runs = {"today": (problem / "train_val.prototxt").read_text(), form: text}
    if form == "v0":  # one data layer for both phases: the test is on the training images then
        change(problem / "solver.prototxt", "test_iter: 7 test_interval: 100", "")
    trained = {}
    for name, content in runs.items():
        (problem / "train_val.prototxt").write_text(content)
        status, said = call(
            "train",
            "--solver",
            "solver.prototxt",
            "--run",
            name,
            "--weights",
            "none",
            "--gpu",
            "none",
            "--iterations",
            20,
            "--test-every",
            10,
        )
        assert status == 0, said
        trained[name] = weights_of(problem / name / "final.caffemodel")
    assert all((trained[form][name] == values).all() for name, values in trained["today"].items())


def test_what_is_no_such_file_is_named(folder, call):
    (folder / "page.caffemodel").write_text("\n<!DOCTYPE html>\n<html><body>Error (404)</body></html>")
    (folder / "words.prototxt").write_text("These are words.\n")
    (folder / "empty.prototxt").write_text("")
    content = (folder / "v1.caffemodel").read_bytes()
    (folder / "cut.caffemodel").write_bytes(content[:len(content) - 100])
    (folder / "unknown.prototxt").write_text('layers { layer { name: "a" type: "magic" } top: "y" }')
    for name, words in (("page.caffemodel", "is a web page"), ("words.prototxt", "is not a solver prototxt"),
                        ("empty.prototxt", "neither a net nor a solver"), ("cut.caffemodel", "or cut off"),
                        ("unknown.prototxt", "magic"), ("nowhere", "No such file")):
        status, said = call("upgrade", name, "--out", "new")
        assert status == 1, said
        assert name in said, said
        assert words in said, said
    assert not (folder / "new").exists()


def test_nothing_is_overwritten(folder, call):
    before = hashlib.sha256((folder / "today.caffemodel").read_bytes()).hexdigest()
    status, said = call("upgrade", "v1.caffemodel", "--out", "today.caffemodel")
    assert status == 1
    assert "today.caffemodel exists" in said
    assert hashlib.sha256((folder / "today.caffemodel").read_bytes()).hexdigest() == before
