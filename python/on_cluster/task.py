"""What a node does for one part: extract.py in a process of its own. Imported by Ray's workers: loads no Caffe."""
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SAID = 2000  # characters of its last words
KILLED = "killed, perhaps because the memory was full"  # process/guard.py says so of the process behind it


@dataclass(frozen=True)
class Outcome:
    """status: of extract.py; negative: the signal that ended it. said: its last words. node: where it was."""
    part: str
    node: str
    status: int
    said: str

    @property
    def was_killed(self) -> bool:
        """Whether somebody ended it, so that it may do another time."""
        return self.status == -signal.SIGKILL or KILLED in self.said


def extract_part(words: tuple[str, ...], part: str, place: str | None) -> Outcome:
    """The task: extracts a part. place: current directory, None for the node's checkout."""
    import ray  # the worker's
    node = f"{ray.util.get_node_ip_address()} ({socket.gethostname()}, {ray.get_runtime_context().get_node_id()[:8]})"
    root = Path(os.environ.get("HASH_CODES_ROOT") or Path(__file__).resolve().parents[2])
    if place and not os.path.isdir(place):
        return Outcome(part, node, 1, f"{place} is not there")
    threads = () if "--threads" in words else ("--threads", os.environ.get("HASH_CODES_THREADS", "1"))
    command = [sys.executable, "-m", "process.owned", str(os.getpid()), str(root / "python/extract.py"), *words,
               "--part", part, *threads]
    done = subprocess.run(command, cwd=place or root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": str(root / "python")})
    return Outcome(part, node, done.returncode, done.stdout.decode(errors="replace")[-SAID:])
