"""extract_cluster.py on the small problem of caffe_cases, and the processes that it starts."""
import contextlib
import os
import signal
from pathlib import Path

from caffe_cases import start

WORDS = ("--run", "run", "--protocol", "caffe", "--gpu", "none")


def extract_on(address, *options, parts=3, source=("--data", "test_lmdb"), out="features/test"):
    """A running extract_cluster.py in the current directory."""
    return start("extract_cluster.py", "--cluster", address, "--parts", parts, *WORDS, *source, "--out", out, *options,
                 cwd=".")


def outcome(process, timeout=300):
    """(status, what it said)."""
    out, err = process.communicate(timeout=timeout)
    assert "Traceback" not in out + err
    return process.returncode, out + err


def at_work() -> dict[int, int]:
    """{process: its parent} of the parts that nodes extract in this directory."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().split(b"\0")
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if b"--part" in words and b"--expect" in words and os.readlink(path / "cwd") == os.getcwd():
                found[int(path.name)] = parent
    return {process: parent for process, parent in found.items() if parent not in found}


def kill_worker(process: int, parent: int):
    """kill -9 of Ray's worker that waits for a part."""
    assert b"ray::" in Path(f"/proc/{parent}/cmdline").read_bytes()
    os.kill(parent, signal.SIGKILL)
