"""The CPU's engine and threads: how they are chosen, what run.json and meta.json keep of them, what a run refuses."""
import json
import os

import pytest

from caffe_cases import run
from process import cpu
from process.errors import DriverError

TRAIN = ("train.py", "--solver", "solver.prototxt", "--run", "run", "--weights", "none", "--gpu", "none")


@pytest.fixture
def environment(monkeypatch):
    """The variables that use_cpu sets, put back afterwards."""
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "CAFFE_ENGINE"):
        monkeypatch.setenv(name, "")  # so that monkeypatch puts it back
        monkeypatch.delenv(name)
    return os.environ


@pytest.mark.parametrize("text, expected", [("max 100000", 8), ("150000 100000", 2), ("50000 100000", 1),
                                            ("1600000 100000", 8), ("what is this", 8)])
def test_a_quota_limits_the_processors(tmp_path, monkeypatch, text, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    (tmp_path / "cpu.max").write_text(text)
    assert cpu.processors(tmp_path / "cpu.max") == expected


def test_without_a_quota_the_affinity_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5, 7})
    assert cpu.processors(tmp_path / "none") == 3


def test_by_default_all_processors_compute_and_waiting_threads_sleep(environment):
    cpu.use_cpu(None, None)
    assert environment["OMP_NUM_THREADS"] == str(cpu.processors())
    assert environment["OMP_WAIT_POLICY"] == "passive"
    assert "CAFFE_ENGINE" not in environment


def test_the_environment_says_where_the_options_do_not(environment):
    environment.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="active")
    cpu.use_cpu(None, None)
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["OMP_WAIT_POLICY"] == "active"


@pytest.mark.parametrize("threads", [0, -1, 100_000])
def test_a_number_of_threads_that_is_none_is_a_sentence(environment, threads):
    with pytest.raises(DriverError, match=rf"--threads {threads} \(THREADS=\): give 1 to {cpu.processors()}"):
        cpu.use_cpu(None, threads)


def test_an_engine_that_is_none_is_a_sentence(problem, monkeypatch):
    monkeypatch.setenv("CAFFE_ENGINE", "fast")
    status, said = run(*TRAIN, cwd=problem)
    assert status == 1
    assert "CAFFE_ENGINE=fast: no such engine; caffe or onednn" in said


def test_the_engine_and_the_threads_stand_in_run_json_and_another_engine_is_refused(problem):
    status, said = run(*TRAIN, "--iterations", "20", "--engine", "caffe", "--threads", "1", cwd=problem)
    assert status == 0, said
    assert "device: CPU (engine caffe, threads: 1)" in said
    settings = json.loads((problem / "run/run.json").read_text())
    assert settings["engine"] == "caffe"
    assert settings["threads"] == 1
    status, said = run(*TRAIN, "--iterations", "40", "--engine", "onednn", cwd=problem)
    assert status == 1
    assert "was started with another engine (caffe; now onednn)" in said


def resumed(folder, engine):
    """(status, what it said) of a run of that engine whose run.json says 2 threads, gone on with 1."""
    status, said = run(*TRAIN, "--iterations", "20", "--engine", engine, cwd=folder)
    assert status == 0, said
    settings = json.loads((folder / "run/run.json").read_text())
    (folder / "run/run.json").write_text(json.dumps({**settings, "threads": 2}))
    return run(*TRAIN, "--iterations", "40", "--engine", engine, "--threads", "1", cwd=folder)


def test_caffes_own_engine_goes_on_with_the_same_number_of_threads_only(problem):
    status, said = resumed(problem, "caffe")
    assert status == 1
    assert "was started with another number of threads (2; now 1)" in said


def test_onednn_goes_on_with_any_number_of_threads(problem):
    status, said = resumed(problem, "onednn")
    assert status == 0, said


def test_features_name_the_engine_that_made_them(tiny_run):
    for engine, named in (("caffe", None), ("onednn", "onednn")):
        status, said = run("extract.py", "--run", tiny_run.run, "--lmdb", "test_lmdb", "--gpu", "none",
                           "--engine", engine, "--out", f"features_{engine}", cwd=tiny_run.folder)
        assert status == 0, said
        meta = json.loads((tiny_run.folder / f"features_{engine}" / "meta.json").read_text())
        assert meta.get("engine") == named
