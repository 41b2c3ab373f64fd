"""A Ray cluster for searching and extracting on several machines: its head, its nodes, their end.

    .venv/bin/python eval/cluster.py head --port 6379                       # on one machine
    .venv/bin/python eval/cluster.py node --cluster 127.0.0.1:6379          # on each, one after the other
    .venv/bin/python eval/cluster.py status --cluster 127.0.0.1:6379
    .venv/bin/python eval/cluster.py rebalance --cluster 127.0.0.1:6379 --shards runs/demo/shards
    .venv/bin/python eval/cluster.py stop --cluster 127.0.0.1:6379          # what was started from this checkout

`make cluster-head` and the like call it so. Nothing listens beyond this machine unless --host says so.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from basics.program import EvalError, positive, run_program
from engines.cluster_engine import ClusterEngine
from nodes.address import DEFAULT_PORT, LOOPBACK, Address, numbers_of, parse_address
from nodes.connect import RESOURCE, connect
from nodes.starting import NodeOptions, end_records, living, records_of, start_head, start_node


@dataclass(frozen=True)
class ClusterOptions:
    """What to do with which cluster; token None: the one that this checkout keeps."""

    command: str
    cluster: Address
    token: Path | None
    node: NodeOptions


def parse_arguments(argv: list[str] | None) -> ClusterOptions:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS)
    add = parser.add_argument
    add("--cluster", help=f"host:port of the head (default: {LOOPBACK}, and --port)")
    add("--port", type=int, default=DEFAULT_PORT, help="head: where it listens (default: %(default)s)")
    add("--host", help="head and node: the address of this machine that the other machines reach "
        f"(default: {LOOPBACK} for the head, for a node the one that reaches the head)")
    add("--token", type=Path, help="file with the cluster's token (default: the one below build/cluster)")
    add("--threads", type=positive, help="node: processors that it offers (default: those available)")
    add("--shards", type=Path,
        help="node: its own copy of shards, where it does not see the client's; rebalance: which")
    add("--store-mib", type=positive, default=NodeOptions.store_mib,
        help="shared memory for replies on their way (default: %(default)s MiB)")
    given = parser.parse_args(argv)
    if not 1 <= given.port <= 65535:
        raise EvalError(f"--port {given.port} (PORT=): give 1 to 65535")
    if given.shards and not given.shards.is_dir():
        raise EvalError(f"--shards {given.shards} is no folder: copy the shards there first")
    host = numbers_of(given.host) if given.host else None
    cluster = parse_address(given.cluster) if given.cluster else Address(host or LOOPBACK, given.port)
    return ClusterOptions(given.command, cluster, given.token,
                          NodeOptions(host, given.threads, given.shards, given.store_mib))


def head(options: ClusterOptions) -> int:
    record = start_head(options.cluster, options.node)
    print(f"the head of a cluster is up: CLUSTER={options.cluster}     (process {record.pid})")
    print(f"next: make cluster-node CLUSTER={options.cluster}     (one after the other; other machines need "
          f"{options.cluster.folder / 'token'})")
    return 0


def node(options: ClusterOptions) -> int:
    record = start_node(options.cluster, options.token, options.node)
    print(f"a node at {record.host} has joined {options.cluster}     (process {record.pid})")
    return 0


def status(options: ClusterOptions) -> int:
    """Nodes of the cluster, and what was started here. 1 where none of them lives."""
    ray = connect(options.cluster, options.token)
    nodes = ray.nodes()
    print(f"cluster {options.cluster}: {sum(entry['Alive'] for entry in nodes)} living nodes, the head among them")
    for entry in sorted(nodes, key=lambda entry: not entry["Alive"]):
        resources = entry["Resources"]
        kind = "node" if RESOURCE in resources else "head"
        told = kind if entry["Alive"] else "gone"
        print(f"  {told:<5} {entry['NodeManagerAddress']:<16} {entry['NodeID'][:12]}  {resources.get('CPU', 0):.0f} "
              "processors")
    for record in living(options.cluster):
        print(f"  started here: {record.role} at {record.host}, process {record.pid}, log {record.log}")
    ray.shutdown()
    return 0


def stop(options: ClusterOptions) -> int:
    count = len(records_of(options.cluster))
    if not count:
        raise EvalError(f"nothing of a cluster at {options.cluster} was started from here: CLUSTER= names it, "
                        "and each machine ends its own nodes")
    ended = end_records(options.cluster)
    print(f"ended {count} node{'s' * (count > 1)} of {options.cluster}, {ended} processes")
    return 0


def rebalance(options: ClusterOptions) -> int:
    if not options.node.shards:
        raise EvalError("rebalance: --shards names the shards that are to be spread (make cluster-rebalance RUN=)")
    engine = ClusterEngine(options.cluster, options.node.shards, token=options.token)
    moved = engine.copies.rebalance()
    print(f"{moved} of {len(engine.copies.places)} copies of shards were moved, {engine.describe()['nodes']} nodes "
          "hold them now")
    return 0


COMMANDS: dict[str, Callable[[ClusterOptions], int]] = {"head": head, "node": node, "status": status, "stop": stop,
                                                        "rebalance": rebalance}


def main(argv: list[str] | None = None) -> int:
    options = parse_arguments(argv)
    return COMMANDS[options.command](options)


if __name__ == "__main__":
    run_program(main)
