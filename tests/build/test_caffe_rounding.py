"""The CPU engine's loops beside the same steps in numpy, which rounds after each: bit for bit, on any processor.

A compiler that fuses a multiplication with an addition, or takes an estimate of a root, changes the last bits on the
processors that can and not on the others.
"""
import caffe
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(not getattr(caffe, "has_onednn", lambda: False)(),
                                reason="Caffe was built without oneDNN")

SIZE, ALPHA, BETA, K = 5, np.float32(0.3), np.float32(0.75), np.float32(2)
LRN = f"""force_backward: true
layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 3 dim: 11 dim: 9 dim: 13 }} }} }}
layer {{ name: "layer" type: "LRN" bottom: "data" top: "top"
  lrn_param {{ local_size: {SIZE} alpha: {ALPHA} beta: {BETA} k: {K} engine: ONEDNN }} }}
"""
ONE = np.float32(1)


def window_sums(values):
    """Sums over the channels within SIZE // 2 of each, in the channels' order."""
    sums = np.zeros_like(values)
    for c in range(values.shape[1]):
        for d in range(max(0, c - SIZE // 2), min(values.shape[1], c + SIZE // 2 + 1)):
            sums[:, c] += values[:, d]
    return sums


def test_lrn_rounds_after_each_step(tmp_path):
    (tmp_path / "net.prototxt").write_text(LRN)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN)
    rng = np.random.default_rng(0)
    bottom = net.blobs["data"].data[...] = rng.normal(0, 2, net.blobs["data"].data.shape).astype(np.float32)
    top_diff = rng.normal(0, 1, bottom.shape).astype(np.float32)
    top = net.forward()["top"].copy()
    net.blobs["top"].diff[...] = top_diff
    net.backward()

    scale = K + ALPHA / np.float32(SIZE) * window_sums(bottom * bottom)
    root = np.sqrt(scale)
    power = ONE / (root * np.sqrt(root))
    np.testing.assert_array_equal(top, power * bottom)
    ratios = window_sums(top_diff * top / scale)
    factor = np.float32(2) * (ALPHA / np.float32(SIZE)) * BETA
    np.testing.assert_array_equal(net.blobs["data"].diff, top_diff * power - factor * bottom * ratios)


FC = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 900 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" param { lr_mult: 3 decay_mult: 2 } param { lr_mult: 1 }
  inner_product_param { num_output: 77 } }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005 max_iter: 9
snapshot_after_train: false
"""


def test_the_update_rounds_after_each_step(tmp_path, monkeypatch):
    """Two updates: the second has a history. Only where the engine is the process's own (CAFFE_ENGINE)."""
    if caffe.cpu_engine() != "onednn":
        pytest.skip("CAFFE_ENGINE names Caffe's own update, which BLAS computes")
    (tmp_path / "net.prototxt").write_text(FC)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    monkeypatch.chdir(tmp_path)
    solver = caffe.get_solver("solver.prototxt")
    weights = solver.net.params["fc"][0]
    rng = np.random.default_rng(0)
    data = weights.data[...] = rng.normal(0, 1, weights.data.shape).astype(np.float32)
    history = np.zeros_like(data)
    rate, momentum = np.float32(0.01) * np.float32(3), np.float32(0.9)
    decay = np.float32(0.0005) * np.float32(2)
    for _ in range(2):
        diff = weights.diff[...] = rng.normal(0, 1, data.shape).astype(np.float32)
        solver.apply_update()
        history = rate * (diff + decay * data) + momentum * history
        data = data - history
        np.testing.assert_array_equal(weights.diff, history)
        np.testing.assert_array_equal(weights.data, data)
