"""The actors of a database's shards: where each copy lives, which of them answers, and which is left alone for now."""

import itertools
import threading
from dataclasses import dataclass
from pathlib import Path

from basics.program import EvalError
from engines.shards import Manifest
from nodes.address import Address
from nodes.connect import RESOURCE, SHARE

LOAD_S = 120.0      # for all actors together: files are read and checked
MOST_COPIES = 2     # unless asked otherwise
RENEW_S = 10.0


@dataclass(frozen=True)
class Place:
    """One copy of one shard."""

    shard: int
    copy: int


class Copies:
    """Actors by shard and copy. Detached: they outlive a client, so that the next one need not load the files."""

    def __init__(self, ray, address: Address, directory: Path, manifest: Manifest, copies: int | None = None):
        from engines.actors import ShardActor, code_digest  # imports Ray

        self.ray, self.address, self.directory, self.manifest = ray, address, directory.resolve(), manifest
        self.code = code_digest()
        self.actor_class = ray.remote(num_cpus=0, resources={RESOURCE: SHARE}, max_restarts=-1, max_task_retries=0,
                                      concurrency_groups={"watch": 1}, max_concurrency=2)(ShardActor)
        nodes = self.nodes()
        self.copies = checked_copies(copies, len(nodes), address)
        self.places = [Place(shard, copy) for shard in range(len(manifest.shards)) for copy in range(self.copies)]
        self.handles = {place: self.handle(place, nodes) for place in self.places}
        self.silent: dict[Place, object] = {}       # place: a ping that tells when it is back
        self.turn = itertools.count()
        self.lock = threading.Lock()
        self.told = self._described()

    def nodes(self) -> list[str]:
        """Ids of the living nodes that take shards, in a fixed order."""
        return sorted(entry["NodeID"] for entry in self.ray.nodes() if entry["Alive"] and
                      RESOURCE in entry["Resources"])

    def handle(self, place: Place, nodes: list[str] | None = None):
        """The actor of a place; started where there is none, on its node if that is possible."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # imports Ray

        nodes = self.nodes() if nodes is None else nodes
        options = {}
        if nodes:
            node = nodes[(place.shard + place.copy) % len(nodes)]
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node, soft=True)
        return self.actor_class.options(name=f"{self.manifest.name}/{place.shard}/{place.copy}", get_if_exists=True,
                                        lifetime="detached", **options).remote(
            str(self.directory), self.manifest.name, place.shard)

    def _described(self) -> dict[Place, dict]:
        """What each copy says of itself. EvalError where no copy of a shard can be loaded, or is of other code."""
        asked = {self.handles[place].describe.remote(): place for place in self.places}
        self.ray.wait(list(asked), num_returns=len(asked), timeout=LOAD_S)
        told, faults = {}, {}
        for reference, place in asked.items():
            try:
                told[place] = self.ray.get(reference, timeout=0.1)
            except self.ray.exceptions.RayError as error:
                faults[place] = fault_of(error)
        for found in told.values():
            if found["code"] != self.code:
                raise EvalError(f"node {found['address']} runs another version of this project than this client: bring "
                                "both to one commit, then end the cluster (make cluster-stop) and start it again")
        for shard in range(len(self.manifest.shards)):
            if not any(place.shard == shard for place in told):
                start, stop = self.manifest.rows(shard)
                raise EvalError(f"shard {shard} (rows {start:,} to {stop:,}) cannot be used: "
                                f"{next(fault for place, fault in faults.items() if place.shard == shard)}")
        for place in faults:
            self.is_silent(place)
        return told

    def choose(self, shard: int, but: set[Place] = frozenset()) -> Place:
        """The copy to ask next: one that is not silent, in turn; the least bad where all are."""
        with self.lock:
            turn = next(self.turn)
            self._look_for_returned()
        order = [Place(shard, (turn + copy) % self.copies) for copy in range(self.copies)]
        return min(order, key=lambda place: (place in but, place in self.silent))

    def is_silent(self, place: Place):
        """Leave a copy alone until it answers a ping."""
        with self.lock:
            if place not in self.silent:
                self.silent[place] = self.handles[place].ping.remote()

    def renew(self, place: Place):
        """Ask for the actor again: it is started anew where it has ended for good."""
        self.handles[place] = self.handle(place)

    def _look_for_returned(self):
        for place, ping in list(self.silent.items()):
            if not self.ray.wait([ping], timeout=0)[0]:
                continue
            try:
                self.ray.get(ping, timeout=0.1)
                del self.silent[place]
            except self.ray.exceptions.RayError:
                self.silent[place] = self.handles[place].ping.remote()

    def rebalance(self) -> int:
        """Move copies to the nodes where a new start would put them, one at a time. How many were moved."""
        nodes, moved = self.nodes(), 0
        for place in self.places:
            wanted = nodes[(place.shard + place.copy) % len(nodes)]
            if place in self.told and self.told[place]["node"] == wanted:
                continue
            self.ray.kill(self.handles[place], no_restart=True)
            self.handles[place] = self._started_again(place, nodes)
            self.told[place] = self.ray.get(self.handles[place].describe.remote(), timeout=LOAD_S)
            moved += 1
        return moved

    def _started_again(self, place, nodes):
        """A new actor under the name of one that ends just now."""
        for _ in range(100):
            handle = self.handle(place, nodes)
            try:
                self.ray.get(handle.ping.remote(), timeout=RENEW_S)
                return handle
            except self.ray.exceptions.RayError:
                threading.Event().wait(0.1)
        raise EvalError(f"shard {place.shard} could not be moved: make cluster-status CLUSTER={self.address}")


def checked_copies(wanted: int | None, nodes: int, address: Address) -> int:
    """EvalError where there are no nodes, or fewer than copies."""
    if nodes == 0:
        raise EvalError(f"the cluster at {address} has no nodes: make cluster-node CLUSTER={address}")
    if wanted is not None and wanted > nodes:
        raise EvalError(f"{wanted} copies of each shard need {wanted} nodes, the cluster at {address} has {nodes}: "
                        f"make cluster-node CLUSTER={address}, or ask for {nodes}")
    return wanted or min(MOST_COPIES, nodes)


def fault_of(error: Exception) -> str:
    """A failed call in a sentence."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, EvalError):
        return str(cause)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else 'no reason was given'}"[:400]
