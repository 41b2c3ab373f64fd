"""The comparison with a released model, from files to page: a stand-in with our weights in the authors' format."""
import json

import numpy as np
import pytest
from caffe.proto import caffe_pb2

import compare
from old_format_cases import deploy, old_weights


@pytest.fixture
def features(tiny_run, tmp_path, monkeypatch, call):
    """extract(name, net, weights) -> folder of the features of both splits."""
    monkeypatch.chdir(tiny_run.folder)

    def extract(name, net, weights):
        for split in ("train", "test"):
            status, said = call("extract", "--net", net, "--weights", weights, "--lmdb", f"{split}_lmdb",
                                "--mean", "mean.binaryproto", "--scale", "0.0078125", "--protocol", "caffe",
                                "--gpu", "none", "--out", tmp_path / name / "features" / split)
            assert status == 0, said
        return tmp_path / name / "features"
    return extract


def test_our_own_weights_in_the_authors_format_agree_with_us_in_everything(tiny_run, tmp_path, features):
    content = (tiny_run.run / "final.caffemodel").read_bytes()
    (tmp_path / compare.RELEASED_FILE).write_bytes(old_weights(content, deploy("v1")))
    (tmp_path / "old.prototxt").write_text(deploy("v1"))
    ours = features("ours", "run/deploy.prototxt", "run/final.caffemodel")
    released = features("released", tmp_path / "old.prototxt", tmp_path / compare.RELEASED_FILE)
    assert compare.main(["--features", str(ours), str(released), "--out", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out/compare.json").read_text())
    one, other = result["models"]
    assert (one["name"], other["name"], one["bits"]) == ("ours", "released", 8)
    assert one["map"] == other["map"]
    assert one["map"] > 0.4
    accuracy = np.mean(np.load(ours / "test/predictions.npy") == np.load(ours / "test/labels.npy"))
    assert one["accuracy"] == accuracy
    assert other["accuracy"] == accuracy
    pair = result["pairs"][0]
    assert set(pair["overlap"].values()) == {1.0}
    assert pair["rank_correlation"] == pytest.approx(1)
    assert pair["labels"]["equal"] == 1
    assert pair["ap"]["equal"] == 50
    assert pair["second_better"] == []
    assert pair["first_better"] == []
    assert result["published"]["is_released_file"]
    assert "not the released file" not in (tmp_path / "out/compare.html").read_text()


def test_another_model_of_another_format_differs(tiny_run, tmp_path, features):
    """The same net made blind, so that all codes are equal: the comparison must see it."""
    old = caffe_pb2.NetParameter.FromString(old_weights((tiny_run.run / "final.caffemodel").read_bytes(), deploy("v1")))
    for layer in old.layers:
        if layer.name == "conv1":
            layer.blobs[0].data[:] = [0.0] * len(layer.blobs[0].data)
    (tmp_path / "other.caffemodel").write_bytes(old.SerializeToString())
    (tmp_path / "old.prototxt").write_text(deploy("v1"))
    ours = features("ours", "run/deploy.prototxt", "run/final.caffemodel")
    other = features("other", tmp_path / "old.prototxt", tmp_path / "other.caffemodel")
    assert compare.main(["--features", str(ours), str(other), "--out", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out/compare.json").read_text())
    assert result["models"][1]["map"] < result["models"][0]["map"] - 0.05 and "published" not in result
    assert result["pairs"][0]["overlap"]["10"] < 0.9 and result["pairs"][0]["rank_correlation"] < 0.9
