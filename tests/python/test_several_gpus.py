"""Several GPUs, played by CPU processes: real Caffe ranks and Data layers, an exchange in Python in NCCL's place."""
import json

import numpy as np
import pytest

from caffe_cases import BATCH, CROP, SIDE, TRAIN_VAL, change, run, weights_of
from gpu_cases import BIG, pretend_gpus

# No dropout, crops or mirrors, which every rank draws for itself.
PLAIN = "".join(line for line in TRAIN_VAL.splitlines(True) if '"Dropout"' not in line).replace("mirror: true", "") \
    .replace(f"crop_size: {CROP}", f"crop_size: {SIDE}")
TRAIN = ("train.py", "--solver", "solver.prototxt", "--weights", "none", "--test-every", 0, "--iterations")


@pytest.fixture
def two_gpus(problem, monkeypatch):
    (problem / "train_val.prototxt").write_text(PLAIN)
    change(problem / "solver.prototxt", "base_lr: 0.05", "base_lr: 0.01")
    pretend_gpus(problem, monkeypatch, BIG, BIG.replace("0, GPU-0", "1, GPU-1"))
    return problem


def train(problem, name, iterations, *options):
    status, said = run(*TRAIN, iterations, "--run", name, *options, cwd=problem)
    assert status == 0, said
    return said


def assert_alike(one, other):
    ours, theirs = weights_of(one / "final.caffemodel"), weights_of(other / "final.caffemodel")
    for name, values in theirs.items():
        assert np.abs(ours[name] - values).max() <= 1e-4 * np.abs(values).max(), name


def test_two_ranks_make_an_iteration_of_two_batches(two_gpus):
    """Each rank reads every second image, so two ranks with 8 see the images that one process with 16 sees."""
    said = train(two_gpus, "two", 20, "--gpu", "0,1")
    assert f"an iteration is a batch of {BATCH} on each of 2 GPUs, gradients averaged: {2 * BATCH} images" in said
    settings = json.loads((two_gpus / "two/run.json").read_text())
    assert (settings["batch"], settings["devices"]) == (2 * BATCH, 2)
    change(two_gpus / "train_val.prototxt", f"batch_size: {BATCH}", f"batch_size: {2 * BATCH}")
    train(two_gpus, "one", 20, "--gpu", "none")
    assert_alike(two_gpus / "two", two_gpus / "one")


@pytest.mark.parametrize("passes", [1, 2])
def test_a_shared_batch_is_that_of_one_gpu(two_gpus, passes):
    said = train(two_gpus, "two", 20, "--gpu", "0,1", "--share-batch", "--iter-size", passes)
    assert f"on each of 2 GPUs, gradients averaged: {BATCH} images" in said
    layer_wise = "layer_wise_reduce: false" in (two_gpus / "two/solver.prototxt").read_text()
    assert layer_wise == (passes > 1)
    train(two_gpus, "one", 20, "--gpu", "none")
    assert_alike(two_gpus / "two", two_gpus / "one")


def test_two_ranks_go_on_where_they_stopped(two_gpus):
    train(two_gpus, "stopped", 10, "--gpu", "0,1")
    assert "going on from the snapshot of iteration 10" in train(two_gpus, "stopped", 20, "--gpu", "0,1")
    train(two_gpus, "through", 20, "--gpu", "0,1")
    assert_alike(two_gpus / "stopped", two_gpus / "through")


def test_a_batch_that_cannot_be_shared(two_gpus):
    change(two_gpus / "train_val.prototxt", f"batch_size: {BATCH}", "batch_size: 7")
    status, said = run(*TRAIN, 10, "--run", "run", "--gpu", "0,1", "--share-batch", cwd=two_gpus)
    assert status == 1
    assert "7 images an iteration (train_val.prototxt) cannot be cut into 2 equal batches (iter_size 1, 2 GPUs)" in said


def test_a_rank_that_aborts_ends_the_training(two_gpus, monkeypatch):
    """Rank 0 would wait for it for ever."""
    pretend_gpus(two_gpus, monkeypatch, BIG, BIG.replace("0, GPU-0", "1, GPU-1"), full_after=5, full_rank=1)
    status, said = run(*TRAIN, 20, "--run", "run", "--gpu", "0,1", cwd=two_gpus)
    assert status == 1
    assert "the GPU's memory is full" in said
    assert not (two_gpus / "run/final.caffemodel").exists()
