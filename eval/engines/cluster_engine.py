"""Searching a database whose shards lie on the nodes of a Ray cluster.

Each question goes to one copy of every shard. For an actor that ended, or is silent, the other copy is asked; what
comes back is merged only where it covers the database (merging.py), and everything ends by a deadline.
"""

import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from basics.program import EvalError
from basics.rows import map_blocks
from engines.asking import Queries, Reply, Request
from engines.copies import Copies, Place, fault_of
from engines.merging import covering, known_distances, merge_fine, merge_nearest
from engines.shards import check_origin, read_manifest
from nodes.address import Address, is_reachable
from nodes.connect import connect
from search.coarse import check_top_k
from search.engine import POOL_WANTED, Engine, Lists
from search.feature_set import Split
from search.fine import FineResult, fill
from search.kernels import timed

SILENT_S = 0.5          # without a word from an actor, the other copy is asked
PING_S = 2.0            # an actor at work on a block has so long to answer a ping
GIVE_UP_S = 30.0        # for a question of a few queries
BLOCK_GIVE_UP_S = 600.0     # for a block of many
HEAD_EVERY_S = 1.0      # how often it is looked whether the head is there
AGAIN_S = 0.1           # between two attempts at a shard whose copies all failed
QUERIES_PER_BLOCK = 2048
FEW = 16                # queries up to which a question is a short one
MOST_SETTLED = 1000     # entries of lists that come with their exact distances: fewer than one more question costs
LIST_BYTES = 1 << 27    # of a block's lists


class ClusterGone(EvalError):
    """The head does not answer."""


@dataclass
class Course:
    """One shard's part of a question: who was asked, when, and what came back."""

    shard: int
    asked: list[Place] = field(default_factory=list)
    since: float = 0.0
    ping: object = None
    reply: Reply | None = None
    fault: str = "no answer came"
    not_before: float = 0.0


class ClusterEngine(Engine):
    """The Engine of a database in shards. Several threads may ask it at once."""

    def __init__(self, address: Address, directory: Path, database: Split | None = None, token: Path | None = None,
                 copies: int | None = None):
        self.manifest = read_manifest(directory)
        if database is not None:
            check_origin(directory, self.manifest, database)
        self.address = address
        self.ray = connect(address, token)
        self.copies = Copies(self.ray, address, directory, self.manifest, copies)
        first = next(iter(self.copies.told.values()))
        self.count, self.levels, self.has_fc7 = self.manifest.count, first["levels"], self.manifest.fc7 is not None
        self.looked = time.monotonic()

    def describe(self):
        nodes = {told["node"] for told in self.copies.told.values()}
        return {"engine": f"cluster {self.address}", "count": self.count, "bits at most": self.levels - 1,
                "fc7": self.manifest.fc7 and self.manifest.fc7["units"], "shards": len(self.manifest.shards),
                "copies": self.copies.copies, "nodes": len(nodes)}

    def load(self, query_codes, top_k, fine):
        """One question of the kind, so that the nodes' loops are compiled."""
        few = query_codes[:1]
        self._ask(Queries(few), Request(nearest=min(top_k, self.count)), BLOCK_GIVE_UP_S)

    def search(self, query_codes, top_k, threads=None):
        check_top_k(top_k, self.count)
        parts = self._blocks("coarse search", len(query_codes), top_k, lambda rows: merge_nearest(
            self._ask(Queries(query_codes[rows]), Request(nearest=top_k)), top_k, self.levels))
        return tuple(map(np.concatenate, zip(*parts)))

    def distances(self, query_codes, threads=None):
        replies = self._ask(Queries(query_codes), Request(distances=True))
        return np.concatenate([reply.distances for reply in replies], axis=1)

    def two_stage(self, query_codes, query_fc7, top_k, radius, nearest=None, threads=None, hamming=None):
        check_top_k(top_k, self.count)
        each = np.broadcast_to(np.asarray(radius), len(query_codes))

        def work(rows):
            queries = Queries(query_codes[rows], np.asarray(query_fc7[rows]))
            wanted = Request(nearest=0 if nearest else top_k, fine=top_k, radius=np.array(each[rows]))
            replies, again = self._ask_again(queries, wanted)
            coarse = nearest[0][rows] if nearest else merge_nearest(replies, top_k, self.levels)[0]
            result = FineResult(*merge_fine(replies, top_k, again), np.zeros(len(coarse)))
            fill(result, coarse[:, :top_k])
            return result

        return joined(self._blocks("two-stage search", len(query_codes), top_k, work))

    def exhaustive(self, query_fc7, top_k, threads=None):
        check_top_k(top_k, self.count)

        def work(rows):
            replies, again = self._ask_again(Queries(None, np.asarray(query_fc7[rows])), Request(fine=top_k))
            ids, euclidean, pool = merge_fine(replies, top_k, again)
            return FineResult(ids, euclidean, pool, np.zeros(len(ids)))

        return joined(self._blocks("exhaustive fc7 search", len(query_fc7), top_k, work))

    def lists(self, query_codes, query_fc7, top_k, radius=None, threads=None):
        """As of Engine; what can be asked together is asked at once."""
        if radius is None or len(query_codes) > FEW:
            return super().lists(query_codes, query_fc7, top_k, radius, threads)
        check_top_k(top_k, self.count)
        fine = top_k if query_fc7 is not None and self.has_fc7 else 0
        longest, alone = min(max(top_k, POOL_WANTED), self.count), len(query_codes) == 1
        wanted = Request(nearest=longest, distances=alone, fine=fine, radius=radius,
                         settled=len(query_codes) * fine <= MOST_SETTLED)
        (replies, again), asking = timed(self._ask_again, Queries(query_codes, query_fc7 if fine else None), wanted)
        nearest = merge_nearest(replies, longest, self.levels)
        hamming = np.concatenate([reply.distances for reply in replies], axis=1) if alone else None
        if not fine:
            return Lists(nearest, radius, None, {"coarse": asking}, hamming)
        result = FineResult(*merge_fine(replies, top_k, again), np.zeros(len(query_codes)))
        fill(result, nearest[0][:, :top_k])
        return Lists(nearest, radius, result, {"coarse": 0.0, "fine": asking}, hamming)

    def _blocks(self, title, count, top_k, work: Callable):
        """[work(rows)] of blocks of queries whose lists fit memory, with progress. Two small ones at once: longer."""
        size = max(1, min(QUERIES_PER_BLOCK, LIST_BYTES // (9 * top_k)))
        return map_blocks(work, count, size, 1, title)

    def _ask_again(self, queries: Queries, request: Request):
        """(replies, a function that asks the shards for exact distances of pairs)."""
        size = len(queries.fc7) if queries.fc7 is not None else len(queries.codes)
        shared = queries if size <= FEW else self.ray.put(queries)      # put once for all shards and questions
        replies = self._ask(shared, request, self._limit(size))
        if request.settled and request.fine:
            return replies, known_distances(replies)

        def exact(places, rows):
            return self._exact(queries, places, rows)

        return replies, exact

    def _exact(self, queries, places, rows):
        """Squared distances (P,) float64 of pairs; each shard is asked for those of its own rows."""
        squared = np.full(len(rows), np.nan)
        requests, parts, limit = {}, {}, self._limit(len(queries.fc7))
        for number in range(len(self.manifest.shards)):
            start, stop = self.manifest.rows(number)
            mine = np.flatnonzero((rows >= start) & (rows < stop))
            if len(mine):
                parts[number] = mine
                used, local = np.unique(places[mine], return_inverse=True)
                asked = Request(exact=(local, rows[mine]))
                requests[number] = question_of(Queries(None, queries.fc7[used]), asked, limit)
        for number, reply in self._answers(requests, limit).items():
            squared[parts[number]] = reply.exact
        if np.isnan(squared).any():
            raise EvalError("distances that were asked for again did not come: ask once more")
        return squared

    def _ask(self, queries, request: Request, limit: float | None = None) -> list[Reply]:
        """The replies of all shards, in their order, covering the database."""
        if limit is None:
            limit = self._limit(len(queries.codes))
        if isinstance(queries, Queries) and limit > GIVE_UP_S:
            queries = self.ray.put(queries)
        asked = dict.fromkeys(range(len(self.manifest.shards)), question_of(queries, request, limit))
        return covering(list(self._answers(asked, limit).values()), self.manifest.name, self.count)

    def _limit(self, size):
        return GIVE_UP_S if size <= FEW else BLOCK_GIVE_UP_S

    def check(self):
        """ClusterGone where the head does not take connections. At most once a second it is looked."""
        now = time.monotonic()
        if now - self.looked < HEAD_EVERY_S:
            return
        self.looked = now
        if not is_reachable(self.address, 2.0):
            raise ClusterGone(f"the head of the cluster at {self.address} is gone: start it again (make cluster-head, "
                              "make cluster-node), then ask again")

    def _answers(self, requests: dict[int, tuple], limit: float) -> dict[int, Reply]:
        """{shard: its reply}. EvalError that names the shard where none came within `limit` seconds."""
        self.check()
        until, courses, references = time.monotonic() + limit, {}, {}
        for shard in requests:
            courses[shard] = Course(shard)
            self._send(courses[shard], requests[shard], references)
        patience = SILENT_S if limit <= GIVE_UP_S else PING_S
        while any(course.reply is None for course in courses.values()):
            ready, _ = self.ray.wait(list(references), timeout=0.05 if references else 0) if references else ([], [])
            for reference in ready:
                place = references.pop(reference)
                self._take(courses[place.shard], reference, place)
            now = time.monotonic()
            if not ready:
                self.check()
            if now > until:
                raise EvalError(self._nobody(courses, limit))
            for course in courses.values():
                if course.reply is None and now >= course.not_before and self._is_quiet(course, references, patience):
                    self._send(course, requests[course.shard], references)
        return {shard: course.reply for shard, course in courses.items()}

    def _send(self, course, question, references):
        """Ask one more copy of a shard."""
        place = self.copies.choose(course.shard, set(course.asked[-(self.copies.copies - 1):]) if course.asked and
                                   self.copies.copies > 1 else set())
        course.asked.append(place)
        course.since, course.ping = time.monotonic(), None
        course.not_before = course.since + AGAIN_S
        try:
            actor = self.copies.handles[place]
            reference = actor.reply_packed.remote(question) if isinstance(question, bytes) else \
                actor.reply.remote(*question)
            references[reference] = place
        except self.ray.exceptions.RayError as error:
            course.fault = fault_of(error)

    def _take(self, course, reference, place):
        """Keep a reply, or what went wrong: the next copy is asked then."""
        if course.reply is not None:
            return
        try:
            reply = self.ray.get(reference, timeout=PING_S)
            course.reply = pickle.loads(reply) if isinstance(reply, bytes) else reply
        except self.ray.exceptions.RayActorError as error:
            course.fault = fault_of(error)
            self.copies.is_silent(place)
            course.since = -1.0 if place == course.asked[-1] else course.since
        except self.ray.exceptions.RayError as error:
            course.fault = fault_of(error)
            self.copies.is_silent(place) if self.copies.copies > 1 else None
            course.since = -1.0 if place == course.asked[-1] else course.since

    def _is_quiet(self, course, references, patience) -> bool:
        """Whether another copy has to be asked: the last one failed, or does not even answer a ping."""
        if course.since < 0:
            return True
        now = time.monotonic()
        if now - course.since < patience:
            return False
        place = course.asked[-1]
        if patience == PING_S:      # at work on a block: it may take its time, but not be silent
            if course.ping is None:
                course.ping, course.since = self.copies.handles[place].ping.remote(), now
                return False
            if self.ray.wait([course.ping], timeout=0)[0]:
                course.ping, course.since = None, now
                return False
        if self.copies.copies == 1:
            return False            # it is asked again when Ray says that it ended
        self.copies.is_silent(place)
        return True

    def _nobody(self, courses, limit):
        course = next(course for course in courses.values() if course.reply is None)
        start, stop = self.manifest.rows(course.shard)
        return (f"shard {course.shard} (rows {start:,} to {stop:,}) did not answer within {limit:.0f} s "
                f"({len(course.asked)} attempts; {course.fault}): make cluster-status CLUSTER={self.address}")


def question_of(queries: Queries, request: Request, limit: float) -> bytes | tuple:
    """What an actor is asked. A short question is pickled here, once for all shards: Ray would do it for each."""
    if limit > GIVE_UP_S:
        return queries, request
    return pickle.dumps((queries, request), pickle.HIGHEST_PROTOCOL)


def joined(parts: list[FineResult]) -> FineResult:
    """Results of blocks of queries as one."""
    return FineResult(*(np.concatenate([getattr(part, name) for part in parts])
                        for name in ("ids", "euclidean", "pool", "off")))
