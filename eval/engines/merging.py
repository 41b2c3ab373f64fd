"""Answers of shards become the answer of the database. A short answer is an error, never an answer."""

from collections.abc import Callable

import numpy as np

from basics.program import EvalError
from basics.rows import map_blocks
from engines.asking import Reply
from search import kernels

ROWS_PER_TASK = 64
ROUNDING = 2 * np.finfo(np.float32).eps     # of a squared distance, where the distance is kept as float32


class ShortAnswer(EvalError):
    """Replies that do not cover the database, each row once."""


def covering(replies: list[Reply], manifest: str, count: int) -> list[Reply]:
    """The replies in the order of their rows. ShortAnswer unless they are of these shards and cover the database."""
    ordered, at = sorted(replies, key=lambda reply: reply.start), 0
    for reply in ordered:
        if reply.manifest != manifest:
            raise ShortAnswer(f"a reply for rows {reply.start} to {reply.stop} is of other shards ({reply.manifest}, "
                              f"not {manifest}): end the cluster and start it again")
        if reply.start != at:
            raise ShortAnswer(f"replies cover rows up to {at}, then from {reply.start}: rows are missing or counted "
                              "twice")
        check_shapes(reply)
        at = reply.stop
    if at != count:
        raise ShortAnswer(f"replies cover rows up to {at} of {count}: the answer would be short")
    return ordered


def check_shapes(reply: Reply):
    """ShortAnswer where a reply's arrays are not of its rows."""
    size = reply.stop - reply.start
    if reply.distances is not None and reply.distances.shape[1] != size:
        raise ShortAnswer(f"{reply.distances.shape[1]} distances came for rows {reply.start} to {reply.stop}")
    for part in (reply.nearest, reply.fine):
        ids = None if part is None else part[0]
        if ids is not None and ids.size and not (ids.min() >= reply.start and ids.max() < reply.stop):
            raise ShortAnswer(f"the reply for rows {reply.start} to {reply.stop} lists rows {ids.min()} to {ids.max()}")


def merge_nearest(replies: list[Reply], top_k: int, levels: int,
                  threads: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """ids (Q, top_k) int32 and distances of the coarse search, ties in database order."""
    found = np.concatenate([reply.nearest[0] for reply in replies], axis=1)
    near = np.concatenate([reply.nearest[1] for reply in replies], axis=1)
    if found.shape[1] < top_k:
        raise ShortAnswer(f"{found.shape[1]} results came where {top_k} were asked for")
    ids, distances = np.empty((len(found), top_k), np.int32), np.empty((len(found), top_k), near.dtype)

    def work(rows):
        histogram = np.empty(levels, np.int64)
        for row in range(rows.start, rows.stop):
            kernels.write_sorted(found[row], near[row], found.shape[1], histogram, ids[row], distances[row])

    map_blocks(work, len(found), ROWS_PER_TASK, threads)
    return ids, distances


def merge_fine(replies: list[Reply], top_k: int, exact: Callable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ids (Q, k), euclidean (Q, k) float32 and pool (Q,), lists ending where the pool does: 0 and NaN behind.

    exact(queries (P,), rows (P,)) gives squared distances in float64. Where distances of two shards are closer than
    their errors, all of that neighbourhood is decided by it, as on one machine.
    """
    ids, euclidean = (np.concatenate([reply.fine[part] for reply in replies], axis=1) for part in (0, 1))
    pool = np.sum([reply.fine[2] for reply in replies], axis=0)
    off = np.max([reply.fine[3] for reply in replies], axis=0)
    ids, euclidean, shards = merge_lists(ids, euclidean, [reply.fine[0].shape[1] for reply in replies])
    settle(ids, euclidean, shards, off, top_k, exact)
    ids, euclidean = lists_of(ids, euclidean, top_k)
    if (np.count_nonzero(~np.isnan(euclidean), axis=1) != np.minimum(pool, top_k)).any():
        raise ShortAnswer("a list by fc7 is shorter than its pool")
    return ids, euclidean, pool


def known_distances(replies: list[Reply]) -> Callable:
    """The `exact` of merge_fine where the replies have the squared distances of all their lists. For short lists."""
    found = {}
    for reply in replies:
        places, columns = np.nonzero(~np.isnan(reply.squared))
        rows, squared = reply.fine[0][places, columns], reply.squared[places, columns]
        found.update(zip(zip(places.tolist(), rows.tolist()), squared.tolist()))
    return lambda queries, rows: np.array([found[pair] for pair in zip(queries.tolist(), rows.tolist())])


def lists_of(ids: np.ndarray, euclidean: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """The first top_k of each row: 0 and NaN where there is nothing."""
    width = min(top_k, ids.shape[1])
    found = np.zeros((len(ids), top_k), np.int32), np.full((len(ids), top_k), np.nan, np.float32)
    found[0][:, :width], found[1][:, :width] = ids[:, :width], euclidean[:, :width]
    found[0][np.isnan(found[1])] = 0
    return found


def merge_lists(ids: np.ndarray, euclidean: np.ndarray, lengths: list[int],
                threads: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ids, distances, number of the shard), each (Q, M) by distance, of sorted lists of some lengths side by side."""
    merged = np.empty_like(ids), np.empty_like(euclidean), np.empty(ids.shape, np.int16)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    map_blocks(lambda rows: kernels.merge_sorted(ids[rows], euclidean[rows], starts, *(one[rows] for one in merged)),
               len(ids), ROWS_PER_TASK, threads)
    return merged


def settle(ids: np.ndarray, euclidean: np.ndarray, shards: np.ndarray, off: np.ndarray, top_k: int, exact: Callable):
    """Put neighbours of different shards that float32 cannot tell apart into the order of float64, in place.

    All (Q, M), sorted by distance. Within a shard the order is right already.
    """
    runs = np.empty(ids.shape, np.int64)
    map_blocks(lambda rows: kernels.mark_mixed_runs(euclidean[rows], shards[rows], off[rows], ROUNDING, top_k,
                                                    runs[rows]), len(ids), ROWS_PER_TASK)
    places = np.flatnonzero(runs.ravel() >= 0)
    if not len(places):
        return
    queries = places // ids.shape[1]
    rows = ids.ravel()[places]
    squared = exact(queries, rows)
    order = np.lexsort((rows, squared, runs.ravel()[places], queries))
    ids.ravel()[places] = rows[order]
    euclidean.ravel()[places] = np.sqrt(squared[order])
