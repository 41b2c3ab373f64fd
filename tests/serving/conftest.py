"""A small run of real Caffe, evaluated, and its server; shared by the tests of the API and of the page."""
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

import evaluate
from caffe_cases import REPO, run

NAUGHTY = '<img src=x onerror="document.title=\'broken\'">'
CLASSES = ["cat", NAUGHTY, "ship & sea", "dog"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """serve.py in a process of its own."""

    def __init__(self, folder, *options, net=True, port=None, features="run/features"):
        self.folder, self.port = folder, port or free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, os.path.join(REPO, "eval/serve.py"), "--features", features, "--port",
                   str(self.port), *options]
        if net:
            command += ["--net", sys.executable, os.path.join(REPO, "python/embed.py"), "--run", "run", "--gpu", "none",
                        "--images-of", features]
        self.log = open(folder / "serve.log", "ab")
        self.process = subprocess.Popen(command, cwd=folder, stdout=self.log, stderr=self.log,
                                        env={**os.environ, "OMP_NUM_THREADS": "1"})

    def wait(self, token=None, net=True):
        """Until it answers, and its net is loaded."""
        for _ in range(600):
            if self.process.poll() is not None:
                raise AssertionError((self.folder / "serve.log").read_text())
            try:
                _, health = self.get("/api/health", token=token)
                if health.get("status") == "ok" and health["net"] in (("ready", "failed") if net else ("none",)):
                    return self
            except OSError:
                pass
            time.sleep(0.1)
        raise AssertionError("the server did not come up")

    def ask(self, path, body=None, method=None, token=None, **headers):
        """(status, headers, body) of a request."""
        if token:
            headers["Authorization"] = f"Bearer {token}"
        asked = urllib.request.Request(self.address + path, body, headers, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def get(self, path, **more):
        """(status, JSON)."""
        status, _, body = self.ask(path, **more)
        return status, json.loads(body)

    def search(self, query, body=b"", **headers):
        """(status, JSON) of POST /api/search."""
        return self.get(f"/api/search?{query}", body=body, method="POST", **headers)

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


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
