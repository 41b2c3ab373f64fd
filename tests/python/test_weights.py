"""Weight files: what of them a net takes, and what is wrong with them, told before Caffe aborts."""
import os
from pathlib import Path

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from caffe_cases import REPO, change, weights_of
from caffe_files.weights import match, read_caffemodel, shapes_agree
from process.errors import DriverError


def model_with(path, layers):
    """A caffemodel of {layer name: [arrays]}."""
    net = caffe_pb2.NetParameter()
    for name, arrays in layers.items():
        layer = net.layer.add(name=name, type="InnerProduct")
        for array in arrays:
            blob = layer.blobs.add(data=array.ravel().tolist())
            blob.shape.dim.extend(array.shape)
    path.write_bytes(net.SerializeToString())
    return path


def train(call, weights, iterations=1):
    return call(
        "train",
        "--solver",
        "solver.prototxt",
        "--run",
        "run",
        "--weights",
        weights,
        "--gpu",
        "none",
        "--iterations",
        iterations,
        "--test-every",
        0,
    )


def test_a_partial_file_says_what_was_loaded(problem, call):
    weights = model_with(
        problem / "some.caffemodel", {"fc8_kevin": [np.full((8, 16), 0.25), np.full(8, 0.5)], "other": [np.ones(3)]}
    )
    change(problem / "solver.prototxt", "base_lr: 0.05", "base_lr: 0")
    status, said = train(call, weights)
    assert status == 0
    assert (
        "some.caffemodel: fc8_kevin; initialised by their fillers: conv1, fc6, fc7, fc8_pascal; "
        "in the file but not in the net: other"
        in said
    )
    trained = weights_of(problem / "run/final.caffemodel")
    assert (trained["fc8_kevin", 0] == 0.25).all()
    assert (trained["fc8_kevin", 1] == 0.5).all()
    assert trained["fc7", 0].std() > 0


def test_no_layer_matches(problem, call):
    status, said = train(call, model_with(problem / "other.caffemodel", {"x1": [np.ones(3)], "x2": [np.ones(3)]}))
    assert status == 1
    assert "none of its layers (x1, x2) is in the net (conv1, fc6, fc7, fc8_kevin, fc8_pascal)" in said
    assert "WEIGHTS=none" in said
    assert not (problem / "run/run.json").exists()


def test_a_shape_that_differs_names_layer_and_both_shapes(problem, call):
    status, said = train(call, model_with(problem / "64.caffemodel", {"fc8_kevin": [np.zeros((64, 16)), np.zeros(64)]}))
    assert status == 1
    assert "layer fc8_kevin has shape (64, 16), the net wants (8, 16)" in said


def test_a_bias_too_many(problem, call):
    status, said = train(call, model_with(problem / "b.caffemodel", {"fc7": [np.zeros((16, 32))]}))
    assert status == 1
    assert "layer fc7 has 1 blobs, the net wants 2" in said


@pytest.mark.parametrize("kept", [0.5, 0.999])
def test_a_file_cut_off(tiny_run, problem, call, kept):
    whole = (tiny_run.run / "final.caffemodel").read_bytes()
    (problem / "cut.caffemodel").write_bytes(whole[:int(kept * len(whole))])
    status, said = train(call, "cut.caffemodel")
    assert status == 1
    assert "cut.caffemodel is not a caffemodel, or cut off" in said
    assert "checksum" in said


@pytest.mark.parametrize("content, words", [
    (b"\n<!DOCTYPE html><html><body>404</body></html>", "is a web page"), (b"<HTML>", "is a web page"),
    (b"", "holds no layer with weights"), (b"just some text", "is not a caffemodel")])
def test_files_that_are_something_else(tmp_path, content, words):
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(DriverError, match=words):
        read_caffemodel(tmp_path / "model")


def test_no_file(problem, call):
    status, said = train(call, "nowhere.caffemodel")
    assert status == 1
    assert "nowhere.caffemodel: no such file" in said
    assert not (problem / "run").exists()


def test_old_files_with_four_dimensions_load(problem, call):
    """The released models are V1 files: `layers`, every blob with num, channels, height, width."""
    net = caffe_pb2.NetParameter()
    layer = net.layers.add(name="fc8_kevin", type=caffe_pb2.V1LayerParameter.INNER_PRODUCT)
    layer.blobs.add(num=1, channels=1, height=8, width=16, data=[0.25] * 128)
    layer.blobs.add(num=1, channels=1, height=1, width=8, data=[0.5] * 8)
    (problem / "old.caffemodel").write_bytes(net.SerializeToString())
    change(problem / "solver.prototxt", "base_lr: 0.05", "base_lr: 0")
    status, said = train(call, "old.caffemodel")
    assert status == 0
    assert "loaded from old.caffemodel: fc8_kevin;" in said
    assert (weights_of(problem / "run/final.caffemodel")["fc8_kevin", 0] == 0.25).all()


@pytest.mark.parametrize(
    "stored, wanted, agree",
    [
        ((1, 1, 48, 4096), (48, 4096), True),
        ((1, 1, 1, 48), (48,), True),
        ((48, 4096), (48, 4096), True),
        ((1, 1, 4096, 48), (48, 4096), False),
        ((2, 1, 48, 4096), (48, 4096), False),
        ((96, 3, 11, 11), (96, 3, 11, 11), True),
    ],
)
def test_shapes(stored, wanted, agree):
    assert shapes_agree(stored, wanted) is agree


def test_the_imagenet_convolutions_load_into_the_cifar10_net(real_data):
    net = caffe.Net(os.path.join(REPO, "prototxt/cifar10_caffenet_48/deploy.prototxt"), caffe.TEST)
    path = Path(real_data, "alexnet_conv1-5_quantised.caffemodel")
    found = match(path, net)
    assert found.loaded == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert found.unused == []
    assert found.initialised == ["fc6", "fc7", "fc8_kevin", "fc8_pascal"]
    net.copy_from(str(path))
    assert net.params["conv1"][0].data.std() > 0.01
    assert not net.params["fc8_kevin"][0].data.any()
