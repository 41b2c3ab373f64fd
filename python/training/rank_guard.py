"""Guards the process of a follower, a rank above 0. Imports nothing that loads Caffe: the guard's fork comes first."""
import os
import signal
from pathlib import Path

from process.guard import die_with, run_guarded


def watch_over(main: int, log: Path, rank: int, work: tuple) -> None:
    """Runs a follower. When it ends wrongly, so does the main process, which would wait for it for ever.

    main: its process id. work: what training.follower.follow takes behind the rank.
    """
    def in_child(_console: object) -> None:
        from training.follower import follow  # behind the fork: it loads Caffe
        follow(rank, *work)
    die_with(main)
    if run_guarded(in_child, log, f"rank {rank}"):
        os.kill(main, signal.SIGKILL)  # its guard prints the last words of Caffe's log, which are the follower's
