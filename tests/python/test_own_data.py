"""Nets and schedules for a data set of the user's, and a part of a schedule."""
import json
import os

import numpy as np
import pytest
from caffe.proto import caffe_pb2

from nets.definitions import DataSet, Setting, schedule, solver
from nets.own_data import data_set_of
from process.errors import DriverError
from training.schedule import shorten


def databases(folder, classes=("hats", "shoes", "bags"), train=900, test=100, test_classes=None):
    for split, count, names in (("train", train, classes), ("test", test, test_classes or classes)):
        (folder / f"{split}_lmdb").mkdir(parents=True)
        (folder / f"{split}_lmdb/meta.json").write_text(json.dumps({"count": count, "classes": list(names)}))
    return folder


def test_classes_and_sizes_are_those_of_the_databases(tmp_path, call):
    status, said = call("net_template", "--dataset", "photos", "--database", databases(tmp_path / "set"), "--bits", 16,
                        "--out", tmp_path)
    assert status == 0, said
    texts = {role: (tmp_path / f"photos_caffenet_16/{role}.prototxt").read_text() for role in ("train_val", "solver")}
    assert "num_output: 3\n" in texts["train_val"]
    assert 'source: "data/photos/train_lmdb"' in texts["train_val"]
    assert "test_iter: 4\n" in texts["solver"]  # 100 images in batches of 32
    assert "Here 900 iterations: 32 times over 900 training images." in texts["solver"]


@pytest.mark.parametrize("net, images, iterations", [
    ("caffenet", 100, 500), ("caffenet", 900, 900), ("caffenet", 5_001, 5_100), ("caffenet", 50_000, 50_000),
    ("caffenet", 1_011_723, 50_000), ("lenet", 4_000, 1_000), ("lenet", 60_000, 5_000), ("lenet", 3, 500)])
def test_a_small_set_is_trained_for_the_nets_epochs(net, images, iterations):
    found = schedule(Setting(DataSet("photos", 3, 10, images), net, 48))
    assert found["max_iter"] == iterations
    assert found.get("stepsize", iterations // 2) == iterations // 2
    assert ("stepsize" in found) == (net == "caffenet")


def test_a_data_set_of_unknown_size_keeps_the_nets_own_solver(tmp_path):
    assert solver(Setting(DataSet("photos", 3), "caffenet", 48), tmp_path / "net").max_iter == 50_000


def test_databases_that_do_not_tell_are_refused(tmp_path):
    with pytest.raises(DriverError, match="none/train_lmdb: no meta.json of make_lmdb.py"):
        data_set_of(tmp_path / "none", "photos")
    with pytest.raises(DriverError, match="one class only, 'hats'"):
        data_set_of(databases(tmp_path / "one", ["hats"]), "photos")
    with pytest.raises(DriverError, match="other classes"):
        data_set_of(databases(tmp_path / "other", test_classes=["a", "b", "c"]), "photos")


@pytest.mark.parametrize("part", [0.1, 0.5, 1.0])
def test_a_part_of_the_schedule_keeps_the_course_of_the_learning_rate(part):
    whole = caffe_pb2.SolverParameter(max_iter=50_000, stepsize=25_000, test_interval=1_000, snapshot=10_000,
                                      stepvalue=[20_000, 40_000])
    shortened = caffe_pb2.SolverParameter()
    shortened.CopyFrom(whole)
    shorten(shortened, part)
    for name in ("max_iter", "stepsize", "test_interval", "snapshot"):
        assert getattr(shortened, name) == part * getattr(whole, name)
    np.testing.assert_array_equal(shortened.stepvalue, part * np.array(whole.stepvalue))


def test_what_is_not_set_stays_so_and_nothing_becomes_zero():
    solver_of_none = caffe_pb2.SolverParameter(max_iter=3)
    shorten(solver_of_none, 0.01)
    assert solver_of_none.max_iter == 1
    assert not solver_of_none.HasField("stepsize")


def write_for(call, folder, database):
    status, said = call("net_template", "--dataset", "photos", "--database", database, "--net", "lenet", "--bits", 8,
                        "--out", folder, "--keep-edited")
    assert status == 0, said
    return said


def test_files_follow_their_databases_whatever_the_clock_says(tmp_path, call):
    solver_file = tmp_path / "photos_lenet_8/solver.prototxt"
    assert "is written" in write_for(call, tmp_path, databases(tmp_path / "few"))
    few = solver_file.read_text()
    os.utime(solver_file, (2**31, 2**31))
    assert "is kept: the template gives the same" in write_for(call, tmp_path, tmp_path / "few")
    assert "is written" in write_for(call, tmp_path, databases(tmp_path / "many", train=60000))
    assert solver_file.read_text() != few
    assert "is written" in write_for(call, tmp_path, tmp_path / "few")
    assert solver_file.read_text() == few


def test_what_was_edited_is_kept_and_said(tmp_path, call):
    solver_file = tmp_path / "photos_lenet_8/solver.prototxt"
    write_for(call, tmp_path, databases(tmp_path / "few"))
    edited = solver_file.read_text() + "# mine\n"
    solver_file.write_text(edited)
    assert "is kept: solver.prototxt edited" in write_for(call, tmp_path, databases(tmp_path / "many", train=60000))
    assert solver_file.read_text() == edited


@pytest.mark.parametrize("at", range(3))
def test_killed_between_two_files_is_not_edited(tmp_path, call, at):
    write_for(call, tmp_path, databases(tmp_path / "few"))
    files = sorted((tmp_path / "photos_lenet_8").glob("*.prototxt"))
    before = [file.read_text() for file in files]
    write_for(call, tmp_path, databases(tmp_path / "many", train=60000))
    after = [file.read_text() for file in files]
    for file, text in zip(files[at:], before[at:]):
        file.write_text(text)
    write_for(call, tmp_path, tmp_path / "many")
    assert [file.read_text() for file in files] == after
