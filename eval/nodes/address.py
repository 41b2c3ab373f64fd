"""Where a cluster is, and what this machine keeps of it: its token and a record of each node started here."""

import ipaddress
import os
import secrets
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from basics.files import regular_file
from basics.program import EvalError

REPO = Path(__file__).resolve().parents[2]
CLUSTERS = REPO / "build/cluster"
DEFAULT_PORT = 6379
LOOPBACK = "127.0.0.1"
REACH_S = 2.0       # a head that does not take a connection in this time is not there
TOKEN_BYTES = 32


@dataclass(frozen=True)
class Address:
    """Where the head of a cluster listens; host as Ray knows it, an address in numbers."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def folder(self) -> Path:
        """What this checkout keeps of the cluster: token, records, logs of starting."""
        return CLUSTERS / f"{self.host}_{self.port}"


def parse_address(text: str) -> Address:
    """The Address of "host:port". EvalError for anything else, and for a host without an address."""
    host, colon, port = text.strip().rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise EvalError(f"CLUSTER={text}: give host:port, as `make cluster-head` printed it")
    return Address(numbers_of(host), int(port))


def numbers_of(host: str) -> str:
    """The IPv4 address of a host. EvalError where it has none."""
    try:
        return socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]
    except (socket.gaierror, UnicodeError):
        raise EvalError(f"{host} has no IPv4 address: give the one at which the cluster's head listens") from None


def own_address(head: Address) -> str:
    """The address of this machine by which the head is reached."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((head.host, head.port))       # sends nothing
        return probe.getsockname()[0]


def is_reachable(address: Address, seconds: float = REACH_S) -> bool:
    """Whether something takes connections at the address."""
    try:
        socket.create_connection((address.host, address.port), seconds).close()
    except OSError:
        return False
    return True


def check_reachable(address: Address):
    """EvalError unless something listens at the address: Ray itself would try for minutes."""
    if not is_reachable(address):
        raise EvalError(f"there is no cluster at {address} (CLUSTER=): `make cluster-head` starts one and prints its "
                        "address; from another machine its HOST= must be given there")


def new_token(address: Address) -> Path:
    """A new token of a cluster that starts: 64 hexadecimal digits in a file that its owner alone reads."""
    folder = address.folder
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    path = folder / "token"
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w") as file:
        file.write(secrets.token_hex(TOKEN_BYTES))
    return path


def token_of(address: Address, given: Path | None = None) -> Path:
    """The file of a cluster's token. EvalError where there is none, or others may read it."""
    path = given or address.folder / "token"
    if not path.exists():
        raise EvalError(f"{path} is missing: copy the token that the head of {address} keeps, "
                        f"{CLUSTERS.relative_to(REPO)}/{address.host}_{address.port}/token, to this machine and name "
                        "it with TOKEN=")
    mode = stat.S_IMODE(regular_file(path).stat().st_mode)
    if mode & 0o077:
        raise EvalError(f"{path} has mode {mode:04o}, so others can read the cluster's token: chmod 600 {path}")
    return path.resolve()
