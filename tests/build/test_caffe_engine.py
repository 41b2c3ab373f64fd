"""The CPU engine of the Caffe built here: layer by layer beside Caffe's own, and what it promises.

The same bits for any number of threads, and processes that may fork.
"""
from pathlib import Path

import caffe
import numpy as np
import pytest

from engine_cases import XAVIER, assert_close, both, layer_text, net_of, passes, python, trained

REPO = Path(__file__).resolve().parents[2]
BUILT = getattr(caffe, "has_onednn", lambda: False)()
pytestmark = pytest.mark.skipif(not BUILT, reason="Caffe was built without oneDNN")

SHAPES_PER_LAYER = 25


def random_convolution(rng):
    """(layer, shape): odd sizes, one channel, one image, groups, stride, pad, dilation, with and without bias."""
    group = int(rng.choice([1, 1, 2, 3]))
    channels = group * int(rng.choice([1, 2, 5, 8, 16]))
    outputs = group * int(rng.choice([1, 3, 8, 16, 17]))
    kernel, stride = int(rng.choice([1, 2, 3, 5])), int(rng.choice([1, 2, 4]))
    pad, dilation = int(rng.choice([0, 1, 2])), int(rng.choice([1, 1, 2]))
    reach = dilation * (kernel - 1) + 1
    height, width = (int(rng.integers(reach, reach + 12)) for _ in range(2))
    options = (f"num_output: {outputs} kernel_size: {kernel} stride: {stride} pad: {pad} dilation: {dilation} "
               f"group: {group} bias_term: {rng.choice(['true', 'false'])}")
    shape = int(rng.choice([1, 2, 7, 9, 19])), channels, height, width
    return layer_text("Convolution", "convolution_param", options), shape


def random_inner_product(rng):
    options = (f"num_output: {rng.choice([1, 3, 10, 48, 129])} transpose: {rng.choice(['true', 'false'])} "
               f"bias_term: {rng.choice(['true', 'false'])}")
    shape = int(rng.choice([1, 2, 7, 32])), int(rng.integers(1, 20)), *rng.integers(1, 9, 2)
    return layer_text("InnerProduct", "inner_product_param", options), shape


def random_pooling(rng):
    kernel = int(rng.choice([1, 2, 3, 4, 7]))
    window = f"kernel_size: {kernel} stride: {rng.choice([1, 2, 3])} pad: {rng.integers(0, kernel)}"
    if rng.random() < 0.15:
        window = "global_pooling: true"
    options = f"pool: {rng.choice(['MAX', 'AVE'])} {window} round_mode: {rng.choice(['CEIL', 'FLOOR'])}"
    shape = int(rng.choice([1, 3, 8])), int(rng.choice([1, 3, 16])), *rng.integers(kernel, kernel + 20, 2)
    return layer_text("Pooling", "pooling_param", options), shape


def random_lrn(rng):
    region = rng.choice(["ACROSS_CHANNELS"] * 4 + ["WITHIN_CHANNEL"])
    options = (f"local_size: {rng.choice([1, 3, 5, 9])} alpha: {rng.choice([1e-4, 0.1, 1])} "
               f"beta: {rng.choice([0.75, 0.75, 0.5])} k: {rng.choice([1, 2])} norm_region: {region}")
    shape = int(rng.choice([1, 3, 8])), int(rng.choice([1, 2, 7, 32])), *rng.integers(1, 20, 2)
    return layer_text("LRN", "lrn_param", options), shape


def of_any_shape(rng):
    return tuple(int(side) for side in rng.integers(1, 40, 4))


def random_relu(rng):
    return layer_text("ReLU", "relu_param", f"negative_slope: {rng.choice([0, 0.1])}"), of_any_shape(rng)


def random_sigmoid(rng):
    return layer_text("Sigmoid", "sigmoid_param", ""), of_any_shape(rng)


def random_dropout(rng):
    return layer_text("Dropout", "dropout_param", f"dropout_ratio: {rng.choice([0.25, 0.5])}"), of_any_shape(rng)


@pytest.mark.parametrize("seed", range(SHAPES_PER_LAYER))
@pytest.mark.parametrize("kind", [random_convolution, random_inner_product, random_lrn], ids=lambda kind: kind.__name__)
def test_layer_agrees_with_caffes_own_to_rounding(tmp_path, kind, seed):
    layer, shape = kind(np.random.default_rng(seed))
    stock, ours = both(tmp_path, layer, shape, seed)
    assert_close(stock, ours, f"{layer} on {shape}")


@pytest.mark.parametrize("seed", range(SHAPES_PER_LAYER))
@pytest.mark.parametrize("kind", [random_pooling, random_relu, random_sigmoid, random_dropout],
                         ids=lambda kind: kind.__name__)
def test_layer_gives_caffes_own_bits(tmp_path, kind, seed):
    layer, shape = kind(np.random.default_rng(seed))
    stock, ours = both(tmp_path, layer, shape, seed)
    for name, wanted in stock.items():
        np.testing.assert_array_equal(ours[name], wanted, f"{name}: {layer} on {shape}")


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize("engine", ["CAFFE", "ONEDNN"])
def test_windows_beyond_the_image_are_left_out(tmp_path, engine, pool):
    """Stock Caffe had a sixth window at 15, and wrote its gradient in front of the blob."""
    layer = layer_text("Pooling", "pooling_param", f"pool: {pool} kernel_size: 1 stride: 3")
    values = np.random.default_rng(0).normal(0, 1, (2, 3, 14, 14)).astype(np.float32)
    results = passes(net_of(tmp_path, layer, values.shape, engine), values, 0)
    np.testing.assert_array_equal(results["top"], values[:, :, ::3, ::3])


WINDOWS = ["kernel_size: 3 stride: 2", "kernel_size: 2 stride: 1 pad: 1", "kernel_size: 5 stride: 3 pad: 2",
           "kernel_h: 1 kernel_w: 4 stride: 2", "global_pooling: true"]


@pytest.mark.parametrize("window", WINDOWS)
def test_maximum_of_equal_values_is_the_first(tmp_path, window):
    layer = layer_text("Pooling", "pooling_param", window)
    values = np.random.default_rng(0).integers(0, 2, (4, 3, 15, 15)).astype(np.float32)
    stock, ours = (passes(net_of(tmp_path, layer, values.shape, engine), values, 0) for engine in ("CAFFE", "ONEDNN"))
    np.testing.assert_array_equal(ours["bottom gradient"], stock["bottom gradient"])


def assert_same_values(ours, stock):
    """NaN where NaN is wanted, and zeros of the same sign."""
    np.testing.assert_array_equal(ours, stock)
    numbers = ~np.isnan(stock)
    np.testing.assert_array_equal(np.signbit(ours[numbers]), np.signbit(stock[numbers]))


SPECIAL = np.array([np.nan, np.inf, -np.inf, np.finfo(np.float32).min, 0.0, -0.0, 1.0], np.float32)
LAYERS_OF_SPECIALS = [layer_text("Pooling", "pooling_param", window) for window in WINDOWS] + \
                     [layer_text("ReLU", "relu_param", f"negative_slope: {slope}") for slope in (0, 0.1)]


@pytest.mark.parametrize("layer", LAYERS_OF_SPECIALS)
def test_nan_infinities_and_signed_zeros_end_as_in_caffes_own(tmp_path, layer):
    """Pooling forward only: for a window without a maximum Caffe's own writes a gradient in front of the blob."""
    rng = np.random.default_rng(0)
    values = rng.choice(SPECIAL, (2, 3, 17, 19))
    top_diff = rng.normal(0, 1, values.shape).astype(np.float32)
    tops, gradients = [], []
    for engine in ("CAFFE", "ONEDNN"):
        net = net_of(tmp_path, layer, values.shape, engine)
        net.blobs["data"].data[...] = values
        tops.append(net.forward()["top"].copy())
        if "ReLU" in layer:
            net.blobs["top"].diff[...] = top_diff
            net.backward()
            gradients.append(net.blobs["data"].diff.copy())
    assert_same_values(tops[1], tops[0])
    if gradients:
        assert_same_values(gradients[1], gradients[0])


TWO_LAYERS = """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 3 engine: ENGINE } }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "top" inner_product_param { num_output: 5 engine: ENGINE } }
"""


def test_another_number_of_images_reaches_every_layer(tmp_path):
    values = np.random.default_rng(0).normal(size=(9, 3, 8, 8)).astype(np.float32)
    results = []
    for engine in ("CAFFE", "ONEDNN"):
        net = net_of(tmp_path, TWO_LAYERS, (4, 3, 8, 8), engine)
        passes(net, values[:4], 1)
        net.blobs["data"].reshape(*values.shape)
        results.append(passes(net, values, 1))
    assert_close(*results, "9 images after 4")


def test_frozen_weights_give_the_same_bits_and_thawed_ones_follow_changes(tmp_path):
    values = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    net = net_of(tmp_path, TWO_LAYERS, values.shape, "ONEDNN")
    before = passes(net, values, 1)["top"]
    caffe.freeze_weights()
    try:
        for _ in range(2):
            np.testing.assert_array_equal(net.forward()["top"], before)
        caffe.thaw_weights()
        net.params["conv"][0].data[...] *= 2
        changed = net.forward()["top"].copy()
        assert np.abs(changed - before).max() > 0
        caffe.freeze_weights()  # another promise: what was kept for the first does not count
        np.testing.assert_array_equal(net.forward()["top"], changed)
    finally:
        caffe.thaw_weights()


NET = f"""layer {{ name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param {{ shape {{ dim: 13 dim: 3 dim: 35 dim: 35 }} shape {{ dim: 13 }}
    data_filler {{ type: "gaussian" std: 40 }} data_filler {{ type: "constant" value: 2 }} }} }}
layer {{ name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param {{ num_output: 24 kernel_size: 7 stride: 2 {XAVIER} }} }}
layer {{ name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }}
layer {{ name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param {{ kernel_size: 3 stride: 2 }} }}
layer {{ name: "norm1" type: "LRN" bottom: "pool1" top: "norm1" lrn_param {{ local_size: 5 alpha: 0.0001 }} }}
layer {{ name: "conv2" type: "Convolution" bottom: "norm1" top: "conv2"
  convolution_param {{ num_output: 64 kernel_size: 3 group: 2 pad: 1 {XAVIER} }} }}
layer {{ name: "conv3" type: "Convolution" bottom: "conv2" top: "conv3"
  convolution_param {{ num_output: 32 kernel_size: 3 group: 2 pad: 1 {XAVIER} }} }}
layer {{ name: "fc6" type: "InnerProduct" bottom: "conv3" top: "fc6"
  inner_product_param {{ num_output: 700 {XAVIER} }} }}
layer {{ name: "drop6" type: "Dropout" bottom: "fc6" top: "fc6" }}
layer {{ name: "fc7" type: "InnerProduct" bottom: "fc6" top: "fc7" inner_product_param {{ num_output: 48 {XAVIER} }} }}
layer {{ name: "code" type: "Sigmoid" bottom: "fc7" top: "code" }}
layer {{ name: "fc8" type: "InnerProduct" bottom: "code" top: "fc8" inner_product_param {{ num_output: 5 {XAVIER} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc8" bottom: "label" top: "loss" }}
"""


@pytest.mark.parametrize("isa", ["SSE41", "AVX2", "ALL"])
def test_the_number_of_threads_changes_no_bit(tmp_path, isa):
    """conv2 and conv3 are grouped: with AVX2 the one is built on GEMM, the other is not."""
    results = {trained(tmp_path, NET, CAFFE_ENGINE="onednn", OMP_NUM_THREADS=str(threads), ONEDNN_MAX_CPU_ISA=isa)
               for threads in (1, 2, 3, 5)}
    assert len(results) == 1
    assert results.pop()[0] == "onednn"


def test_both_engines_train_and_are_not_the_same(tmp_path):
    """Otherwise the tests above would compare an engine with itself."""
    stock, ours = (trained(tmp_path, NET, CAFFE_ENGINE=engine) for engine in ("caffe", "onednn"))
    assert stock[0] == "caffe"
    assert stock[1] != ours[1]


def test_an_unknown_engine_ends_with_its_name(tmp_path):
    done = python(tmp_path, NET, "import caffe; caffe.Net('net.prototxt', caffe.TRAIN)", CAFFE_ENGINE="fast")
    assert done.returncode != 0
    assert "CAFFE_ENGINE=fast: no such engine; caffe or onednn" in done.stderr


FORKS = """
import os, signal, caffe
net = caffe.Net("net.prototxt", caffe.TRAIN)
net.forward(); net.backward()
child = os.fork()
if child == 0:
    signal.alarm(120)  # a child that waits for its parent's threads would wait for ever
    net.forward(); net.backward()
    os._exit(0)
net.forward(); net.backward()
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_process_that_has_computed_may_fork(tmp_path):
    done = python(tmp_path, NET, FORKS, OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr


def test_the_committed_nets_name_no_engine():
    """They are to be computed by whichever the user has."""
    naming = [path for path in (REPO / "prototxt").rglob("*.prototxt") if "engine:" in path.read_text()]
    assert naming == []
