"""A server of a small run, started as a user starts it."""
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from caffe_cases import REPO

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
