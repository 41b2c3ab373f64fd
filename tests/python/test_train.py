"""Fine-tuning: what a run leaves, that the test set is counted exactly, and what stops a training."""
import csv
import hashlib
import json

import caffe
import numpy as np
import pytest

from caffe_cases import BATCH, CROP, SCALE, SIDE, TEST_IMAGES, change, images_of, weights_of


def rows_of(run):
    with open(run / "train_log.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_learns_and_leaves_its_files(tiny_run):
    run, rows = tiny_run.run, rows_of(tiny_run.run)
    assert list(rows[0]) == [
        "iteration",
        "loss",
        "learning_rate",
        "images_per_second",
        "elapsed_s",
        "test_accuracy",
        "test_loss",
    ]
    losses = [(int(row["iteration"]), float(row["loss"])) for row in rows if row["loss"]]
    assert [n for n, _ in losses] == list(range(10, 201, 10))
    assert losses[0][1] > 1.3
    assert losses[-1][1] < 0.85 * losses[0][1]
    assert [row["learning_rate"] for row in rows if row["iteration"] == "150" and row["loss"]] == ["0.05"]
    assert [row["learning_rate"] for row in rows if row["iteration"] == "160"] == ["0.025"]
    assert [row["iteration"] for row in rows if row["test_accuracy"]] == ["100", "200"]
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (run / "caffe.log").stat().st_size
    assert (run / "deploy.prototxt").read_text() == (tiny_run.folder / "deploy.prototxt").read_text()
    assert weights_of(run / "final.caffemodel").keys() == weights_of(run / "snapshots/iter_200.caffemodel").keys()
    assert not list(run.rglob("*partial*"))
    assert "WEIGHTS=none" in tiny_run.said
    assert "trained 200 iterations" in tiny_run.said


def test_settings_are_told_in_run_json(tiny_run):
    settings = json.loads((tiny_run.run / "run.json").read_text())
    assert (settings["net"], settings["bits"], settings["classes"], settings["batch"], settings["seed"]) == (
        "tiny",
        8,
        4,
        BATCH,
        1,
    )
    assert settings["iterations"] == 200
    assert settings["weights"] == {"file": None, "sha256": None}
    assert settings["test_data"]["images"] == TEST_IMAGES
    assert "momentum: 0.9" in settings["solver"]


def test_every_test_image_counts_once(tiny_run):
    """Against a count of our own through the deploy net; the batch of 8 does not divide the 50 images."""
    net = caffe.Net(str(tiny_run.run / "deploy.prototxt"), str(tiny_run.run / "final.caffemodel"), caffe.TEST)
    images, labels = images_of(TEST_IMAGES, 2)
    first = (SIDE - CROP) // 2
    window = (slice(None), slice(first, first + CROP), slice(first, first + CROP))
    correct, loss = 0, 0.0
    for image, label in zip(images, labels):
        net.blobs["data"].data[...] = (image[window].astype(np.float64) - tiny_run.mean[window]) * SCALE
        probability = net.forward()["prob"][0].astype(np.float64)
        correct += probability.argmax() == label
        loss -= np.log(probability[label])
    row = [row for row in rows_of(tiny_run.run) if row["test_accuracy"]][-1]
    assert 0.6 < float(row["test_accuracy"]) == pytest.approx(correct / TEST_IMAGES, abs=1e-9)
    assert float(row["test_loss"]) == pytest.approx(loss / TEST_IMAGES, rel=1e-4)


def test_a_trained_run_is_not_trained_again(tiny_run):
    from caffe_cases import run
    before = hashlib.sha256((tiny_run.run / "final.caffemodel").read_bytes()).hexdigest()
    status, said = run("train.py", "--solver", "solver.prototxt", "--run", "run", "--weights", "none", "--gpu", "none",
                       cwd=tiny_run.folder)
    assert (status, "is trained: 200 iterations" in said) == (0, True)
    assert hashlib.sha256((tiny_run.run / "final.caffemodel").read_bytes()).hexdigest() == before
    assert not list(tiny_run.run.glob("*.partial"))


def train(call, *options, weights="none", run="run"):
    return call("train", "--solver", "solver.prototxt", "--run", run, "--weights", weights, "--gpu", "none", *options)


def test_a_run_can_be_made_longer(problem, call):
    assert train(call, "--iterations", 20, "--test-every", 0)[0] == 0
    first = weights_of(problem / "run/final.caffemodel")
    status, said = train(call, "--iterations", 30, "--test-every", 0)
    assert status == 0
    assert "going on from the snapshot of iteration 20" in said
    assert any((weights_of(problem / "run/final.caffemodel")[name] != values).any() for name, values in first.items())
    assert json.loads((problem / "run/run.json").read_text())["iterations"] == 30


def test_a_part_of_the_schedule_is_trained_and_said(problem, call):
    status, said = train(call, "--schedule", 0.1)
    assert (status, "0.1 of the solver's schedule: 20 iterations" in said) == (0, True), said
    settings = json.loads((problem / "run/run.json").read_text())
    assert (settings["iterations"], settings["schedule"]) == (20, 0.1)
    assert "stepsize: 15" in settings["solver"]  # of 150
    status, said = train(call)
    assert status == 1
    assert "was started with another solver" in said


@pytest.mark.parametrize("part", ["0", "1.5", "-1", "nan"])
def test_a_part_that_is_none_is_refused(problem, call, part):
    assert train(call, "--schedule", part)[0] == 2


def test_the_seed_is_what_makes_runs_differ(problem, call):
    losses = []
    for run, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert train(call, "--iterations", 10, "--seed", seed, "--test-every", 0, run=run)[0] == 0
        losses.append([row["loss"] for row in rows_of(problem / run)])
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("base_lr", ["1e3", "1e30"])
def test_an_exploding_loss_stops_with_advice(problem, call, base_lr):
    change(problem / "solver.prototxt", "base_lr: 0.05", f"base_lr: {base_lr}")
    status, said = train(call)
    assert status == 1
    assert "diverged" in said
    assert "Lower base_lr" in said
    assert "Traceback" not in said
    assert not (problem / "run/final.caffemodel").exists()


def test_settings_may_change_until_there_is_something_to_go_on_from(problem, call):
    change(problem / "solver.prototxt", "base_lr: 0.05", "base_lr: 1e30")
    assert train(call)[0] == 1
    change(problem / "solver.prototxt", "base_lr: 1e30", "base_lr: 0.05")
    assert train(call, "--iterations", 10)[0] == 0
    change(problem / "solver.prototxt", "base_lr: 0.05", "base_lr: 0.01")
    status, said = train(call, "--iterations", 20)
    assert status == 1
    assert "was started with another solver" in said
    assert "RUN=" in said
    change(problem / "solver.prototxt", "base_lr: 0.01", "base_lr: 0.05")
    status, said = train(call, "--iterations", 20, "--seed", 5)
    assert status == 1
    assert "another seed (1; now 5)" in said


def test_fewer_images_than_a_batch_are_said(problem, call):
    change(problem / "train_val.prototxt", f"batch_size: {BATCH}", "batch_size: 64")
    status, said = train(call, "--iterations", 2, "--test-every", 0)
    assert (status, "only 60 training images for batches of 64: each batch holds images" in said) == (0, True), said
