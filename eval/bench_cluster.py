"""What a cluster costs beside the one machine: a query's time and a batch's, on the same made-up database.

    .venv/bin/python eval/bench_cluster.py --cluster 127.0.0.1:6379

Both sides answer in turn, and their answers must be equal.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from basics.program import EvalError, positive, run_program

# isort: split
import numpy as np

from benchmarks.made_up import synthetic
from benchmarks.races import race, report_race
from engines.cluster_engine import ClusterEngine
from engines.shards import cut
from nodes.address import Address, parse_address
from search.coarse import CodeIndex
from search.codes import pack
from search.engine import Engine, ThisMachine
from search.feature_set import Split
from search.fine import Fc7Index

TOP_K, LIST_LENGTH = 10, 1000
ROUNDS = 3


@dataclass(frozen=True)
class BenchOptions:
    """bits, units of the made-up features; queries of the batch, and how many are asked one by one."""

    cluster: Address
    token: Path | None
    database: int
    queries: int
    single: int
    bits: int
    units: int
    shards: int


def parse_arguments(argv: list[str] | None) -> BenchOptions:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--cluster", required=True, help="host:port of the head")
    add("--token", type=Path, help="file with the cluster's token (default: the one below build/cluster)")
    for name, usual in (("database", 100_000), ("queries", 2000), ("single", 200), ("bits", 48), ("units", 1024),
                        ("shards", 2)):
        add(f"--{name}", type=positive, default=usual, help="default: %(default)s")
    given = vars(parser.parse_args(argv))
    return BenchOptions(parse_address(given.pop("cluster")), **given)


def times_of(engine: Engine, codes: np.ndarray, fc7: np.ndarray, radius: int) -> tuple[np.ndarray, list]:
    """(seconds (Q,), lists) of queries asked one by one."""
    seconds, found = [], []
    for row in range(len(codes)):
        started = time.perf_counter()
        found.append(engine.lists(codes[row:row + 1], fc7[row:row + 1], TOP_K, radius).fine.ids)
        seconds.append(time.perf_counter() - started)
    return np.array(seconds), found


def main(argv: list[str] | None = None) -> int:
    options = parse_arguments(argv)
    queries, database = synthetic(options.queries, options.database, options.bits, options.units)
    with tempfile.TemporaryDirectory() as folder:
        split = Split(Path(folder), labels=database.labels, ready_codes=database.codes, fc7=database.fc7,
                      meta={"bits": options.bits})
        cut(split, Path(folder) / "shards", options.shards)
        cluster = ClusterEngine(options.cluster, Path(folder) / "shards", split, options.token)
        index = Fc7Index(database.fc7)
        compare(ThisMachine(CodeIndex(split.packed()), lambda: index), cluster, pack(queries.codes), queries.fc7,
                options)
    return 0


def compare(machine: Engine, cluster: Engine, codes: np.ndarray, fc7: np.ndarray, options: BenchOptions):
    """Print both sides. EvalError where their lists differ."""
    radius = int(np.median(machine.search(codes[:200], 100)[1][:, -1])) + 1
    length, some = min(LIST_LENGTH, machine.count), slice(0, options.single)
    for engine in (machine, cluster):
        engine.load(codes, length, fine=True)
        times_of(engine, codes[:5], fc7[:5], radius)
    (here, wanted), (there, found) = (times_of(engine, codes[some], fc7[some], radius) for engine in (machine, cluster))
    if not np.array_equal(wanted, found):
        raise EvalError("the cluster's lists are not those of this machine")
    told = cluster.describe()
    print(f"{machine.count:,} images, {options.bits} bits, fc7 of {options.units:,}, T = {radius}; {told['shards']} "
          f"shards, {told['copies']} copies, {told['nodes']} nodes")
    print(f"one query, median: this machine {1000 * np.median(here):.1f} ms, cluster {1000 * np.median(there):.1f} ms, "
          f"{1000 * (np.median(there) - np.median(here)):+.1f} ms")
    times = race(ROUNDS, this_machine=lambda: machine.two_stage(codes, fc7, length, radius),
                 cluster=lambda: cluster.two_stage(codes, fc7, length, radius))
    report_race(f"{len(codes):,} queries in two stages, lists of {length}", times, "this_machine")
    print(f"  throughput of the cluster: {times['this_machine'][0] / times['cluster'][0]:.2f} of this machine's")


if __name__ == "__main__":
    run_program(main)
