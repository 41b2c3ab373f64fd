"""Programs killed at random moments, and disks that are full at random places: then the same command again."""
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from torture import words
from torture.cases import COMMANDS, Command
from torture.good import REPO
from torture.trial import digests, results_of

FOLDER_OF = {"make_lmdb": "data_prep", **dict.fromkeys(("evaluate", "query", "compare", "shards"), "eval")}
STAGES = [command for command in COMMANDS
          if command.name in ("train", "extract", "evaluate", "query", "lists", "go on", "add", "package",
                              "join features", "join databases", "shards")]
AGAIN = {"lists": ("--keep",), "join databases": ("--keep",)}
MADE_WAY = r"another|exists|is in the database"  # what the second of two at once may be told
BESIDE = "beside itself: "
LONGEST = 1200  # seconds; far beyond what a busy machine needs
# What the demo leaves; few iterations, and a snapshot half way.
DEMO = ("demo", "ITERS=60", "GPU=none", "TRAIN_OPTIONS=--snapshot-every 20",
        "EVAL_OPTIONS=--if-changed --baselines none")
DEMO_LEAVES = ("data/digits28/train_lmdb/data.mdb", "data/digits28/test_lmdb/data.mdb", "runs/demo/final.caffemodel",
               *(f"runs/demo/features/{split}/{name}.npy" for split in ("train", "test")
                 for name in ("latent", "fc7", "labels", "predictions", "thumbs")),
               "runs/demo/eval/codes-train.npy", "runs/demo/eval/codes-test.npy")
KINDS = ("kill", "kill", "kill", "Ctrl-C", "full disk", "two at once")
KILLS_OF_A_DEMO, KILLS_OF_A_SERVER = 8, 4


def disturbed(good: Path, rng: random.Random, only: str) -> Iterator[tuple[str, str]]:
    """(kind, outcome) without end: kill or full disk of a stage; outcome is kept, or begins with lost or traceback.

    Every round has each stage of the table three times and its full disk once, then the demo and the server.
    """
    stages = [command for command in STAGES if re.search(only, command.name)]
    wanted, length, largest = {}, {}, {}
    while True:
        for command in stages:
            for kind in KINDS:
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
                    said = DISTURB[kind](command, folder, rng, length[command.name], largest[command.name])
                    yield kind, _went_on(command, folder, wanted[command.name], said)
        if re.search(only, "demo"):
            yield from _demo(rng, wanted)
        if re.search(only, "serve"):
            yield from _serve(good, rng, wanted)


# ---------------------------------------------------------------- one program
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
    said = process.communicate(timeout=LONGEST)[0].decode(errors="replace")
    return process.returncode, said, time.monotonic() - started


def _went_on(command: Command, folder: Path, wanted: dict[str, str], said: str) -> str:
    """The outcome of the same command after a disturbance."""
    status, again, _ = finish(command, folder, AGAIN.get(command.name, ()))
    # Whole when the kill came: it is neither written over nor added once more.
    done_already = command.name in ("package", "add") and re.search("exists|is in the database", again)
    if "Traceback" in said + again:
        return f"traceback {command.name}: {said}{again}"
    if said.startswith(BESIDE):
        return f"lost {command.name}: {said[-400:]}"
    if status and not done_already:
        return f"lost {command.name}: {again[-400:]}"
    found = results_of(command, folder)
    differing = [name for name in wanted if found.get(name) != wanted[name]]
    return f"lost {command.name}: another {differing[0]}" if differing else "kept"


def _kill(command: Command, folder: Path, rng: random.Random, length: float, largest: int) -> str:
    process = start(command, folder)
    time.sleep(rng.uniform(0, length * 1.05))
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=LONGEST)
    return ""


def _fill(command: Command, folder: Path, rng: random.Random, length: float, largest: int) -> str:
    process = start(command, folder, limit=rng.randrange(largest))
    return process.communicate(timeout=LONGEST)[0].decode(errors="replace")


def _press(command: Command, folder: Path, rng: random.Random, length: float, largest: int) -> str:
    """Ctrl-C. In the first moments Python itself loads, and nobody can make a sentence of it."""
    process = start(command, folder)
    time.sleep(rng.uniform(0, length * 1.05))
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=LONGEST)[0].decode(errors="replace")
    return said if "run_program" in said or process.returncode in (0, 1, 130) else ""


def _twice(command: Command, folder: Path, rng: random.Random, length: float, largest: int) -> str:
    """The same command beside itself, stopped while it writes: the second one has to be told so."""
    first = start(command, folder)
    while first.poll() is None and not _locks(first.pid):
        time.sleep(0.0005)
    if first.poll() is not None:
        return f"{BESIDE}no folder was locked. {first.communicate()[0].decode(errors='replace')}"
    os.killpg(first.pid, signal.SIGSTOP)
    try:
        second = start(command, folder)
        said = second.communicate(timeout=LONGEST)[0].decode(errors="replace")
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    whole = first.communicate(timeout=LONGEST)[0].decode(errors="replace")
    told = second.returncode and re.search(MADE_WAY, said)
    return said + whole if told else f"{BESIDE}{said}"


def _locks(session: int) -> bool:
    """Whether a process of a session holds a lock of a folder."""
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and _session_of(int(fields[4])) == session:
            return True
    return False


def _session_of(process: int) -> int | None:
    try:
        return os.getsid(process)
    except OSError:  # it has ended, or is none of this machine's
        return None


DISTURB = {"kill": _kill, "full disk": _fill, "Ctrl-C": _press, "two at once": _twice}


# ---------------------------------------------------------------- make demo: killed again and again on its way
def _demo(rng: random.Random, wanted: dict) -> Iterator[tuple[str, str]]:
    """Kills of `make demo`, all its processes at once, each going on from what the one before left; then the result."""
    if "demo" not in wanted:
        with tempfile.TemporaryDirectory() as place:
            started = time.monotonic()
            status, said = _finished_demo(words.checkout(Path(place)))
            if status:
                raise RuntimeError(f"make demo fails undisturbed: {said}")
            wanted["demo"] = _demo_leaves(Path(place) / words.NAME), time.monotonic() - started
    leaves, length = wanted["demo"]
    with tempfile.TemporaryDirectory() as place:
        checkout = words.checkout(Path(place))
        for _ in range(KILLS_OF_A_DEMO - 1):
            _kill_demo(checkout, rng, length)
            yield "kill", "kept"  # its share of the result below, which is of them all
        _kill_demo(checkout, rng, length)
        status, said = _finished_demo(checkout)
        differing = [] if status else [name for name, told in _demo_leaves(checkout).items() if told != leaves[name]]
        if "Traceback" in said:
            yield "kill", f"traceback demo: {said[-800:]}"
        elif status or differing:
            yield "kill", f"lost demo: {said[-400:] if status else differing[0]}"
        else:
            yield "kill", "kept"


def _kill_demo(checkout: Path, rng: random.Random, length: float) -> None:
    process = words.make(checkout, *DEMO)
    time.sleep(rng.uniform(0, length * 0.5))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=LONGEST)


def _finished_demo(checkout: Path) -> tuple[int, str]:
    process = words.make(checkout, *DEMO)
    said = process.communicate(timeout=LONGEST)[0].decode(errors="replace")
    return process.returncode, said


def _demo_leaves(checkout: Path) -> dict[str, str]:
    """Digests of arrays, databases and weights, and the figures of results.json without times."""
    found = {name: told for name, told in digests(checkout).items() if name in DEMO_LEAVES}
    results = json.loads((checkout / "runs/demo/eval/results.json").read_text())
    figures = [results[name] for name in ("map", "accuracy", "protocols", "precision_at_k")]
    return found | {"figures": json.dumps(figures)}


# ---------------------------------------------------------------- serving
def _serve(good: Path, rng: random.Random, wanted: dict) -> Iterator[tuple[str, str]]:
    """Kills of the server while it answers. It writes nothing, and a new one gives the same answers."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "here"
        shutil.copytree(good, folder)
        before = digests(folder / "run")
        for _ in range(KILLS_OF_A_SERVER):
            process, address = _server(folder)
            answer = _ask(address)
            wanted.setdefault("serve", answer)
            _until_killed(process, address, rng.uniform(0, 0.5))
            changed = before != digests(folder / "run")
            fault = "changed files of the run" if changed else "other answers" if answer != wanted["serve"] else None
            yield "kill", f"lost serve: {fault}" if fault else "kept"


def _server(folder: Path) -> tuple[subprocess.Popen, str]:
    """The process and its address, once it answers."""
    command = [sys.executable, REPO / "eval/serve.py", "--features", "run/features", "--port", "0"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env={**os.environ, "PYTHONUNBUFFERED": "1"})
    for line in process.stdout:
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        if found:
            return process, found[0]
    raise RuntimeError("serve.py ended before it said its address")


def _ask(address: str) -> str:
    """The images that are near one of the database."""
    asked = urllib.request.Request(f"{address}/api/search?of=train/3&k=20", method="POST")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(600):
        try:
            with opener.open(asked, timeout=LONGEST) as answer:
                searches = json.load(answer)["searches"]
                return json.dumps({name: found["results"] for name, found in searches.items()}, sort_keys=True)
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the server does not answer")


def _until_killed(process: subprocess.Popen, address: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        _ask(address)
    process.kill()
    process.communicate()
