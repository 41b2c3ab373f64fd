"""The processes of a node that was started here: found by a mark in their environment, ended by their ids alone.

`ray stop` ends every Ray process of a machine, those of others too, so it is never called. Whatever a node starts, its
workers too, inherits the mark, even where the process between them was killed.
"""

import os
import signal
import time
from pathlib import Path

MARK = "HASH_CODES_NODE"
WAIT_S = 10.0


def marked(mark: str) -> list[int]:
    """Ids of all living processes that carry MARK=mark."""
    wanted = f"{MARK}={mark}".encode()
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _carries(entry, wanted)]


def _carries(entry, wanted):
    try:
        if (entry / "stat").read_text().rpartition(")")[2].split()[0] in "ZX":
            return False
        return wanted in (entry / "environ").read_bytes().split(b"\0")
    except OSError:     # another user's, or gone by now
        return False


def end(mark: str, first: int | None = None) -> int:
    """End the processes of a node: `first` is asked to end the others, what is left is killed. How many there were."""
    found = marked(mark)
    if first in found:
        _signal(first, signal.SIGTERM)
        _signal(first, signal.SIGCONT)
        _wait(mark, WAIT_S)
    for _ in range(3):      # one that was starting meanwhile
        for process in marked(mark):
            _signal(process, signal.SIGKILL)
        if _wait(mark, WAIT_S / 3):
            break
    return len(found)


def _signal(process, number):
    try:
        os.kill(process, number)
    except ProcessLookupError:
        pass


def _wait(mark, seconds):
    """Until none is left; whether that came to pass."""
    until = time.monotonic() + seconds
    while marked(mark):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True
