"""The estimate of GPU memory: sums that can be done by hand, and what is said of a card that is too small."""
import os
from pathlib import Path

import caffe
import pytest
from caffe.proto import caffe_pb2

from caffe_cases import BATCH, BITS, CLASSES, REPO, change, run
from caffe_files.prototxt import read_net
from gpu.memory import ask, input_net
from gpu.net_sizes import WORKSPACE, sizes
from gpu_cases import BIG, pretend_gpus
from training.memory import training_needs
from training.problem import Problem

CONV, FC6, FC7 = 8 * 8 * 8, 32, 16  # the small net's blobs of one image: conv1 is 8x8x8
BODY = CONV + FC6 + FC7 + BITS + BITS + CLASSES
MASKS = FC6 + FC7
WEIGHTS = 8 * 75 + 8 + CONV * 32 + 32 + 32 * 16 + 16 + 16 * BITS + BITS + BITS * CLASSES + CLASSES


def test_by_hand(problem):
    """Blobs, masks of the dropouts, loss and its probabilities; one batch more takes a batch more."""
    net = input_net(read_net(Path("train_val.prototxt")), caffe_pb2.TRAIN, [(BATCH, 3, 20, 20), (BATCH,)])
    weights, (whole, one) = ask(net, "TRAIN", [BATCH, 1])
    assert weights == 4 * WEIGHTS
    assert whole == dict(
        forward=4 * (BATCH * (BODY + MASKS + CLASSES) + 1), backward=4 * (BATCH * BODY + 1), workspace=WORKSPACE
    )
    assert whole["forward"] - one["forward"] == 4 * (BATCH - 1) * (BODY + MASKS + CLASSES)


def test_caffenet():
    net = caffe.Net(os.path.join(REPO, "prototxt/cifar10_caffenet_48/deploy.prototxt"), caffe.TEST)
    weights = sum(blob.count for blobs in net.params.values() for blob in blobs)
    assert weights == pytest.approx(57.1e6, rel=0.01)
    at_32, at_1 = sizes(net, 32), sizes(net, 1)
    assert (
        at_32["backward"]
        == 32 * at_1["backward"]
        == 4 * sum(blob.count for name, blob in net.blobs.items() if name != "data") * 32
    )
    assert at_1["workspace"] == 8 * WORKSPACE  # groups of conv1..conv5: 1, 2, 1, 2, 2
    assert at_1["forward"] - at_1["backward"] == 4 * (
        96 * 27 * 27 * 2 + 256 * 13 * 13 * 2 + 256 * 36 + 8192
    )  # pools, LRNs, dropouts


def small(free_mib):
    return f"0, GPU-0, NVIDIA Small, 580.82, 2048, {free_mib}"


TRAIN = (
    "train.py",
    "--solver",
    "solver.prototxt",
    "--run",
    "run",
    "--weights",
    "none",
    "--iterations",
    10,
    "--test-every",
    0,
    "--gpu",
    "0",
)


def test_a_card_that_is_too_small_is_told_which_batch_fits(problem, monkeypatch):
    change(problem / "train_val.prototxt", f"batch_size: {BATCH}", "batch_size: 4096")  # of MiBs
    needs = training_needs(Problem(Path("solver.prototxt")), [1, 2, 4, 8])
    assert list(needs.values()) == sorted(needs.values(), reverse=True)
    pretend_gpus(problem, monkeypatch, small(int(needs[4] / 2**20) + 1))
    status, said = run(*TRAIN, cwd=problem)
    assert status == 1
    assert "batches of 4096 need about" in said
    assert "Batches of 1024 fit: --iter-size 4 (ITER_SIZE=4)" in said
    assert "an iteration stays 4096 images" in said
    assert not (problem / "run/run.json").exists()
    status, said = run(*TRAIN, "--iterations", 1, "--iter-size", 4, cwd=problem)
    assert status == 0
    assert "an iteration is 4 batches of 1024, gradients averaged: 4096 images" in said


def test_a_card_on_which_nothing_fits(problem, monkeypatch):
    pretend_gpus(problem, monkeypatch, small(500))
    status, said = run(*TRAIN, cwd=problem)
    assert status == 1
    assert "Not even one image at a time fits" in said
    assert "--any-memory" in said
    status, said = run(*TRAIN, "--any-memory", cwd=problem)
    assert status == 0
    assert "device: GPU 0: NVIDIA Small, 2.0 GiB, 0.5 GiB free" in said


def test_the_fullest_of_several_gpus_decides(problem, monkeypatch):
    pretend_gpus(problem, monkeypatch, BIG, small(500))
    status, said = run(*TRAIN[:-1], "0,1", cwd=problem)
    assert status == 1
    assert "NVIDIA Small" in said
    assert "NVIDIA Big, 79.6 GiB, 79.1 GiB free. " not in said


def test_extraction_on_a_small_card(tiny_run, tmp_path, monkeypatch):
    extract = (
        "extract.py",
        "--run",
        tiny_run.run,
        "--lmdb",
        tiny_run.folder / "test_lmdb",
        "--mean",
        tiny_run.folder / "mean.binaryproto",
        "--protocol",
        "caffe",
        "--out",
        tmp_path / "features/test",
        "--gpu",
        "0",
        "--batch",
        8192,
    )
    needs = 1536 + 24 + 1  # MiB: the allowance and the convolution's workspace
    pretend_gpus(tmp_path, monkeypatch, small(needs + 20))
    status, said = run(*extract, cwd=tiny_run.folder)
    assert status == 1
    assert "batches of 8192 need about" in said
    assert "--batch 2048 fits" in said
    assert not (tmp_path / "features/test").exists()
    status, said = run(*extract[:-1], 2048, cwd=tiny_run.folder)
    assert status == 0
    assert "memory: about" in said
