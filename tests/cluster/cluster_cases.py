"""Clusters on the loopback address, started and ended by the program as a user does, and what tests ask of them."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PROGRAM = REPO / "eval/cluster.py"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def program(*words, timeout=300, **environment):
    """(status, what it said) of cluster.py."""
    done = subprocess.run([sys.executable, PROGRAM, *map(str, words)], capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, **environment})
    return done.returncode, done.stdout + done.stderr


class Cluster:
    """A head and nodes of this machine. nodes: marks of their processes, in the order of their start."""

    def __init__(self, nodes: int = 0):
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.folder = REPO / f"build/cluster/127.0.0.1_{self.port}"
        self.frozen: list[int] = []
        self.said = self._program("head", "--port", self.port)
        for _ in range(nodes):
            self.add_node()

    def _program(self, *words):
        status, said = program(*words)
        assert status == 0, said
        return said

    def add_node(self) -> int:
        """Its first process."""
        said = self._program("node", "--cluster", self.address, "--threads", 1)
        return int(re.search(r"process (\d+)", said)[1])

    def stop(self):
        for process in self.frozen:  # Ray's agents end by themselves when their node has, stopped ones do not
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)
        status, said = program("stop", "--cluster", self.address)
        assert status == 0 or "nothing of a cluster" in said, said

    def freeze(self, first: int):
        """SIGSTOP for a node: its first process and all that came of it."""
        self.frozen += family(first)
        for process in family(first):
            os.kill(process, signal.SIGSTOP)

    def thaw(self, first: int):
        for process in family(first):
            os.kill(process, signal.SIGCONT)

    def kill(self, first: int):
        """kill -9 of a node."""
        for process in family(first):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def family(first: int) -> list[int]:
    """A process and all that descend from it."""
    found = [first]
    for process in found:
        for path in Path(f"/proc/{process}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, path.read_text().split())
    return found
