"""Which engine a program was asked for: this machine unless a cluster is named."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from basics.program import EvalError
from engines.shards import read_manifest
from nodes.address import Address, parse_address
from search.engine import Engine
from search.feature_set import Split


@dataclass(frozen=True)
class ClusterChoice:
    """A cluster, the folder of the shards as the client sees it, the cluster's token, and the copies of a shard."""

    address: Address
    shards: Path
    token: Path | None = None
    copies: int | None = None

    def engine(self, database: Split) -> Engine:
        """The engine of a database. EvalError unless the shards are of it; says so where their fc7 was rounded."""
        rounded = self.rounded(database)
        if rounded:
            print(f"{self.shards}: {rounded}, so distances and orders by fc7 are those of rounded values",
                  file=sys.stderr)
        return self._engine(database)

    def exact_engine(self, database: Split) -> Engine:
        """The same. EvalError where their fc7 was rounded: figures would be of other features."""
        rounded = self.rounded(database)
        if rounded:
            raise EvalError(f"{self.shards}: {rounded}: figures would be of other features. Cut them with the fc7 that "
                            "was extracted (make shards, without --fc7)")
        return self._engine(database)

    def rounded(self, database: Split) -> str:
        """What was done to fc7 when it was cut; "" where it is as it was."""
        fc7 = read_manifest(self.shards).fc7
        if fc7 is None or database.fc7 is None or np.dtype(fc7["dtype"]).itemsize >= database.fc7.dtype.itemsize:
            return ""
        return f"fc7 is {fc7['dtype']} there, {database.fc7.dtype} in the features"

    def _engine(self, database):
        from engines.cluster_engine import ClusterEngine  # one machine does without

        return ClusterEngine(self.address, self.shards, database, self.token, self.copies)


def add_arguments(add: Callable):
    """The options of a cluster, for a parser's add_argument."""
    add("--cluster", help="search on the cluster whose head is at host:port (default: on this machine)")
    add("--shards", type=Path, help="shards of the database for the cluster (default: shards beside the features)")
    add("--token", type=Path, help="file with the cluster's token (default: the one below build/cluster)")
    add("--copies", type=int, help="of each shard, on nodes of their own (default: 2, or 1 with one node)")


def cluster_of(given: argparse.Namespace, features: Path | None) -> ClusterChoice | None:
    """The cluster that was asked for; None for this machine. EvalError for options of a cluster without one."""
    if not given.cluster:
        named = [name for name in ("shards", "token", "copies") if getattr(given, name) is not None]
        if named:
            raise EvalError(f"--{named[0]} is of use with --cluster (CLUSTER=) alone")
        return None
    if features is None and given.shards is None:
        raise EvalError("--cluster (CLUSTER=) needs --shards where a package is asked: packages are not cut")
    if given.copies is not None and given.copies < 1:
        raise EvalError(f"--copies {given.copies}: give at least 1")
    return ClusterChoice(parse_address(given.cluster), given.shards or features.parent / "shards", given.token,
                         given.copies)
