"""Programs killed at random moments, and disks that are full at random places: then the same command again."""
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from torture.cases import COMMANDS, Command
from torture.good import REPO
from torture.trial import results_of

FOLDER_OF = {"make_lmdb": "data_prep", "evaluate": "eval", "query": "eval"}
STAGES = [command for command in COMMANDS
          if command.name in ("train", "extract", "evaluate", "query", "lists", "go on")]
AGAIN = {"lists": ("--keep",)}


def start(command: Command, folder: Path, limit: int | None = None, more: tuple[str, ...] = ()) -> subprocess.Popen:
    """The program itself. limit: bytes that a file of its may have."""
    def full_disk():
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    program = REPO / FOLDER_OF.get(command.program, "python") / f"{command.program}.py"
    return subprocess.Popen([sys.executable, program, *command.arguments, *more], cwd=folder, start_new_session=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=full_disk,
                            env={**os.environ, "OMP_NUM_THREADS": "1"})


def finish(command: Command, folder: Path, more: tuple[str, ...] = ()) -> tuple[int, str, float]:
    """(status, what it said, seconds) of an undisturbed run."""
    started = time.monotonic()
    process = start(command, folder, more=more)
    said = process.communicate(timeout=600)[0].decode(errors="replace")
    return process.returncode, said, time.monotonic() - started


def disturbed(good: Path, rng: random.Random) -> Iterator[tuple[str, str]]:
    """(kind, outcome) without end: kill or full disk of a stage; outcome is kept, lost or traceback."""
    wanted, length, largest = {}, {}, {}
    while True:
        for command in STAGES:
            for kind in ("kill", "kill", "kill", "full disk"):
                with tempfile.TemporaryDirectory() as place:
                    folder = Path(place) / "here"
                    shutil.copytree(good, folder)
                    if command.name not in wanted:
                        status, said, length[command.name] = finish(command, folder)
                        if status:
                            raise RuntimeError(f"{command.name} fails undisturbed: {said}")
                        wanted[command.name] = results_of(command, folder)
                        sizes = [(folder / name).stat().st_size for name in wanted[command.name]]
                        largest[command.name] = max(sizes, default=1000)
                        shutil.rmtree(folder)
                        shutil.copytree(good, folder)
                    disturb = _kill if kind == "kill" else _fill
                    said = disturb(command, folder, rng, length[command.name], largest[command.name])
                    more = AGAIN.get(command.name, ())
                    status, again, _ = finish(command, folder, more)
                    same = results_of(command, folder) == wanted[command.name]
                    if "Traceback" in said + again:
                        yield kind, f"traceback {command.name}: {said}{again}"
                    elif status or not same:
                        yield kind, f"lost {command.name}: {again[-400:] if status else 'another result'}"
                    else:
                        yield kind, "kept"


def _kill(command: Command, folder: Path, rng: random.Random, length: float, largest: int) -> str:
    process = start(command, folder)
    time.sleep(rng.uniform(0, length * 1.05))
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    return ""


def _fill(command: Command, folder: Path, rng: random.Random, length: float, largest: int) -> str:
    process = start(command, folder, limit=rng.randrange(largest))
    return process.communicate(timeout=600)[0].decode(errors="replace")
