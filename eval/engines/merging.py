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
    shards = np.repeat(np.arange(len(replies), dtype=np.int16), [reply.fine[0].shape[1] for reply in replies])
    order = np.argsort(euclidean, axis=1, kind="stable")    # NaN last
    ids, euclidean, shards = np.take_along_axis(ids, order, 1), np.take_along_axis(euclidean, order, 1), shards[order]
    settle(ids, euclidean, shards, off, top_k, exact)
    ids, euclidean = ids[:, :top_k].copy(), euclidean[:, :top_k].copy()
    ids[np.isnan(euclidean)] = 0
    if (np.count_nonzero(~np.isnan(euclidean), axis=1) != np.minimum(pool, top_k)).any():
        raise ShortAnswer("a list by fc7 is shorter than its pool")
    return ids, euclidean, pool


def settle(ids: np.ndarray, euclidean: np.ndarray, shards: np.ndarray, off: np.ndarray, top_k: int, exact: Callable):
    """Put neighbours of different shards that float32 cannot tell apart into the order of float64, in place.

    All (Q, M), sorted by distance. Within a shard the order is right already.
    """
    runs = close_runs(euclidean, off)
    starts = np.flatnonzero(np.diff(runs, prepend=-1))
    flat = shards.ravel()
    mixed = np.minimum.reduceat(flat, starts) != np.maximum.reduceat(flat, starts)
    mixed &= starts % ids.shape[1] < top_k
    places = np.flatnonzero(mixed[runs])
    if not len(places):
        return
    queries = places // ids.shape[1]
    rows = ids.ravel()[places]
    squared = exact(queries, rows)
    order = np.lexsort((rows, squared, runs[places]))
    ids.ravel()[places] = rows[order]
    euclidean.ravel()[places] = np.sqrt(squared[order])


def close_runs(euclidean: np.ndarray, off: np.ndarray) -> np.ndarray:
    """The number of the run that each place belongs to (Q * M,), ascending: neighbours within the errors share one."""
    squared = euclidean.astype(np.float64) ** 2
    with np.errstate(invalid="ignore"):
        close = np.diff(squared, axis=1) <= 2 * off[:, None] + ROUNDING * squared[:, 1:]    # NaN: not close
    begins = np.ones(euclidean.shape, bool)
    begins[:, 1:] = ~close
    return np.cumsum(begins.ravel()) - 1
