"""Starting the head and the nodes of a cluster on this machine, and ending those that were started from here."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from basics.files import locked_folder, read_json, write_json
from basics.program import EvalError
from basics.rows import default_threads
from nodes.address import CLUSTERS, REPO, Address, check_reachable, is_reachable, new_token, own_address, token_of
from nodes.connect import RESOURCE, check_installed, environment
from nodes.processes import MARK, end, marked

UP_S = 90.0             # a node that is not up in this time is given up
STARTS = 4              # attempts, where the machine is too busy for Ray's patience
QUEUE_S = 300.0         # so long a node waits for others that start on this machine
STORE_MIB = 512         # of shared memory a node's object store may take: replies pass through it, shards do not
# AF_UNIX takes paths of 107 characters, of which Ray adds session_2026-01-01_00-00-00_123456_1234567/sockets/...
LONGEST_FOLDER = 107 - len("/session_2026-01-01_00-00-00_123456_1234567/sockets/plasma_store.10")
# A node that was killed or stopped is given up after about five seconds.
HEALTH = {"RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "2000",
          "RAY_health_check_failure_threshold": "3", "RAY_health_check_initial_delay_ms": "1000"}
STARTED = "Ray runtime started"


@dataclass(frozen=True)
class NodeOptions:
    """host: this node's address, None for the one that reaches the head. threads: processors that it offers.

    shards: folder of this node's own copy of shards, None where it reads them where the client has them.
    """

    host: str | None = None
    threads: int | None = None
    shards: Path | None = None
    store_mib: int = STORE_MIB


@dataclass(frozen=True)
class Record:
    """What is kept of a node started here: its first process, the mark of all of them, its temporary folder."""

    role: str
    cluster: str
    host: str
    pid: int
    mark: str
    folder: str
    log: str


def start_head(address: Address, options: NodeOptions) -> Record:
    """Start the head: it leads, and holds no shards. EvalError where the port is taken or it does not come up."""
    check_installed()
    with one_after_another():
        if is_reachable(address):
            raise EvalError(f"port {address.port} of {address.host} is in use: give another one, "
                            f"PORT={address.port + 1}, or make cluster-stop PORT={address.port}")
        end_records(address)
        token = new_token(address)
        words = ["--head", "--port", str(address.port), "--node-ip-address", address.host, "--include-dashboard",
                 "false", "--num-cpus", "0"]
        return _start("head", address, address.host, token, words, options, HEALTH)


def start_node(address: Address, token: Path | None, options: NodeOptions) -> Record:
    """Start a node of the cluster on this machine. EvalError where it does not come up, with what Ray said."""
    check_installed()
    check_reachable(address)
    token = token_of(address, token)
    with one_after_another():       # several at once were seen to time out
        host = options.host or own_address(address)
        words = ["--address", str(address), "--node-ip-address", host, "--num-cpus",
                 str(options.threads or default_threads()), "--resources", json.dumps({RESOURCE: 1})]
        return _start("node", address, host, token, words, options, HEALTH)


@contextmanager
def one_after_another() -> Iterator[None]:
    """One start at a time on this machine; others wait."""
    until = time.monotonic() + QUEUE_S
    while True:
        try:
            with locked_folder(CLUSTERS / ".starting"):
                yield
                return
        except EvalError:
            if time.monotonic() > until or not _is_locked():
                raise
        time.sleep(0.2)


def _is_locked():
    try:
        with locked_folder(CLUSTERS / ".starting"):
            return False
    except EvalError:
        return True


class StartTimedOut(EvalError):
    """A node that Ray gave up because its parts took more than the 30 s that it allows them."""


def _start(role, *arguments):
    for left in reversed(range(STARTS)):
        try:
            return _start_once(role, *arguments)
        except StartTimedOut:
            if not left:
                raise


def _start_once(role, address, host, token, words, options, more):
    folder = temporary_folder()
    number = 1 + max((int(path.stem.partition("-")[2]) for path in records_of(address)), default=0)
    mark = f"{address}/{number}/{folder.name}"
    log = address.folder / f"{role}-{number}.log"
    address.folder.mkdir(parents=True, exist_ok=True)
    settings = {**os.environ, **environment(address, token), **more, MARK: mark,
                "PYTHONPATH": f"{REPO / 'eval'}{os.pathsep}{REPO / 'python'}", "HASH_CODES_ROOT": str(REPO),
                "HASH_CODES_THREADS": str(options.threads or default_threads())}
    settings.pop("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", None)     # ray start refuses nodes with it; launch.py does it
    if options.shards:
        settings["HASH_CODES_SHARDS"] = str(options.shards.resolve())
    command = [sys.executable, "-m", "nodes.launch", *words, "--block", "--temp-dir", str(folder),
               "--object-store-memory", str(options.store_mib << 20), "--disable-usage-stats", "--include-log-monitor",
               "false", "--log-style", "record", "--log-color", "false"]
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=settings,
                                   cwd=REPO, start_new_session=True)
    record = Record(role, str(address), host, process.pid, mark, str(folder), str(log))
    write_json(address.folder / f"node-{number}.json", asdict(record))
    _wait_until_up(process, record, address.folder / f"node-{number}.json")
    return record


def _wait_until_up(process, record, path):
    until = time.monotonic() + UP_S
    log = Path(record.log)
    while STARTED not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > until:
            said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-6:]
            end_record(path)
            why = "ended" if process.returncode is not None else f"was not up after {UP_S:.0f} s"
            kind = StartTimedOut if any("timed out during startup" in line for line in said) else EvalError
            raise kind(f"the {record.role} at {record.host} {why}: {told(said)}")
        time.sleep(0.1)


def told(lines: list[str]) -> str:
    """What Ray's log says of a start that failed, in a sentence."""
    text = " ".join(lines)
    if "InvalidAuthToken" in text or "AuthenticationError" in text or "Unauthenticated" in text:
        return "the token is not that of the cluster: copy the one that its head keeps (TOKEN=)"
    place = text.find("Version mismatch")
    if place >= 0:
        return f"{text[place:]} Install the same versions on all machines"
    return text[-600:]


def temporary_folder() -> Path:
    """A new folder for Ray's sockets and logs: in build/ray, or below /tmp where the checkout's path is too long."""
    within = REPO / "build/ray"
    if len(str(within)) + 10 > LONGEST_FOLDER:
        return Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    within.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="r", dir=within))


def records_of(address: Address) -> list[Path]:
    """Files of the nodes that were started here, in that order."""
    return sorted(address.folder.glob("node-*.json"), key=lambda path: int(path.stem.partition("-")[2]))


def read_record(path: Path) -> Record | None:
    """None for a file of another form."""
    try:
        return Record(**read_json(path))
    except TypeError:
        return None


def living(address: Address) -> list[Record]:
    """The nodes started here of which a process lives."""
    found = [read_record(path) for path in records_of(address)]
    return [record for record in found if record and marked(record.mark)]


def end_record(path: Path) -> int:
    """End one node that was started here. How many processes it had."""
    record = read_record(path)
    ended = end(record.mark, record.pid) if record else 0
    if record and Path(record.folder).name.startswith("r"):
        shutil.rmtree(record.folder, ignore_errors=True)
    path.unlink(missing_ok=True)
    return ended


def end_records(address: Address) -> int:
    """End all nodes of a cluster that were started here, the head last. How many processes they had."""
    return sum(end_record(path) for path in reversed(records_of(address)))
