"""Runs a case in a fork of this process, which has everything loaded: milliseconds, where a program takes seconds."""
import faulthandler
import hashlib
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

from torture.cases import REFUSED, SAME, Case, Command

LONGEST = 60  # seconds; more is a hang
TRACEBACK = ("Traceback (most recent call last)", "reading failed:", "the image reader failed:")


def load_everything() -> None:
    """So that no fork has to. No net is built and no thread started here."""
    for name in ("caffe", "cv2", "features.run", "training.run", "train", "extract", "upgrade", "evaluate", "query",
                 "make_lmdb", "mean_image", "cifar_table"):
        importlib.import_module(name)
    import cv2  # behind the imports of the programs
    cv2.setNumThreads(1)


def digests(folder: Path) -> dict[str, str]:
    """{relative path: what the file is} of everything below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder" if path.is_dir() else "special"
    return found


def run_command(command: Command, folder: Path, log: Path) -> tuple[int | None, str]:
    """(exit status, None for a hang; what it said) of a command with `folder` as its current one."""
    child = os.fork()
    if child == 0:
        _be_the_program(command, folder, log)
    started = time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), log.read_text(errors="replace")
        if time.monotonic() - started > LONGEST:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None, log.read_text(errors="replace")
        time.sleep(0.01)


def _be_the_program(command: Command, folder: Path, log: Path) -> None:
    status = 99
    try:
        os.setsid()
        faulthandler.disable()
        os.chdir(folder)
        handle = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        for descriptor in (1, 2):
            os.dup2(handle, descriptor)
        sys.stdout = open(1, "w", buffering=1, closefd=False)
        sys.stderr = open(2, "w", buffering=1, closefd=False)
        module = importlib.import_module(command.program)
        runner = sys.modules.get(module.run_program.__module__)
        arguments = list(command.arguments)
        if runner.__name__ == "process.program":
            status = module.main(arguments)
        else:  # the other rooms' run_program takes a main without arguments
            status = runner.run_program(lambda: module.main(arguments))
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        import traceback  # only a failure needs it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status or 0)


def results_of(command: Command, folder: Path) -> dict[str, str]:
    """Digests of the arrays, databases and models that a command made: what may not differ in silence."""
    kept = (".npy", ".npz", ".mdb", ".caffemodel", ".binaryproto")
    return {name: _members(folder / name) if name.endswith(".npz") else told for name, told in digests(folder).items()
            if name.startswith(command.outputs) and name.endswith(kept) and "lock" not in name}


def _members(path: Path) -> str:
    """Names and check sums of a saved search's arrays; times stand in the zip and in its meta."""
    with zipfile.ZipFile(path) as packed:
        return str([(member.filename, member.file_size, member.CRC) for member in packed.infolist()
                    if member.filename != "meta.npy"])


def judge(case: Case, good: Path, wanted: dict[str, str], rng) -> tuple[str, str]:
    """(outcome, words): read, refused, traceback, silent, hang or harm."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "here"
        shutil.copytree(good, folder)
        case.change(folder / case.file, rng)
        before = digests(folder)
        status, said = run_command(case.command, folder, Path(place) / "log")
        after = digests(folder)
        changed = [name for name in before
                   if before[name] != after.get(name) and not name.startswith(case.command.outputs)
                   and not name.endswith("lock.mdb")]  # LMDB's table of readers
        if status is None:
            return "hang", said
        if any(words in said for words in TRACEBACK) or status not in (0, 1, 2):
            return "traceback", f"status {status}: {said}"
        if changed:
            return "harm", f"changed {changed[0]}"
        if status:
            return ("refused", said) if said.strip() else ("silent", "refused without a word")
        if case.expected == REFUSED:
            return "silent", f"read as if nothing were wrong: {said[-300:]}"
        if case.expected == SAME and results_of(case.command, folder) != wanted:
            return "silent", "another result than from the good input"
        return "read", said


def count(outcomes: list[str]) -> str:
    """The figures in words."""
    found = Counter(outcomes)
    return f"tried {len(outcomes)}, " + ", ".join(f"{name} {found.get(name, 0)}" for name in (
        "read", "refused", "traceback", "silent", "hang", "harm"))
