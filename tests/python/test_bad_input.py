"""Foreseeable mistakes: a sentence that names the file, layer or option, status 1, nothing half-written."""

import os
import subprocess

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from caffe_cases import change, images_of, run, write_lmdb, write_mean
from caffe_files.tools import caffe_tool
from gpu.nccl import check_nccl
from process.errors import DriverError
from process.run_folder import RunFolder
from training.snapshots import Snapshots


def train(call, *options, gpu="none"):
    status, said = call(
        "train",
        "--solver",
        "solver.prototxt",
        "--run",
        "run",
        "--weights",
        "none",
        "--gpu",
        gpu,
        "--iterations",
        2,
        *options,
    )
    assert "Traceback" not in said
    assert not os.path.exists("run/final.caffemodel")
    assert not os.path.exists("run/run.json")
    return status, said


def test_the_program_itself_ends_with_one_and_a_sentence(problem):
    status, said = run(
        "train.py", "--solver", "no.prototxt", "--run", "run", "--weights", "none", "--gpu", "none", cwd=problem
    )
    assert status == 1
    assert said == "train: no.prototxt: no such solver file\n"
    status, said = run("extract.py", "--run", "norun", "--lmdb", "test_lmdb", "--out", "features/test", cwd=problem)
    assert status == 1
    assert said == "extract: --run norun: no such folder\n"
    assert not (problem / "norun").exists()
    status, said = run("train.py", "--solver", "solver.prototxt", cwd=problem)
    assert status == 2
    assert "usage:" in said


def test_solver_that_names_no_net_or_a_missing_one(problem, call):
    change(problem / "solver.prototxt", "train_val.prototxt", "gone.prototxt")
    status, said = train(call)
    assert status == 1
    assert "solver.prototxt names the net gone.prototxt, which does not exist" in said
    change(problem / "solver.prototxt", 'net: "gone.prototxt"', "")
    status, said = train(call)
    assert status == 1
    assert "names no net" in said


@pytest.mark.parametrize("old, new, words", [
    ('source: "train_lmdb"', 'source: "gone_lmdb"', "Data layer 'data' reads gone_lmdb, which is no LMDB directory"),
    ('mean_file: "mean.binaryproto"', 'mean_file: "gone.binaryproto"', "mean image gone.binaryproto does not exist"),
    ('mean_file: "mean.binaryproto"', 'mean_file: "solver.prototxt"', "solver.prototxt is not a mean image"),
    ("crop_size: 20", "crop_size: 40", "crop_size 40 is larger than the 36x36 images of train_lmdb"),
    ("num_output: 4 ", "num_output: 3 ", "has 3 outputs, but the labels of train_lmdb go from 0 to 3"),
    ('type: "ReLU"', 'type: "ReLy"', "Unknown layer type: ReLy"),
    ('type: "Data"', 'type: "Data', "is not a net prototxt: 2:"),
    ("SoftmaxWithLoss", "EuclideanLoss",
     "has no InnerProduct classifier with a SoftmaxWithLoss or SigmoidCrossEntropyLoss layer"),
    ("phase: TEST", "phase: TRAIN", "does not start with a Data layer for phase TEST"),
])
def test_nets_and_what_they_name(problem, call, old, new, words):
    change(problem / "train_val.prototxt", old, new)
    status, said = train(call)
    assert status == 1
    assert words in said


def test_a_deploy_net_for_images_of_other_channels(problem, call):
    change(problem / "deploy.prototxt", "dim: 3", "dim: 1")
    status, said = train(call)
    assert status == 1
    assert "deploy.prototxt and train_lmdb have different numbers of channels (1 and 3)" in said


@pytest.mark.parametrize("encoded", [False, True])
def test_mean_image_of_the_wrong_size(problem, call, encoded):
    if encoded:
        write_lmdb(problem / "png_lmdb", *images_of(8, 1), encoded=True)
        change(problem / "train_val.prototxt", '"train_lmdb"', '"png_lmdb"')
    write_mean(problem / "mean.binaryproto", images_of(4, 1, side=32)[0])
    status, said = train(call)
    assert status == 1
    assert "mean.binaryproto is (3, 32, 32) (channels, height, width), the images are (3, 36, 36)" in said


def test_a_labels_file_that_contradicts_the_entries_is_refused(problem, call):
    np.save(problem / "train_lmdb/labels.npy", np.array([0, 1, 2, 9]))
    assert "labels.npy has other labels than the entries" in train(call)[1]


def test_negative_labels_in_the_test_set(problem, call):
    images, labels = images_of(9, 1)
    write_lmdb(problem / "bad_lmdb", images, labels - 1)
    change(problem / "train_val.prototxt", '"test_lmdb"', '"bad_lmdb"')
    status, said = train(call)
    assert status == 1
    assert "the labels of bad_lmdb go from -1 to 2" in said


def test_a_broken_database(problem, call):
    (problem / "train_lmdb/data.mdb").write_bytes(b"x" * 10_000)
    status, said = train(call)
    assert status == 1
    assert "train_lmdb is not a whole LMDB" in said


def test_an_empty_database(problem, call):
    write_lmdb(problem / "empty_lmdb", [], [])
    change(problem / "train_val.prototxt", '"train_lmdb"', '"empty_lmdb"')
    assert "empty_lmdb holds no image" in train(call)[1]


def test_no_iterations(problem, call):
    change(problem / "solver.prototxt", "max_iter: 200", "")
    status, said = call("train", "--solver", "solver.prototxt", "--run", "run", "--weights", "none", "--gpu", "none")
    assert status == 1
    assert "has no max_iter" in said


@pytest.mark.parametrize(
    "gpu, words", [("one", "give auto, none, or indices"), ("0", "GPU 0 cannot be used"), ("0,1", "cannot be used")]
)
def test_gpu_that_is_not_there(problem, call, gpu, words):
    if gpu != "one" and not cpu_build():
        pytest.skip("this Caffe was built for GPUs")
    status, said = train(call, gpu=gpu)
    assert status == 1
    assert f"--gpu {gpu}" in said
    assert words in said
    if gpu != "one":
        assert "built for the CPU" in said
        assert "GPU=none" in said


def cpu_build():
    asked = subprocess.run([caffe_tool("caffe"), "device_query", "-gpu", "0"], capture_output=True, text=True)
    return "CPU-only" in asked.stderr


def test_several_gpus_need_nccl():
    if caffe.has_nccl():
        pytest.skip("this Caffe has NCCL")
    with pytest.raises(DriverError, match="built without NCCL"):
        check_nccl()


def test_a_full_disk_before_training(problem, call, small_disk):
    (small_disk / "filler").write_bytes(b"x" * (3 << 20 >> 1))
    change(problem / "train_val.prototxt", "num_output: 32", "num_output: 300")  # 0.6 MB of weights
    status, said = call(
        "train", "--solver", "solver.prototxt", "--run", small_disk / "run", "--weights", "none", "--gpu", "none"
    )
    assert status == 1
    assert "a snapshot needs" in said
    assert "Free some space" in said


@pytest.mark.parametrize("free", [0, 1 << 16, 1 << 18])
def test_a_disk_that_fills_up_in_a_snapshot(problem, call, small_disk, monkeypatch, free):
    """Behind the driver's own look at the free space: Caffe meets the full disk, half-written files are no snapshot."""
    log = small_disk / "run/train_log.csv"
    monkeypatch.setattr(Snapshots, "check_space", lambda self, net: fill(small_disk, free) if log.exists() else None)
    change(problem / "train_val.prototxt", "num_output: 32", "num_output: 96")
    arguments = (
        "train",
        "--solver",
        "solver.prototxt",
        "--run",
        small_disk / "run",
        "--weights",
        "none",
        "--gpu",
        "none",
        "--iterations",
        5,
        "--test-every",
        0,
    )
    status, said = call(*arguments)
    assert status == 1
    assert "disk" in said
    assert "full" in said
    assert "Traceback" not in said
    assert not [name for name in os.listdir(small_disk / "run/snapshots") if name.startswith("iter_")]
    (small_disk / "filler").unlink()
    monkeypatch.undo()
    os.chdir(problem)
    assert call(*arguments)[0] == 0
    assert (small_disk / "run/final.caffemodel").exists()


@pytest.mark.parametrize("kind", ["caffemodel", "solverstate"])
def test_a_snapshot_whose_end_did_not_reach_the_disk(tmp_path, kind):
    """Caffe closes its files without looking: the last 8 KB may be missing and no one told."""
    snapshots = Snapshots(RunFolder(tmp_path))
    model = caffe_pb2.NetParameter(
        layer=[caffe_pb2.LayerParameter(name="ip", blobs=[caffe_pb2.BlobProto(data=[1.0] * 100)])]
    )
    (tmp_path / "snapshots/partial_iter_7.caffemodel").write_bytes(model.SerializeToString())
    state = caffe_pb2.SolverState(iter=7, history=[caffe_pb2.BlobProto(data=[1.0] * 100)])
    (tmp_path / "snapshots/partial_iter_7.solverstate").write_bytes(state.SerializeToString())
    snapshots._check_written(7)
    with open(tmp_path / f"snapshots/partial_iter_7.{kind}", "r+b") as file:
        file.truncate(100)
    with pytest.raises(DriverError, match="iteration 7 .* could not be written whole"):
        snapshots._check_written(7)


def fill(folder, free):
    """Fills a file system up to some bytes."""
    statistics = os.statvfs(folder)
    with open(folder / "filler", "wb") as file:
        file.write(b"x" * max(0, statistics.f_bavail * statistics.f_frsize - free))


def test_a_full_disk_in_extraction(tiny_run, call, small_disk):
    fill(small_disk, 1 << 16)
    status, said = call(
        "extract",
        "--run",
        tiny_run.run,
        "--lmdb",
        tiny_run.folder / "test_lmdb",
        "--mean",
        tiny_run.folder / "mean.binaryproto",
        "--protocol",
        "caffe",
        "--out",
        small_disk / "features/test",
        "--gpu",
        "none",
    )
    assert status == 1
    assert "No space left on device" in said
    assert "Free some space" in said
    assert "Traceback" not in said
    assert not (small_disk / "features/test").exists()
