"""Fixtures shared by the tests of the driver."""
import faulthandler
import importlib
import os
import shutil
import signal
import subprocess
import types

import cv2
import pytest

# Read when pycaffe is loaded. Caffe logs every net it builds; the tests' nets are too small for a second thread.
os.environ.setdefault("GLOG_minloglevel", "2")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell starts what runs in its background with Ctrl-C ignored, which programs that tests start would take over.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def problem(tmp_path, monkeypatch):
    """A folder with the small problem of caffe_cases, current directory of the test."""
    from caffe_cases import write_problem
    write_problem(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(capfd):
    """call(program, *arguments) -> (exit status, what it said).

    In this process up to the driver's own fork: quicker than `run`.
    """
    def call(program, *arguments):
        capfd.readouterr()
        cv2.setNumThreads(1)  # another test may have started OpenCV's threads, which a fork does not survive
        faulthandler.disable()  # Caffe's aborts in the driver's child are the driver's affair
        try:
            status = importlib.import_module(program).main(list(map(str, arguments)))
        except SystemExit as stop:
            status, said = (1, stop.code) if isinstance(stop.code, str) else (stop.code, "")
        else:
            said = ""
        finally:
            faulthandler.enable()
        captured = capfd.readouterr()
        return status, f"{captured.out}{captured.err}{said}"
    return call


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """The small problem trained: folder (of the problem), run, mean image. Not to be changed by tests."""
    from caffe_cases import run, write_problem
    folder = tmp_path_factory.mktemp("tiny")
    mean = write_problem(folder)
    status, said = run("train.py", "--solver", "solver.prototxt", "--run", "run", "--weights", "none", "--gpu", "none",
                       cwd=folder)
    assert status == 0, said
    return types.SimpleNamespace(folder=folder, run=folder / "run", mean=mean, said=said)


@pytest.fixture
def trained(tiny_run, tmp_path, monkeypatch):
    """A copy of the trained run, to be changed, in the current directory."""
    shutil.copytree(tiny_run.folder, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture(scope="session")
def finished_run(tiny_run, tmp_path_factory):
    """The small problem's run, extracted and evaluated: the folder it lies in. Not to be changed by tests."""
    from finished_cases import finish
    folder = tmp_path_factory.mktemp("finished") / "run"
    finish(tiny_run.folder, folder)
    return folder


@pytest.fixture(scope="session")
def real_data():
    """Directory of the real data sets, named by the environment variable REAL_DATA."""
    folder = os.environ.get("REAL_DATA")
    if not folder or not os.path.isdir(folder):
        pytest.skip("REAL_DATA does not name a directory of real data")
    return folder


LONGEST_ID = 60


def pytest_make_parametrize_id(config, val, argname):
    """Short names for tests of long values, the same in every process that collects them; None: pytest's own."""
    if isinstance(val, bytes) and len(val) > LONGEST_ID:
        return f"{len(val)} bytes"
    if isinstance(val, str) and len(val) > LONGEST_ID:
        return val[:LONGEST_ID].strip().encode("unicode_escape").decode()
    return None


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
