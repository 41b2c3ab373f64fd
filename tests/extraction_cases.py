"""Calls of extract.py on the small problem of caffe_cases, and its features read and compared."""
import numpy as np

ARRAYS = ("latent", "fc7", "labels", "predictions", "thumbs")


def extract(
    call, *options, source=("--lmdb", "test_lmdb"), out="features/test", protocol="caffe", run=("--run", "run")
):
    status, said = call("extract", *run, *source, "--out", out, "--protocol", protocol, "--gpu", "none", *options)
    assert "Traceback" not in said
    return status, said


def read(folder):
    return {name: np.load(f"{folder}/{name}.npy") for name in ARRAYS}


def assert_equal(one, other, names=ARRAYS):
    one, other = read(one), read(other)
    for name in names:
        assert one[name].dtype == other[name].dtype, name
        assert np.array_equal(one[name], other[name]), name
