"""What a shard is asked and what it answers: plain arrays, no Ray."""

from dataclasses import dataclass

import numpy as np

from engines.shards import Shard
from search.fine import exhaustive, hierarchical
from search.products import squared_distances

WARM = 10       # entries of a list that nobody asked for


@dataclass(frozen=True, eq=False)
class Queries:
    """codes (Q, words) packed, or None where fc7 alone counts; fc7 (Q, d), or None."""

    codes: np.ndarray | None
    fc7: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Request:
    """Parts of an answer, each 0 or None where it is not wanted.

    nearest: so many by codes. distances: all of them. fine: so many by fc7, of the pool by `radius` (a number, or (Q,)
    for each query) or, with None, of everything. exact: (queries (P,), rows (P,) of the database), pairs whose squared
    fc7 distance is wanted in float64.
    """

    nearest: int = 0
    distances: bool = False
    fine: int = 0
    radius: int | np.ndarray | None = None
    settled: bool = False
    exact: tuple[np.ndarray, np.ndarray] | None = None
    threads: int | None = None


@dataclass(frozen=True, eq=False)
class Reply:
    """The parts of one shard, whose rows start..stop they cover. ids are rows of the whole database, int32.

    nearest: ids and distances (Q, k), k the shard's rows if less than asked. distances (Q, stop - start). fine: ids,
    euclidean (Q, k), NaN behind the pool's end, k the longest of these pools if less than asked; pool (Q,), off (Q,) as
    in FineResult. squared (Q, k) float64, of the fine lists, NaN behind their ends. exact (P,) float64.
    """

    manifest: str
    start: int
    stop: int
    nearest: tuple[np.ndarray, np.ndarray] | None = None
    distances: np.ndarray | None = None
    fine: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None = None
    squared: np.ndarray | None = None
    exact: np.ndarray | None = None


def reply_of(shard: Shard, queries: Queries, request: Request) -> Reply:
    """The answer of one shard."""
    index, count, found = shard.code_index, shard.stop - shard.start, {}
    if request.nearest:
        ids, distances = index.search(queries.codes, min(request.nearest, count), request.threads)
        ids += shard.start
        found["nearest"] = ids, distances
    if request.distances:
        found["distances"] = index.distances(queries.codes, request.threads)
    if request.fine:
        found["fine"] = fine_of(shard, queries, request, found.get("distances"))
    if request.fine and request.settled:
        found["squared"] = squared_of(shard, queries, *found["fine"][:2])
    if request.exact:
        found["exact"] = exact_of(shard, queries, *request.exact)
    return Reply(shard.manifest, shard.start, shard.stop, **found)


def warm(shard: Shard):
    """Ask one question of every kind, so that what is compiled first is compiled, or read from disk, by then."""
    index = shard.code_index
    few = min(WARM, index.count)
    codes = np.zeros((1, index.words), index.word_dtype)
    fc7 = np.zeros((1, shard.fc7_index.fc7.shape[1]), np.float32) if shard.fc7_index else None
    radius = int(index.search(codes, few)[1][0, -1]) + 1        # so that there is a pool
    reply_of(shard, Queries(codes, fc7), Request(nearest=few, distances=True, fine=few if shard.fc7_index else 0,
                                                 radius=radius, settled=True))


def fine_of(shard: Shard, queries: Queries, request: Request, hamming: np.ndarray | None):
    """The nearest by fc7 of the shard's part of each pool; lists end where that does."""
    top_k = min(request.fine, shard.stop - shard.start)
    if request.radius is None:
        found = exhaustive(queries.fc7, shard.fc7_index, top_k, request.threads)
    else:
        nothing = np.zeros((len(queries.codes), top_k), np.int32), None     # lists are filled when they are one
        found = hierarchical(queries.fc7, shard.fc7_index, top_k, shard.code_index, queries.codes, request.radius,
                             nothing, request.threads, hamming)
    longest = min(top_k, int(found.pool.max(initial=0)))    # what lies behind every pool need not travel
    return found.ids[:, :longest] + np.int32(shard.start), found.euclidean[:, :longest], found.pool, found.off


def squared_of(shard: Shard, queries: Queries, ids: np.ndarray, euclidean: np.ndarray) -> np.ndarray:
    """exact_of for all that stands in fine lists, NaN behind their ends."""
    places, columns = np.nonzero(~np.isnan(euclidean))
    squared = np.full(ids.shape, np.nan)
    squared[places, columns] = exact_of(shard, queries, places, ids[places, columns])
    return squared


def exact_of(shard: Shard, queries: Queries, places: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Squared fc7 distances (P,) float64, those that the one machine decides by."""
    return squared_distances(shard.fc7_index.fc7, rows - shard.start, np.asarray(queries.fc7, np.float32), places)
