"""Evaluation protocols by name: which queries, which database, how AP is cut and divided.

Published mAP figures of CIFAR-10 follow different protocols and must not be compared across them.
"""

from dataclasses import dataclass

import numpy as np

from blocks import map_blocks
from coarse_search import QUERIES_PER_TASK, stable_nearest
from distance_counts import relevant_rows
from eval_errors import EvalError

QUERIES_PER_CLASS = 100
SEED = 0


@dataclass(frozen=True)
class Protocol:
    """top_k: K of mAP@K, None for the whole ranking; queries: "test", or "sample" for 100 a class;
    rest_in_database: the test images that are no queries join the database;
    divisor: AP over the "hits" within K or over "all" relevant images; zero_hit: a query without a hit
    scores "zero" or is "left-out".
    """

    name: str
    description: str
    top_k: int | None
    queries: str = "test"
    rest_in_database: bool = False
    divisor: str = "hits"
    zero_hit: str = "zero"


PROTOCOLS = {protocol.name: protocol for protocol in (
    Protocol("cvprw15", "the paper's: all test images against all training images, K = 1000", 1000),
    Protocol("ssdh", "the authors' 2017 follow-up: the same with K = 50000", 50000),
    Protocol("1k-of-test", "100 test images a class against all training images, AP over all relevant",
             None, queries="sample", divisor="all"),
    Protocol("59k", "100 test images a class against all other images, AP over all relevant",
             None, queries="sample", rest_in_database=True, divisor="all"),
)}


def sample_queries(labels, per_class=QUERIES_PER_CLASS, seed=SEED):
    """Sorted rows of `per_class` random images of each class (fewer where there are fewer).

    Images with several labels have no one class: as many rows as there would be, from all alike.
    """
    rng = np.random.default_rng(seed)
    if labels.ndim == 2:
        return np.sort(rng.permutation(len(labels))[:per_class * labels.shape[1]])
    chosen = [rng.permutation(np.flatnonzero(labels == label))[:per_class] for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


def split_rows(protocol, test_labels):
    """(query rows, joining rows): test rows that are queries, and those that join the database."""
    everything = np.arange(len(test_labels))
    rows = everything if protocol.queries == "test" else sample_queries(test_labels)
    joining = np.setdiff1d(everything, rows) if protocol.rest_in_database else everything[:0]
    return rows, joining


def mean_ap(ap, zero_hit="zero"):
    """Mean AP; zero_hit "left-out" averages only the queries that found something (0 if none did)."""
    if zero_hit == "left-out":
        ap = ap[ap > 0]
    return float(ap.mean()) if len(ap) else 0.0


def ranking_ap(index, query_codes, query_labels, db_labels, top_k, divisor="hits", threads=None):
    """AP@K of each query by codes, (Q,), scored while searching: a ranking of all is not kept in memory."""
    if divisor not in ("hits", "all"):
        raise EvalError(f"AP divisor {divisor!r} is unknown: choose hits or all")
    ap = np.empty(len(query_codes))
    members = relevant_rows(query_labels, db_labels)

    def work(task):
        relevant = np.zeros(index.count, bool)

        def score(rows, scanned):
            for row, ids in zip(range(task.start + rows.start, task.start + rows.stop), stable_nearest(scanned, top_k)[0]):
                wanted = members(row)
                relevant[wanted] = True
                ap[row] = ap_of_places(np.flatnonzero(relevant[ids]), len(wanted) if divisor == "all" else None)
                relevant[wanted] = False

        index.scan_in_parts(query_codes[task], score)

    map_blocks(work, len(query_codes), QUERIES_PER_TASK, threads, "ranking")
    return ap


def ap_of_places(places, total=None):
    """AP of one query from the places of its hits (0-based, ascending); divided by `total` instead of the hits."""
    if len(places) == 0:
        return 0.0
    return float(np.sum(np.arange(1, len(places) + 1) / (places + 1)) / (total or len(places)))
