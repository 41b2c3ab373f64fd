"""The trial of search on a cluster: nodes and actors are killed and stopped while queries are asked.

    make test-cluster          # or, from tests/cluster: python trial.py

Every answer is compared with the one machine's. Printed are wrong and short answers, the slowest right one and the time
until answers are quick again. Status 1 where a goal is missed. Everything is ended at the end, and by a deadline.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "eval"), str(Path(__file__).resolve().parent)]

import numpy as np  # noqa: E402
from cluster_cases import Cluster, family  # noqa: E402
from shard_cases import one_machine, tied_split  # noqa: E402

from basics.program import EvalError  # noqa: E402
from engines.cluster_engine import ClusterEngine, ClusterGone  # noqa: E402
from engines.shards import cut  # noqa: E402
from nodes.address import parse_address  # noqa: E402

IMAGES, BITS, UNITS, SHARDS = 20_000, 32, 256, 4
QUERIES, TOP_K, RADIUS = 64, 20, 7
WITHIN_S = {2: 1.0, 1: 20.0}    # goals: the slowest right answer by the number of copies
NORMAL = 20             # so many answers in a row as quick as before the event
DEADLINE_S = 290.0


@dataclass
class Stream:
    """What queries asked one after the other found. times: (seconds since the event, seconds it took)."""

    wrong: int = 0
    errors: list[str] = field(default_factory=list)
    short: int = 0
    times: list[tuple[float, float]] = field(default_factory=list)


class Trial:
    """The database in shards, the right answers, and a stream of queries."""

    def __init__(self, folder: Path):
        self.folder, self.split = folder, tied_split(folder, IMAGES, BITS, UNITS)
        cut(self.split, folder / "shards", SHARDS)
        rows = np.linspace(0, IMAGES - 1, QUERIES).astype(int)
        self.codes, self.fc7 = self.split.packed()[rows], self.split.fc7[rows]
        machine = one_machine(self.split)
        self.right = [self.ask(machine, query) for query in range(QUERIES)]

    def ask(self, engine, query):
        one = slice(query, query + 1)
        return engine.lists(self.codes[one], self.fc7[one], TOP_K, RADIUS)

    def engine(self, cluster: Cluster, copies: int) -> ClusterEngine:
        return ClusterEngine(parse_address(cluster.address), self.folder / "shards", self.split, copies=copies)

    def is_right(self, found, query) -> bool:
        wanted = self.right[query]
        return all(map(np.array_equal, (found.fine.ids, found.fine.pool, found.hamming, *found.nearest),
                       (wanted.fine.ids, wanted.fine.pool, wanted.hamming, *wanted.nearest)))

    def judge(self, stream: Stream, engine, query, since: float):
        started = time.monotonic()
        try:
            found = self.ask(engine, query)
        except EvalError as error:
            stream.errors.append(str(error))
            return None
        took = time.monotonic() - started
        stream.times.append((started - since, took))
        stream.short += found.fine.ids.shape != self.right[query].fine.ids.shape or found.hamming.shape[1] != IMAGES
        stream.wrong += not self.is_right(found, query)
        return took

    def through(self, engine, event: Callable, most: float = 45.0) -> tuple[Stream, float]:
        """(the stream, seconds until answers are quick again) of queries asked while `event` happens."""
        before, stream = Stream(), Stream()
        for query in range(QUERIES):
            self.judge(before, engine, query, time.monotonic())
        assert not before.wrong and not before.errors, before
        quick = max(0.1, 3 * float(np.quantile([took for _, took in before.times], 0.95)))
        done = threading.Thread(target=event)
        since, row, query, normal = time.monotonic(), 0, 0, 0.0
        done.start()
        while (row < NORMAL or done.is_alive() or time.monotonic() - since < 4) and time.monotonic() - since < most:
            took = self.judge(stream, engine, query % QUERIES, since)
            query += 1
            row = row + 1 if took is not None and took <= quick else 0
            if row == 0:
                normal = time.monotonic() - since
        done.join()
        return stream, normal


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    copies: int
    asked: int
    wrong: int
    short: int
    errors: int
    slowest: float
    normal: float

    @property
    def is_good(self) -> bool:
        return not (self.wrong or self.short or self.errors) and self.slowest < WITHIN_S[self.copies]


def told(rows: list[Row]):
    print(f"\n{'what happens':<34}{'copies':>7}{'asked':>7}{'wrong':>7}{'short':>7}{'errors':>8}{'slowest':>10}"
          f"{'normal after':>14}", flush=True)
    for row in rows:
        print(f"{row.name:<34}{row.copies:>7}{row.asked:>7}{row.wrong:>7}{row.short:>7}{row.errors:>8}"
              f"{row.slowest:>8.2f} s{row.normal:>12.1f} s{'' if row.is_good else '   MISSED'}", flush=True)


def actor_of(engine: ClusterEngine, shard: int) -> int:
    """The process of a shard's first copy."""
    handle = next(handle for place, handle in engine.copies.handles.items() if (place.shard, place.copy) == (shard, 0))
    return engine.ray.get(handle.describe.remote(), timeout=30)["pid"]


def holder(engine: ClusterEngine, nodes: list[int]) -> int:
    """One of the nodes that holds the first copy of a shard: stopping another one would show nothing."""
    actors = [actor_of(engine, shard) for shard in range(len(engine.manifest.shards))]
    return next(node for node in nodes if set(actors) & set(family(node)))


def whole(trial: Trial, engine: ClusterEngine, most: float = 60.0) -> float:
    """Wait until every shard has all its copies again; the seconds it took."""
    started = time.monotonic()
    while engine.copies.silent and time.monotonic() - started < most:
        assert trial.is_right(trial.ask(engine, 0), 0)      # a question looks who is back
        time.sleep(0.2)
    return time.monotonic() - started


def run(trial: Trial, name: str, engine, event: Callable, rows: list[Row]):
    print(f"all copies are there after another {whole(trial, engine):.1f} s")
    stream, normal = trial.through(engine, event)
    slowest = max((took for _, took in stream.times), default=float("inf"))
    rows.append(Row(name, engine.copies.copies, len(stream.times) + len(stream.errors), stream.wrong, stream.short,
                    len(stream.errors), slowest, normal))
    told(rows[-1:])
    for error in stream.errors[:2]:
        print(f"    {error}")


def failures(trial: Trial, cluster: Cluster, nodes: list[int], rows: list[Row]):
    """Kills and stops, with two copies and then with one."""
    engine = trial.engine(cluster, 2)
    run(trial, "nothing", engine, lambda: None, rows)
    run(trial, "kill -9 of a shard's actor", engine, lambda: os.kill(actor_of(engine, 1), signal.SIGKILL), rows)
    stopped = holder(engine, nodes)
    run(trial, "SIGSTOP of a node", engine, lambda: cluster.freeze(stopped), rows)
    run(trial, "SIGCONT of that node", engine, lambda: cluster.thaw(stopped), rows)
    nodes.remove(stopped)       # it was given up meanwhile, so it ends when it wakes
    killed = holder(engine, nodes)
    nodes.remove(killed)
    run(trial, "kill -9 of a node", engine, lambda: cluster.kill(killed), rows)

    def add():
        nodes.append(cluster.add_node())
        engine.copies.rebalance()

    run(trial, "a node added, shards spread anew", engine, add, rows)
    run(trial, "another cluster comes and goes", engine, another_cluster, rows)
    engine.ray.shutdown()
    nodes.append(cluster.add_node())    # two will be lost, and one has to be left
    engine = trial.engine(cluster, 1)
    run(trial, "kill -9 of a shard's actor", engine, lambda: os.kill(actor_of(engine, 2), signal.SIGKILL), rows)
    stopped = holder(engine, nodes)
    nodes.remove(stopped)
    run(trial, "SIGSTOP of a node", engine, lambda: cluster.freeze(stopped), rows)
    killed = holder(engine, nodes)
    run(trial, "kill -9 of a node", engine, lambda: cluster.kill(killed), rows)
    return engine


def another_cluster():
    """A second one on the same machine, with a node, stopped again: it takes nothing of the first with it."""
    other = Cluster()
    try:
        other.add_node()
    finally:
        other.stop()


def head_killed(trial: Trial, cluster: Cluster, engine) -> float:
    """Seconds until a client says that the head is gone."""
    record = json.loads(next(cluster.folder.glob("node-1.json")).read_text())
    cluster.kill(record["pid"])
    started = time.monotonic()
    while time.monotonic() - started < 30:
        try:
            assert trial.is_right(trial.ask(engine, 0), 0)
        except ClusterGone as error:
            print(f"\nkill -9 of the head: {time.monotonic() - started:.1f} s until it is told: {error}")
            return time.monotonic() - started
        time.sleep(0.1)
    return float("inf")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=DEADLINE_S, help="at most (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="the table as JSON")
    given = parser.parse_args()
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError("the trial took too long")))
    signal.setitimer(signal.ITIMER_REAL, given.seconds)
    folder, clusters, rows = Path(tempfile.mkdtemp(prefix="trial")), [], []
    try:
        trial = Trial(folder)
        clusters.append(Cluster())
        nodes = [clusters[0].add_node() for _ in range(3)]
        engine = failures(trial, clusters[0], nodes, rows)
        gone = head_killed(trial, clusters[0], engine)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for cluster in clusters:
            cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
    told(rows)
    if given.out:
        given.out.write_text(json.dumps([vars(row) for row in rows] + [{"head gone told after": gone}], indent=1))
    return 0 if all(row.is_good for row in rows) and gone < 5 else 1


if __name__ == "__main__":
    sys.exit(main())
