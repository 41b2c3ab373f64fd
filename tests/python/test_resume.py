"""A training stopped at any point goes on as if nothing had happened: weights, momentum and losses, bit for bit."""

import csv
import os
import random
import shutil
import signal
import time

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from caffe_cases import BATCH, change, kill, run, start, weights_of, write_problem
from training.replay import skip_data

TRAIN = (
    "train.py",
    "--solver",
    "solver.prototxt",
    "--run",
    "run",
    "--weights",
    "none",
    "--gpu",
    "none",
    "--iterations",
    400,
    "--snapshot-every",
    90,
    "--test-every",
    150,
)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    write_problem(folder)
    status, said = run(*TRAIN, cwd=folder)
    assert status == 0, said
    return folder / "run"


def logged(run_folder):
    """[(iteration, loss, learning rate, test accuracy, test loss)] of the log: all but the times."""
    if not (run_folder / "train_log.csv").exists():
        return []
    with open(run_folder / "train_log.csv", newline="") as file:
        return [
            (
                int(row["iteration"]),
                row["loss"],
                row["learning_rate"],
                row["test_accuracy"],
                row["test_loss"] and row["test_loss"][:6],
            )
            for row in csv.DictReader(file)
        ]


def momentum(run_folder):
    state = caffe_pb2.SolverState.FromString((run_folder / "snapshots/iter_400.solverstate").read_bytes())
    return [np.array(blob.data, np.float32) for blob in state.history]


def wait_for_iteration(process, run_folder, iteration):
    while process.poll() is None and ([(0,)] + logged(run_folder))[-1][0] < iteration:
        time.sleep(0.002)
    assert process.poll() is None, "the run ended before it was interrupted: " + process.communicate()[1]


def assert_same_run(one, other):
    assert logged(one) == logged(other)
    ours, theirs = weights_of(one / "final.caffemodel"), weights_of(other / "final.caffemodel")
    assert ours.keys() == theirs.keys()
    assert len(ours) == 10
    for name, values in ours.items():
        assert (values == theirs[name]).all(), name
    for ours, theirs in zip(momentum(one), momentum(other), strict=True):
        assert (ours == theirs).all()


def test_killed_at_random_points(problem, uninterrupted):
    seed = random.randrange(2**32)
    print(f"random.seed({seed})")
    random.seed(seed)
    said = ""
    for low, high in ((20, 80), (100, 260), (270, 350)):  # before the first snapshot, and behind some
        process = start(*TRAIN, cwd=problem)
        wait_for_iteration(process, problem / "run", random.randrange(low, high))
        time.sleep(random.random() * 0.02)
        kill(process)
        assert not (problem / "run/final.caffemodel").exists()
    status, said = run(*TRAIN, cwd=problem)
    assert status == 0
    assert "going on from the snapshot of iteration" in said
    assert_same_run(problem / "run", uninterrupted)


@pytest.mark.parametrize(
    "signals", [[signal.SIGINT], [signal.SIGINT] * 5, [signal.SIGTERM]], ids=["Ctrl-C", "5 times", "SIGTERM"]
)
def test_stopped_in_the_middle_of_a_display_window(problem, uninterrupted, signals):
    process = start(*TRAIN, cwd=problem)
    wait_for_iteration(process, problem / "run", random.randrange(110, 240))
    for number in signals:
        (os.killpg if number == signal.SIGINT else os.kill)(
            process.pid, number
        )  # a terminal sends Ctrl-C to the whole group
        time.sleep(0.004)
    said = process.communicate(timeout=600)[1]
    assert process.returncode == 130, said
    assert "stopped at iteration" in said
    assert "The same command goes on" in said
    stopped_at = int(said.split("stopped at iteration ")[1].split(";")[0])
    assert (problem / f"run/snapshots/iter_{stopped_at}.json").exists()
    assert logged(problem / "run")[-1][0] <= stopped_at < 400
    status, said = run(*TRAIN, cwd=problem)
    assert status == 0
    assert f"going on from the snapshot of iteration {stopped_at}" in said
    assert_same_run(problem / "run", uninterrupted)


def test_half_written_snapshots_are_no_snapshots(problem, uninterrupted):
    shutil.copytree(uninterrupted, problem / "run")
    snapshots = problem / "run/snapshots"
    (problem / "run/final.caffemodel").unlink()
    (snapshots / "iter_400.json").unlink()  # killed between the files of a snapshot
    (snapshots / "partial_iter_400.solverstate").write_bytes(b"half")
    (snapshots / "iter_395.solverstate.partial").write_bytes(b"half")
    status, said = run(*TRAIN, cwd=problem)
    assert status == 0
    assert "going on from the snapshot of iteration 360" in said
    assert_same_run(problem / "run", uninterrupted)
    assert not list((problem / "run").rglob("*partial*"))


def test_killed_between_last_snapshot_and_final_model(problem, uninterrupted):
    shutil.copytree(uninterrupted, problem / "run")
    (problem / "run/final.caffemodel").unlink()
    status, said = run(*TRAIN, cwd=problem)
    assert status == 0
    assert "is trained: 400 iterations" in said
    assert_same_run(problem / "run", uninterrupted)


def test_the_state_names_its_model_where_it_lies(uninterrupted):
    """So that `caffe train -snapshot` can use it; only the last two are kept, models all."""
    snapshots = uninterrupted / "snapshots"
    assert sorted(path.name for path in snapshots.glob("*.solverstate")) == [
        "iter_360.solverstate",
        "iter_400.solverstate",
    ]
    assert len(list(snapshots.glob("*.caffemodel"))) == 5
    state = caffe_pb2.SolverState.FromString((snapshots / "iter_360.solverstate").read_bytes())
    assert (state.learned_net, state.iter) == ("run/snapshots/iter_360.caffemodel", 360)


def test_two_processes_do_not_train_one_run(problem):
    process = start(*TRAIN, cwd=problem)
    wait_for_iteration(process, problem / "run", 10)
    os.killpg(process.pid, signal.SIGSTOP)
    status, said = run(*TRAIN, cwd=problem)
    os.killpg(process.pid, signal.SIGCONT)
    kill(process)
    assert status == 1
    assert "run is being written by another process" in said


def test_killing_the_program_leaves_no_process_behind(problem):
    process = start(*TRAIN, cwd=problem)
    wait_for_iteration(process, problem / "run", 10)
    kill(process)
    for _ in range(100):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("a process of the killed program lives on")


def test_iter_size_and_data_position(problem, monkeypatch):
    """skip_data alone: the next batch is the one an uninterrupted solver reads, crops and mirrors included."""
    change(
        problem / "solver.prototxt", 'snapshot_prefix: "tiny"', 'snapshot_prefix: "tiny" iter_size: 3 random_seed: 7'
    )
    one, other = (caffe.get_solver("solver.prototxt") for _ in range(2))
    one.step(11)
    one.net._forward(0, 0)
    skip_data(other, 3, range(11))
    assert (one.net.blobs["data"].data != one.net.blobs["data"].data[0]).any()
    assert len(one.net.blobs["data"].data) == BATCH
    other.net._forward(0, 0)
    assert (one.net.blobs["data"].data == other.net.blobs["data"].data).all()
    other.net._forward(0, 0)
    assert (one.net.blobs["data"].data != other.net.blobs["data"].data).any()
