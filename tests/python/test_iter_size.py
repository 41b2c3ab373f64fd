"""An iteration cut into several batches is the same iteration: same images, crops, mirrors; sums differ by rounding."""

import csv
import json
from pathlib import Path

import caffe
import numpy as np
import pytest

from caffe_cases import BATCH, TRAIN_VAL, change, weights_of
from caffe_files.prototxt import read_net
from training.problem import Problem

# Without dropout, whose masks are drawn batch by batch.
NO_DROPOUT = "".join(line for line in TRAIN_VAL.splitlines(True) if '"Dropout"' not in line)
TRAIN = ("--solver", "solver.prototxt", "--weights", "none", "--gpu", "none", "--iterations", 40, "--test-every", 20)


def losses(run):
    with open(run / "train_log.csv", newline="") as file:
        return np.array([float(row["loss"]) for row in csv.DictReader(file) if row["loss"]])


def accuracies(run):
    with open(run / "train_log.csv", newline="") as file:
        return [row["test_accuracy"] for row in csv.DictReader(file) if row["test_accuracy"]]


def train(call, run, *options):
    status, said = call("train", "--run", run, *TRAIN, *options)
    assert status == 0, said
    return said


def test_an_iteration_in_parts_is_the_whole_one_but_for_rounding(problem, call):
    (problem / "train_val.prototxt").write_text(NO_DROPOUT)
    train(call, "whole")
    for passes in (2, 8):
        said = train(call, f"cut{passes}", "--iter-size", passes)
        assert f"an iteration is {passes} batches of {BATCH // passes}, gradients averaged: {BATCH} images" in said
        whole, cut = problem / "whole", problem / f"cut{passes}"
        assert losses(cut) == pytest.approx(losses(whole), rel=1e-4)
        assert accuracies(cut) == accuracies(whole)
        ours, theirs = weights_of(cut / "final.caffemodel"), weights_of(whole / "final.caffemodel")
        for name, values in theirs.items():
            assert np.abs(ours[name] - values).max() <= 1e-4 * np.abs(values).max(), name


def test_the_images_of_an_iteration_are_bit_for_bit_the_same(problem):
    """Crops and mirrors too: the Data layer draws them image by image."""
    change(problem / "solver.prototxt", 'snapshot_prefix: "tiny"', 'snapshot_prefix: "tiny" random_seed: 5')
    whole = caffe.get_solver("solver.prototxt")
    whole.net._forward(0, 0)
    change(problem / "train_val.prototxt", f"batch_size: {BATCH}", f"batch_size: {BATCH // 2}")
    cut = caffe.get_solver("solver.prototxt")
    halves = []
    for _ in range(2):
        cut.net._forward(0, 0)
        halves.append(cut.net.blobs["data"].data.copy())
    assert (np.concatenate(halves) == whole.net.blobs["data"].data).all()


def test_the_run_tells_of_it_and_goes_on_with_it_only(problem, call):
    train(call, "run", "--iter-size", 2)
    settings = json.loads((problem / "run/run.json").read_text())
    assert (settings["batch"], settings["iter_size"], settings["devices"]) == (BATCH, 2, 1)
    resolved = read_net(Path("run/train_val.prototxt"))
    assert [layer.data_param.batch_size for layer in resolved.layer if layer.type == "Data"] == [BATCH // 2, BATCH // 2]
    status, said = call("train", "--run", "run", *TRAIN, "--iterations", 60)
    assert status == 1
    assert "was started with another iter_size (2; now 1)" in said
    status, said = call("train", "--run", "run", *TRAIN, "--iterations", 60, "--iter-size", 2)
    assert status == 0
    assert "going on from the snapshot of iteration 40" in said


def test_runs_of_before_the_option_go_on(problem, call):
    train(call, "run")
    path = problem / "run/run.json"
    settings = json.loads(path.read_text())
    del settings["iter_size"], settings["devices"]
    path.write_text(json.dumps(settings))
    assert call("train", "--run", "run", *TRAIN, "--iterations", 60)[0] == 0


def test_a_solver_with_an_iter_size_of_its_own(problem):
    change(problem / "solver.prototxt", 'snapshot_prefix: "tiny"', 'snapshot_prefix: "tiny" iter_size: 3')
    problem_of_24 = Problem(Path("solver.prototxt"))
    assert (problem_of_24.batch, problem_of_24.cut, problem_of_24.batches(3)) == (24, False, (BATCH, BATCH))
    in_one = Problem(Path("solver.prototxt"), iter_size=1)
    assert (in_one.batch, in_one.cut, in_one.train_layer.data_param.batch_size) == (24, True, 24)


@pytest.mark.parametrize("size, status, words", [
    (3, 1, "8 images an iteration (train_val.prototxt) cannot be cut into 3 equal batches (iter_size 3). iter_size may "
           "be 1, 2, 4, 8"),
    (16, 1, "cannot be cut into 16 equal batches"), (0, 2, "--iter-size must be at least 1")])
def test_batches_that_do_not_come_out_even(problem, call, size, status, words):
    got, said = call("train", "--run", "run", *TRAIN, "--iter-size", size)
    assert got == status
    assert words in said
    assert not (problem / "run/run.json").exists()
