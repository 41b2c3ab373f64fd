"""The CPU engine of the Caffe built here (patches 20 to 25), layer by layer beside Caffe's own, and what it promises: the same bits
for any number of threads, and processes that may fork."""
import os
import subprocess
import sys

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_cases import REPO

pytestmark = pytest.mark.skipif(not getattr(caffe, "has_onednn", lambda: False)(), reason="Caffe was built without oneDNN")

SHAPES_PER_LAYER = 25
RELATIVE = 1e-5  # of the largest value


def net_of(tmp_path, layer, shape, engine, tops=1):
    """A net of one layer on a random input of `shape`, computed by `engine`."""
    path = tmp_path / f"{engine}.prototxt"
    dims = " ".join(f"dim: {side}" for side in shape)
    path.write_text(f'force_backward: true\nlayer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {dims} }} }} }}\n'
                    + layer.replace("ENGINE", engine))
    text_format.Parse(path.read_text(), caffe_pb2.NetParameter())
    return caffe.Net(str(path), caffe.TRAIN)


def passes(net, values, seed):
    """{what: array} after a forward and a backward pass with `values` as weights, input and gradient of the top."""
    caffe.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    net.blobs["data"].data[...] = values
    for blobs in net.params.values():
        for blob in blobs:
            blob.data[...] = rng.normal(0, 0.5, blob.data.shape)
            blob.diff[...] = rng.normal(0, 1, blob.diff.shape)  # gradients are added to what is there
    net.forward()
    net.blobs["top"].diff[...] = rng.normal(0, 1, net.blobs["top"].data.shape)
    net.backward()
    results = {"top": net.blobs["top"].data.copy(), "bottom gradient": net.blobs["data"].diff.copy()}
    for blobs in net.params.values():
        for name, blob in zip(("weight gradient", "bias gradient"), blobs):
            results[name] = blob.diff.copy()
    return results


def compare(tmp_path, layer, shape, seed, exact=False):
    values = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
    stock = passes(net_of(tmp_path, layer, shape, "CAFFE"), values, seed)
    ours = passes(net_of(tmp_path, layer, shape, "ONEDNN"), values, seed)
    assert stock.keys() == ours.keys()
    for name, wanted in stock.items():
        if exact:
            np.testing.assert_array_equal(ours[name], wanted, f"{name}: {layer} on {shape}")
        else:
            error, largest = np.abs(ours[name] - wanted).max(), np.abs(wanted).max()
            assert error <= RELATIVE * largest, f"{name} differs by {error:.2g} (largest {largest:.2g}): {layer} on {shape}"


def random_convolution(rng):
    """(layer, shape): odd sizes, one channel, one image, groups, stride, pad, dilation, with and without bias."""
    group = int(rng.choice([1, 1, 2, 3]))
    channels = group * int(rng.choice([1, 2, 5, 8, 16]))
    outputs = group * int(rng.choice([1, 3, 8, 16, 17]))
    kernel, stride, pad, dilation = (int(rng.choice(choices)) for choices in ([1, 2, 3, 5], [1, 2, 4], [0, 1, 2], [1, 1, 2]))
    reach = dilation * (kernel - 1) + 1
    height, width = (int(rng.integers(reach, reach + 12)) for _ in range(2))
    bias = bool(rng.integers(2))
    layer = f"""layer {{ name: "layer" type: "Convolution" bottom: "data" top: "top" convolution_param {{ num_output: {outputs}
  kernel_size: {kernel} stride: {stride} pad: {pad} dilation: {dilation} group: {group} bias_term: {str(bias).lower()} engine: ENGINE }} }}"""
    return layer, (int(rng.choice([1, 2, 7, 9, 19])), channels, height, width)


def random_inner_product(rng):
    transpose, bias = (str(bool(rng.integers(2))).lower() for _ in range(2))
    layer = f"""layer {{ name: "layer" type: "InnerProduct" bottom: "data" top: "top" inner_product_param {{
  num_output: {int(rng.choice([1, 3, 10, 48, 129]))} transpose: {transpose} bias_term: {bias} engine: ENGINE }} }}"""
    return layer, (int(rng.choice([1, 2, 7, 32])), int(rng.integers(1, 20)), *rng.integers(1, 9, 2))


def random_pooling(rng):
    kernel = int(rng.choice([1, 2, 3, 4, 7]))
    pad = int(rng.integers(0, kernel))
    method = rng.choice(["MAX", "AVE"])
    where = "global_pooling: true" if rng.random() < 0.15 else f"kernel_size: {kernel} stride: {int(rng.choice([1, 2, 3]))} pad: {pad}"
    rounding = rng.choice(["CEIL", "FLOOR"])
    layer = f"""layer {{ name: "layer" type: "Pooling" bottom: "data" top: "top" pooling_param {{ pool: {method} {where}
  round_mode: {rounding} engine: ENGINE }} }}"""
    return layer, (int(rng.choice([1, 3, 8])), int(rng.choice([1, 3, 16])), *rng.integers(kernel, kernel + 20, 2))


def random_lrn(rng):
    layer = f"""layer {{ name: "layer" type: "LRN" bottom: "data" top: "top" lrn_param {{ local_size: {int(rng.choice([1, 3, 5, 9]))}
  alpha: {rng.choice([1e-4, 0.1, 1])} beta: {rng.choice([0.75, 0.75, 0.5])} k: {rng.choice([1, 2])}
  norm_region: {rng.choice(['ACROSS_CHANNELS'] * 4 + ['WITHIN_CHANNEL'])} engine: ENGINE }} }}"""
    return layer, (int(rng.choice([1, 3, 8])), int(rng.choice([1, 2, 7, 32])), *rng.integers(1, 20, 2))


def shape_of_any_size(rng):
    return tuple(int(side) for side in rng.integers(1, 40, 4))


def random_relu(rng):
    return f"""layer {{ name: "layer" type: "ReLU" bottom: "data" top: "top" relu_param {{ negative_slope: {rng.choice([0, 0.1])}
  engine: ENGINE }} }}""", shape_of_any_size(rng)


def random_sigmoid(rng):
    return 'layer { name: "layer" type: "Sigmoid" bottom: "data" top: "top" sigmoid_param { engine: ENGINE } }', shape_of_any_size(rng)


def random_dropout(rng):
    return f"""layer {{ name: "layer" type: "Dropout" bottom: "data" top: "top" dropout_param {{ dropout_ratio: {rng.choice([0.25, 0.5])}
  engine: ENGINE }} }}""", shape_of_any_size(rng)


@pytest.mark.parametrize("seed", range(SHAPES_PER_LAYER))
@pytest.mark.parametrize("kind", [random_convolution, random_inner_product, random_lrn], ids=lambda kind: kind.__name__)
def test_layer_agrees_with_caffes_own_to_rounding(tmp_path, kind, seed):
    layer, shape = kind(np.random.default_rng(seed))
    compare(tmp_path, layer, shape, seed)


@pytest.mark.parametrize("seed", range(SHAPES_PER_LAYER))
@pytest.mark.parametrize("kind", [random_pooling, random_relu, random_sigmoid, random_dropout], ids=lambda kind: kind.__name__)
def test_layer_gives_caffes_own_bits(tmp_path, kind, seed):
    layer, shape = kind(np.random.default_rng(seed))
    compare(tmp_path, layer, shape, seed, exact=True)


def test_maximum_of_equal_values_is_the_first(tmp_path):
    layer = 'layer { name: "layer" type: "Pooling" bottom: "data" top: "top" pooling_param { kernel_size: 3 stride: 2 engine: ENGINE } }'
    values = np.random.default_rng(0).integers(0, 2, (4, 3, 15, 15)).astype(np.float32)
    stock = passes(net_of(tmp_path, layer, values.shape, "CAFFE"), values, 0)
    ours = passes(net_of(tmp_path, layer, values.shape, "ONEDNN"), values, 0)
    np.testing.assert_array_equal(ours["bottom gradient"], stock["bottom gradient"])


def test_another_number_of_images_reaches_every_layer(tmp_path):
    layer = """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 8 kernel_size: 3 } }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "top" inner_product_param { num_output: 5 } }"""
    values = np.random.default_rng(0).normal(size=(9, 3, 8, 8)).astype(np.float32)
    nets = {}
    for engine in ("CAFFE", "ONEDNN"):
        engines = layer.replace("kernel_size: 3", f"kernel_size: 3 engine: {engine}").replace("output: 5", f"output: 5 engine: {engine}")
        nets[engine] = net_of(tmp_path, engines, (4, 3, 8, 8), engine)
        passes(nets[engine], values[:4], 1)
        nets[engine].blobs["data"].reshape(*values.shape)
    stock, ours = (passes(nets[engine], values, 1) for engine in ("CAFFE", "ONEDNN"))
    for name, wanted in stock.items():
        np.testing.assert_allclose(ours[name], wanted, atol=RELATIVE * np.abs(wanted).max(), err_msg=name)


LAYERS = """layer { name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 13 dim: 3 dim: 35 dim: 35 } shape { dim: 13 }
    data_filler { type: "gaussian" std: 40 } data_filler { type: "constant" value: 2 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param { num_output: 24 kernel_size: 7 stride: 2
  weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "norm1" type: "LRN" bottom: "pool1" top: "norm1" lrn_param { local_size: 5 alpha: 0.0001 } }
layer { name: "conv2" type: "Convolution" bottom: "norm1" top: "conv2" convolution_param { num_output: 64 kernel_size: 3 group: 2 pad: 1
  weight_filler { type: "xavier" } } }
layer { name: "fc6" type: "InnerProduct" bottom: "conv2" top: "fc6" inner_product_param { num_output: 700 weight_filler { type: "xavier" } } }
layer { name: "drop6" type: "Dropout" bottom: "fc6" top: "fc6" }
layer { name: "fc7" type: "InnerProduct" bottom: "fc6" top: "fc7" inner_product_param { num_output: 48 weight_filler { type: "xavier" } } }
layer { name: "code" type: "Sigmoid" bottom: "fc7" top: "code" }
layer { name: "fc8" type: "InnerProduct" bottom: "code" top: "fc8" inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc8" bottom: "label" top: "loss" }
"""
TRAIN = """
import hashlib, sys, caffe
solver = caffe.get_solver("solver.prototxt")
solver.step(3)
digest = hashlib.sha256()
for blobs in solver.net.params.values():
    for blob in blobs:
        digest.update(blob.data.tobytes() + blob.diff.tobytes())
print(caffe.cpu_engine(), digest.hexdigest())
"""


def trained(folder, **environment):
    """'engine digest-of-all-weights' after three iterations in a process with this environment."""
    (folder / "net.prototxt").write_text(LAYERS)
    (folder / "solver.prototxt").write_text('net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005\n'
                                            "max_iter: 3 random_seed: 7 snapshot_after_train: false\n")
    done = subprocess.run([sys.executable, "-c", TRAIN], cwd=folder, capture_output=True, text=True, timeout=300,
                          env=dict(os.environ, GLOG_minloglevel="2", **environment))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("engine", ["onednn", "caffe"])
def test_the_number_of_threads_changes_no_bit(tmp_path, engine):
    digests = {threads: trained(tmp_path, CAFFE_ENGINE=engine, OMP_NUM_THREADS=str(threads)) for threads in (1, 2, 3, 5)}
    assert digests[1].startswith(engine)
    assert len(set(digests.values())) == 1, digests


def test_engines_differ_by_rounding_only_so_their_digests_do(tmp_path):
    """Otherwise the two tests above would compare an engine with itself."""
    assert trained(tmp_path, CAFFE_ENGINE="onednn").split()[1] != trained(tmp_path, CAFFE_ENGINE="caffe").split()[1]


@pytest.mark.parametrize("isa", ["SSE41", "AVX2"])
def test_older_processors_train_too(tmp_path, isa):
    assert trained(tmp_path, CAFFE_ENGINE="onednn", ONEDNN_MAX_CPU_ISA=isa, DNNL_MAX_CPU_ISA=isa).startswith("onednn")


def test_an_unknown_engine_ends_with_its_name(tmp_path):
    (tmp_path / "net.prototxt").write_text(LAYERS)
    done = subprocess.run([sys.executable, "-c", "import caffe; caffe.Net('net.prototxt', caffe.TRAIN)"], cwd=tmp_path,
                          capture_output=True, text=True, env=dict(os.environ, CAFFE_ENGINE="fast", GLOG_minloglevel="2"))
    assert done.returncode != 0
    assert "CAFFE_ENGINE=fast: no such engine; caffe or onednn" in done.stderr


FORKS = """
import os, signal, caffe
net = caffe.Net("net.prototxt", caffe.TRAIN)
net.forward(); net.backward()
child = os.fork()
if child == 0:
    signal.alarm(60)  # a child that waits for its parent's threads would wait for ever
    net.forward(); net.backward()
    os._exit(0)
net.forward(); net.backward()
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_process_that_has_computed_may_fork(tmp_path):
    (tmp_path / "net.prototxt").write_text(LAYERS)
    done = subprocess.run([sys.executable, "-c", FORKS], cwd=tmp_path, capture_output=True, text=True, timeout=120,
                          env=dict(os.environ, OMP_NUM_THREADS="2", GLOG_minloglevel="2"))
    assert done.returncode == 0, done.stderr


def test_the_committed_nets_name_no_engine():
    """They are to be computed by whichever the user has."""
    for folder, _, names in os.walk(os.path.join(REPO, "prototxt")):
        for name in names:
            if name.endswith(".prototxt"):
                with open(os.path.join(folder, name)) as file:
                    assert "engine:" not in file.read(), name
