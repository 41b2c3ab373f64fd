"""A small run of real Caffe, evaluated, and its server; shared by the tests of the API and of the page."""
import json
import shutil

import pytest
from serving_cases import CLASSES, NAUGHTY, Server

import evaluate
from caffe_cases import run


@pytest.fixture(scope="session")
def served_run(tiny_run, tmp_path_factory):
    """The small run with features of both splits, class names with markup, an evaluation. Not to be changed."""
    folder = shutil.copytree(tiny_run.folder, tmp_path_factory.mktemp("served") / "work")
    for split in ("train", "test"):
        status, said = run("extract.py", "--run", "run", "--gpu", "none", "--lmdb", f"{split}_lmdb",
                           "--out", f"run/features/{split}", cwd=folder)
        assert status == 0, said
        meta = folder / "run/features" / split / "meta.json"
        meta.write_text(json.dumps(json.loads(meta.read_text()) | {"classes": CLASSES}))
    ids = folder / "run/features/train/ids.txt"
    ids.write_text("".join(f"{NAUGHTY}{line}\n" for line in ids.read_text().splitlines()))
    places = ["--features", str(folder / "run/features"), "--out", str(folder / "run/eval")]
    assert evaluate.main([*places, "--radius", "3", "--no-sweep", "--baselines", "none"]) == 0
    return folder


@pytest.fixture(scope="session")
def server(served_run):
    """One server for all tests that do not break it."""
    server = Server(served_run).wait()
    yield server
    server.stop()


@pytest.fixture
def own_run(served_run, tmp_path):
    """A copy to be changed."""
    return shutil.copytree(served_run, tmp_path / "work")


@pytest.fixture
def start():
    """start(folder, ...) -> Server, ended after the test."""
    servers = []

    def start(*arguments, **options):
        servers.append(Server(*arguments, **options))
        return servers[-1]
    yield start
    for server in servers:
        server.stop()
