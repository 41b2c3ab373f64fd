"""The paper's cost table anew: one Euclidean distance between fc7, one Hamming distance between codes."""

import time

import numpy as np

from coarse_search import QUERIES_AT_ONCE, CodeIndex

# The authors' corrected figures, on their machine.
PUBLISHED_SECONDS = {"euclidean": 22.6e-6, "hamming": 23.0e-12}
QUERIES = 64
REPEATS = 3


def measure_cost(trial, rows=10000):
    """Seconds a pair, best of three, one thread where numpy decides: {euclidean, euclidean_blocked, hamming, ...}.

    euclidean: one query against rows of fc7 one product at a time; euclidean_blocked: many queries in one matrix
    product; hamming: XOR and bit count of packed codes.
    """
    codes = trial.db_codes[:rows]
    index = CodeIndex(codes)
    queries = trial.query_codes[:QUERIES]
    cost = {"bits": trial.bits, "published": PUBLISHED_SECONDS,
            "hamming": best_seconds(lambda: index.scan_in_parts(queries, lambda *_: None)) / (len(queries) * len(codes))}
    if trial.query_fc7 is not None:
        fc7 = np.asarray(trial.db_fc7[:rows], np.float32)
        query_fc7 = np.asarray(trial.query_fc7[:QUERIES], np.float32)
        cost |= {"dimension": fc7.shape[1],
                 "euclidean": best_seconds(lambda: [fc7 @ q for q in query_fc7[:QUERIES_AT_ONCE]])
                 / (len(query_fc7[:QUERIES_AT_ONCE]) * len(fc7)),
                 "euclidean_blocked": best_seconds(lambda: query_fc7 @ fc7.T) / (len(query_fc7) * len(fc7))}
    return cost


def best_seconds(work):
    """Shortest of three runs after one to warm up."""
    work()
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
