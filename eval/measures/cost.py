"""The paper's cost table anew: one Euclidean distance between fc7, one Hamming distance between codes."""

import time
from collections.abc import Callable

import numpy as np

from measures.published import figures
from search.coarse import CodeIndex

QUERIES = 64
ONE_BY_ONE = 8           # of them, asked one product at a time
ROWS = 10000
REPEATS = 3


def measure_cost(query_codes: np.ndarray, db_codes: np.ndarray, bits: int, query_fc7: np.ndarray | None = None,
                 db_fc7: np.ndarray | None = None) -> dict:
    """Seconds a pair, best of three, codes on one thread: {euclidean, euclidean_blocked, hamming, ...}.

    euclidean: one query against rows of fc7 one product at a time; euclidean_blocked: many queries in one matrix
    product; hamming: XOR and bit count of packed codes. Of the first 64 queries against 10,000 images.
    """
    codes, queries = db_codes[:ROWS], query_codes[:QUERIES]
    index = CodeIndex(codes)
    cost = {"bits": bits, "published": published_seconds(),
            "hamming": best_seconds(lambda: index.distances(queries, threads=1)) / (len(queries) * len(codes))}
    if query_fc7 is None:
        return cost
    fc7 = np.asarray(db_fc7[:ROWS], np.float32)
    queries = np.asarray(query_fc7[:QUERIES], np.float32)
    few = queries[:ONE_BY_ONE]
    return cost | {"dimension": fc7.shape[1],
                   "euclidean": best_seconds(lambda: [fc7 @ query for query in few]) / (len(few) * len(fc7)),
                   "euclidean_blocked": best_seconds(lambda: queries @ fc7.T) / (len(queries) * len(fc7))}


def published_seconds() -> dict:
    """{euclidean, hamming}: the authors' corrected figures, on their machine."""
    quoted = figures()["cost_seconds"]
    return {"euclidean": quoted["euclidean_4096"], "hamming": quoted["hamming_64_bits"]}


def best_seconds(work: Callable) -> float:
    """Shortest of three runs after one to warm up."""
    work()
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
