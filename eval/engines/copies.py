"""The actors of a database's shards: where each copy lives, which of them answers, and which is left alone for now."""

import itertools
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from basics.program import EvalError
from engines.shards import Manifest
from nodes.address import Address
from nodes.connect import RESOURCE, SHARE

LOAD_S = 600.0      # for all actors together: files are read and checked, on a new node loops are compiled
MOST_COPIES = 2     # unless asked otherwise
RENEW_S = 10.0
LOOK_S = 0.2        # between two looks for copies that were silent


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
        self.told: dict[Place, dict] = {}
        self.handles = {place: self.handle(place, nodes) for place in self.places}
        self.silent: dict[Place, object] = {}       # place: a call that tells when it is back
        self.turn = itertools.count()
        self.healer: threading.Thread | None = None
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
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(self._node_for(place, nodes), soft=True)
        return self.actor_class.options(name=f"{self.manifest.name}/{place.shard}/{place.copy}", get_if_exists=True,
                                        lifetime="detached", **options).remote(
            str(self.directory), self.manifest.name, place.shard)

    def _node_for(self, place: Place, nodes: list[str]) -> str:
        """The place's own node, or the next that holds no other copy of the shard."""
        order = [nodes[(place.shard + place.copy + step) % len(nodes)] for step in range(len(nodes))]
        return next((node for node in order if node not in self._nodes_of_others(place)), order[0])

    def _nodes_of_others(self, place: Place) -> set[str]:
        return {told["node"] for other, told in self.told.items() if other.shard == place.shard and other != place}

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
        order = [Place(shard, (turn + copy) % self.copies) for copy in range(self.copies)]
        return min(order, key=lambda place: (place in but, place in self.silent))

    def is_silent(self, place: Place):
        """Leave a copy alone until it tells that it has its shard. Asking for that is no query's business."""
        with self.lock:
            if place in self.silent:
                return
            self.silent[place] = None
            if self.healer is None or not self.healer.is_alive():
                self.healer = threading.Thread(target=self._heal, daemon=True)
                self.healer.start()

    def renew(self, place: Place):
        """Ask for the actor again: it is started anew where it has ended for good."""
        self.handles[place] = self.handle(place)

    def _heal(self):
        """Look for the silent copies until all are back, or the connection is gone."""
        while self.silent and self.ray.is_initialized():
            for place in list(self.silent):
                try:
                    self._look_at(place)
                except Exception as error:  # of Ray, of whatever kind: the next round tries again
                    print(f"cluster: shard {place.shard}, copy {place.copy}: {fault_of(error)}", file=sys.stderr)
            time.sleep(LOOK_S)

    def _look_at(self, place):
        asked = self.silent[place]
        if asked is not None and not self.ray.wait([asked], timeout=0)[0]:
            return
        try:
            if asked is not None:
                self.told[place] = self.ray.get(asked, timeout=0.1)
                if not self._is_crowded(place):
                    with self.lock:
                        del self.silent[place]
                    return
                self.ray.kill(self.handles[place], no_restart=True)     # Ray started it again beside the other copy
        except self.ray.exceptions.RayError:
            pass
        self.renew(place)
        self.silent[place] = self.handles[place].describe.remote()

    def _is_crowded(self, place):
        """Whether a copy lives on the node of another one although there is a node without any."""
        others = self._nodes_of_others(place)
        return self.told[place]["node"] in others and bool(set(self.nodes()) - others)

    def rebalance(self) -> int:
        """Move copies to the nodes where a new start would put them, one at a time. How many were moved."""
        nodes, moved = self.nodes(), 0
        for place in self.places:
            wanted = self._node_for(place, nodes)
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
