"""Nets of one layer on both engines of the CPU, and processes that train a small net by one: for the engine's tests."""
import os
import subprocess
import sys

import caffe
import numpy as np

RELATIVE = 1e-5  # of the largest value
HEADER = """force_backward: true
layer { name: "data" type: "Input" top: "data" input_param { shape { DIMS } } }
"""


def layer_text(kind, group, options):
    """One layer `kind` from blob data to blob top; its engine is filled in later."""
    return f'layer {{ name: "layer" type: "{kind}" bottom: "data" top: "top" {group} {{ {options} engine: ENGINE }} }}'


def net_of(folder, layers, shape, engine):
    """A net of these layers on an input of `shape`, computed by `engine`."""
    path = folder / f"{engine}.prototxt"
    dims = " ".join(f"dim: {side}" for side in shape)
    path.write_text(HEADER.replace("DIMS", dims) + layers.replace("ENGINE", engine))
    return caffe.Net(str(path), caffe.TRAIN)


def passes(net, values, seed):
    """{what: array} after a forward and a backward pass on `values`, with seeded weights and gradient of the top."""
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
    for layer, blobs in net.params.items():
        for name, blob in zip(("weight gradient", "bias gradient"), blobs):
            results[f"{name} of {layer}"] = blob.diff.copy()
    return results


def both(folder, layers, shape, seed):
    """(Caffe's own results, the engine's)."""
    values = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
    stock, ours = (passes(net_of(folder, layers, shape, engine), values, seed) for engine in ("CAFFE", "ONEDNN"))
    assert stock.keys() == ours.keys()
    return stock, ours


def assert_close(stock, ours, what):
    for name, wanted in stock.items():
        error, largest = np.abs(ours[name] - wanted).max(), np.abs(wanted).max()
        assert error <= RELATIVE * largest, f"{name} differs by {error:.2g} (largest {largest:.2g}): {what}"


XAVIER = 'weight_filler { type: "xavier" }'
SOLVER = """net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005
max_iter: 3 random_seed: 7 snapshot_after_train: false
"""
TRAIN = """
import hashlib, caffe
solver = caffe.get_solver("solver.prototxt")
solver.step(3)
digest = hashlib.sha256()
for blobs in solver.net.params.values():
    for blob in blobs:
        digest.update(blob.data.tobytes() + blob.diff.tobytes())
print(caffe.cpu_engine(), digest.hexdigest())
"""


def python(folder, net, program, **environment):
    """A process that runs `program` in `folder`, where net and solver lie."""
    (folder / "net.prototxt").write_text(net)
    (folder / "solver.prototxt").write_text(SOLVER)
    return subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "GLOG_minloglevel": "2", **environment})


def trained(folder, net, **environment):
    """(engine, digest of all weights and gradients) after three iterations."""
    done = python(folder, net, TRAIN, **environment)
    assert done.returncode == 0, done.stderr
    return tuple(done.stdout.split())
