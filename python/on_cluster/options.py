"""What extract_cluster.py can be told. Imports nothing that loads Caffe or Ray."""
import argparse
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from features.options import SPLITS, ExtractOptions
from features.words import parse_extraction
from process.checkout import ROOT
from process.errors import DriverError


@dataclass(frozen=True)
class Cluster:
    """host: of the head, in numbers. token: file of the cluster's token."""
    host: str
    port: int
    token: Path

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class ClusterOptions:
    """words: of extract.py's command line, which extraction holds parsed. parts: how many of each source."""
    cluster: Cluster
    parts: int
    words: tuple[str, ...]
    extraction: ExtractOptions


def parse(argv: Sequence[str] | None, description: str) -> ClusterOptions:
    """The options. DriverError for an address, data or a run that there is not."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False,
                                     epilog="All other options are those of extract.py, and go to it as they are.")
    parser.add_argument("--cluster", required=True, metavar="HOST:PORT", help="the cluster's head, as it printed it")
    parser.add_argument("--token", type=Path, metavar="FILE", help="the cluster's token (default: this checkout's)")
    parser.add_argument("--parts", required=True, type=int, metavar="N", help="parts that each source is cut into")
    parser.add_argument("--data", type=Path, metavar="PATH",
                        help="in place of --databases, --lmdb or --images: a folder of databases, a database, a list, "
                             "or a folder of images")
    parser.add_argument("--out", type=Path, required=True,
                        help="folder of the features, on a disk that all nodes share")
    given, rest = parser.parse_known_args(argv)
    if given.parts < 1:
        parser.error("--parts must be at least 1")
    words = (*rest, *(source_words(given.data) if given.data else ()), "--out", str(given.out))
    extraction = parse_extraction(words, description)
    if extraction.part or extraction.join:
        parser.error("--part and --join are given to extract.py, by this program")
    return ClusterOptions(address(given.cluster, given.token), given.parts, words, extraction)


def source_words(data: Path) -> tuple[str, str]:
    """extract.py's words for a place of images. DriverError when there is none."""
    if (data / "data.mdb").is_file():
        return "--lmdb", str(data)
    if any((data / f"{split}_lmdb").is_dir() for split in SPLITS):
        return "--databases", str(data)
    if not data.exists():
        raise DriverError(f"DATA={data}: there is nothing; name a folder of databases (as data/cifar10), a database, a "
                          "list, or a folder of images")
    return "--images", str(data)


def address(text: str, token: Path | None) -> Cluster:
    """The cluster at "host:port"; its token is the one that this checkout keeps unless one is named."""
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise DriverError(f"CLUSTER={text}: give host:port, as make cluster-head printed it")
    try:
        host = socket.gethostbyname(host)
    except (OSError, UnicodeError):
        raise DriverError(f"CLUSTER={text}: {host} has no IPv4 address: give the one at which the cluster's head "
                          "listens") from None
    token = token or ROOT / f"build/cluster/{host}_{port}/token"
    if not token.is_file():
        raise DriverError(f"{token} is missing: copy the cluster's token from its head's checkout, and name it with "
                          "TOKEN=")
    if token.stat().st_mode & 0o077:
        raise DriverError(f"{token} can be read by others: chmod 600 {token}")
    return Cluster(host, int(port), token.resolve())
