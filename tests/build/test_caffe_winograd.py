"""Convolution by Winograd's algorithm (patch 31): beside Caffe's own, and what it promises.

Processors with AVX-512 have no use for it; oneDNN is held to AVX2 in these tests, as it is on others.
"""
import json
import os
import subprocess
import sys
from pathlib import Path

import caffe
import pytest

from engine_cases import RELATIVE, XAVIER, python, trained

pytestmark = pytest.mark.skipif(not getattr(caffe, "has_onednn", lambda: False)() or
                                " avx2 " not in Path("/proc/cpuinfo").read_text(),
                                reason="Caffe was built without oneDNN, or the processor has no AVX2")

PROGRAM = Path(__file__).resolve().parents[1] / "winograd_cases.py"
CASES = [*(f"stride 1 {seed}" for seed in range(25)), *(f"stride 4 {seed}" for seed in range(10)),
         "conv1", "conv2", "conv3"]
AVX2 = {"CAFFE_ENGINE": "onednn", "ONEDNN_MAX_CPU_ISA": "AVX2", "GLOG_minloglevel": "0", "GLOG_logtostderr": "1"}
BY_WINOGRAD = "by Winograd's algorithm"


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """{case: {what: (largest difference, largest value)}}, each of a convolution that Caffe says went this way."""
    done = subprocess.run([sys.executable, PROGRAM, tmp_path_factory.mktemp("cases"), *CASES], capture_output=True,
                          text=True, timeout=300, env={**os.environ, **AVX2, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(BY_WINOGRAD) == len(CASES)
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", CASES)
def test_convolution_agrees_with_caffes_own_to_rounding(measured, case):
    for what, (difference, largest) in measured[case].items():
        assert difference <= RELATIVE * largest, f"{what} differs by {difference:.2g} (largest {largest:.2g})"


def test_it_is_not_caffes_own_sum(measured):
    """Otherwise the test above would compare an engine with itself."""
    assert all(result["top"][0] > 0 for result in measured.values())


NET = f"""layer {{ name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param {{ shape {{ dim: 11 dim: 3 dim: 62 dim: 62 }} shape {{ dim: 11 }}
    data_filler {{ type: "gaussian" std: 1 }} data_filler {{ type: "constant" value: 2 }} }} }}
layer {{ name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param {{ num_output: 64 kernel_size: 11 stride: 4 {XAVIER} }} }}
layer {{ name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }}
layer {{ name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2"
  convolution_param {{ num_output: 96 kernel_size: 5 pad: 2 group: 2 {XAVIER} }} }}
layer {{ name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }}
layer {{ name: "conv3" type: "Convolution" bottom: "conv2" top: "conv3"
  convolution_param {{ num_output: 40 kernel_size: 3 pad: 1 {XAVIER} }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "conv3" top: "fc" inner_product_param {{ num_output: 5 {XAVIER} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }}
"""


def test_the_number_of_threads_changes_no_bit(tmp_path):
    results = {trained(tmp_path, NET, **AVX2, OMP_NUM_THREADS=str(threads)) for threads in (1, 2, 3, 5)}
    assert len(results) == 1


def held_to(tmp_path, isa):
    """The log of a process that makes and runs the net with oneDNN held to some instructions."""
    program = "import caffe; net = caffe.Net('net.prototxt', caffe.TRAIN); net.forward(); net.backward()"
    done = python(tmp_path, NET, program, **{**AVX2, "ONEDNN_MAX_CPU_ISA": isa})
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_older_processors_go_without(tmp_path):
    assert held_to(tmp_path, "AVX2").count(BY_WINOGRAD) == 3
    assert BY_WINOGRAD not in held_to(tmp_path, "SSE41")


BATCHES = """
import caffe, numpy as np
net = caffe.Net("net.prototxt", caffe.TRAIN)
net.forward()
data, together = net.blobs["data"].data.copy(), net.blobs["conv3"].data.copy()
net.blobs["data"].reshape(1, *data.shape[1:])
for i, image in enumerate(data):
    net.blobs["data"].data[...] = image
    net.forward(start="conv1", end="conv3")
    np.testing.assert_array_equal(net.blobs["conv3"].data[0], together[i])
"""
FROZEN = """
import caffe, numpy as np
net = caffe.Net("net.prototxt", caffe.TRAIN)
def conv3():
    return net.forward(start="conv1", end="conv3")["conv3"].copy()
net.forward()
before = conv3()
caffe.freeze_weights()
for _ in range(2):
    np.testing.assert_array_equal(conv3(), before)
caffe.thaw_weights()
net.params["conv1"][0].data[...] *= 2
changed = conv3()
assert np.abs(changed - before).max() > 0
caffe.freeze_weights()  # another promise: what was kept for the first does not count
np.testing.assert_array_equal(conv3(), changed)
"""
EMPTY = """
import caffe, numpy as np
net = caffe.Net("net.prototxt", caffe.TRAIN)
net.forward(end="conv3")
data, before = net.blobs["data"].data.copy(), net.blobs["conv3"].data.copy()
net.blobs["data"].reshape(0, *data.shape[1:])
net.forward(start="conv1", end="conv3")
net.backward(start="conv3", end="conv1")
assert not any(blob.diff.any() for layer in ("conv1", "conv2", "conv3") for blob in net.params[layer])
net.blobs["data"].reshape(*data.shape)
net.blobs["data"].data[...] = data
net.forward(start="conv1", end="conv3")
np.testing.assert_array_equal(net.blobs["conv3"].data, before)
"""


@pytest.mark.parametrize("program", [BATCHES, FROZEN, EMPTY],
                         ids=["an image alone as in a batch", "frozen weights", "after a batch of none"])
def test_the_same_bits(tmp_path, program):
    done = python(tmp_path, NET, program, **AVX2)
    assert done.returncode == 0, done.stderr
