"""Runs a case in a fork of this process, which has everything loaded: milliseconds, where a program takes seconds."""
import faulthandler
import hashlib
import importlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from torture import words
from torture.cases import REFUSED, SAME, Case, Command

# Seconds; more is a hang: of computing, of doing nothing at all, of either. Processor time tells them apart: an honest
# program may take many times longer on a busy machine.
LONGEST, IDLE, AT_MOST = 120, 60, 900
MOST_MEMORY = 6 << 30  # bytes of a program: beyond, it gets MemoryError, and the machine stays usable
TICK = os.sysconf("SC_CLK_TCK")
TRACEBACK = ("Traceback (most recent call last)", "reading failed:", "the image reader failed:")


def load_everything() -> None:
    """So that no fork has to. No net is built and no thread started here."""
    for name in ("caffe", "cv2", "features.run", "features.adding", "training.run", "packing.run", "onnx_export.run",
                 "train", "extract", "upgrade", "export", "package", "add", "evaluate", "query", "compare", "make_lmdb",
                 "mean_image", "cifar_table", "fetch", "shards", "features.joining"):
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
    started = moved = time.monotonic()
    computed, looked = 0.0, started
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), log.read_text(errors="replace")
        now = time.monotonic()
        if now - looked > 1:
            looked, before, computed = now, computed, processor_time(child)
            moved = now if computed != before else moved
            if computed > LONGEST or now - moved > IDLE or now - started > AT_MOST:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return None, log.read_text(errors="replace")
        time.sleep(0.01)


def processor_time(session: int) -> float:
    """Seconds that the living processes of a session have computed."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(fields[3]) == session:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICK


def _be_the_program(command: Command, folder: Path, log: Path) -> None:
    status = 99
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
        faulthandler.disable()
        os.chdir(folder)
        handle = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        for descriptor in (1, 2):
            os.dup2(handle, descriptor)
        sys.stdout = open(1, "w", buffering=1, closefd=False)
        sys.stderr = open(2, "w", buffering=1, closefd=False)
        if command.program == "make":
            os.chdir(words.NAME)
            os.execvpe("make", ["make", *words.SET_UP, *command.arguments], words.environment())
        sys.path.insert(0, str(folder))  # as a PYTHONPATH of the user's would: nets must not import from it
        if command.set_up:
            command.set_up()
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


def judge(case: Case, good: Path, wanted: Callable[[], dict[str, str]], rng: Random) -> tuple[str, str]:
    """(outcome, words): read, refused, traceback, silent, hang or harm. wanted: results_of the good input."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "here"
        shutil.copytree(good, folder, symlinks=True)
        case.change(folder / case.file, rng)
        before = digests(folder)
        status, said = run_command(case.command, folder, Path(place) / "log")
        harm = harm_done(case, before, digests(folder), Path(place))
        if status is None:
            return "hang", said
        if any(each in said for each in TRACEBACK) or status not in (0, 1, 2):
            return "traceback", f"status {status}: {said}"
        if harm:
            return "harm", f"{harm}: {said[-300:]}"
        if status:
            fault = case.check_refused and case.check_refused(folder)
            return ("refused", said) if said.strip() and not fault else ("silent", fault or "refused without a word")
        if case.expected == REFUSED:
            return "silent", f"read as if nothing were wrong: {said[-300:]}"
        fault = case.check and case.check(folder)
        if case.expected == SAME and results_of(case.command, folder) != wanted():
            fault = "another result than from the good input"
        return ("silent", fault) if fault else ("read", said)


def harm_done(case: Case, before: dict[str, str], after: dict[str, str], place: Path) -> str | None:
    """What was changed, removed or made outside the outputs. LMDB's table of readers does not count."""
    free = (*case.command.outputs, *(f"{name}.partial" for name in case.command.outputs))
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name) and not name.startswith(free) and not name.endswith("lock.mdb") \
                and "__pycache__" not in name:
            return f"{'changed' if name in before else 'made'} {name}"
    outside = sorted(path.name for path in place.iterdir() if path.name not in ("here", "log"))
    return f"made ../{outside[0]}" if outside else None


def count(outcomes: list[str]) -> str:
    """The figures in words."""
    found = Counter(outcomes)
    return f"tried {len(outcomes)}, " + ", ".join(f"{name} {found.get(name, 0)}" for name in (
        "read", "refused", "traceback", "silent", "hang", "harm"))
