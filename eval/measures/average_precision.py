"""Retrieval measures of ranked lists, as the authors' precision.m defines them.

With rel_j = 1 if the j-th result is relevant and K results kept:
    precision@j = (relevant among the first j) / j
    AP@K        = sum_j precision@j * rel_j / (relevant among the first K); a query without any scores 0
    mAP@K       = mean of AP@K over all queries
The denominator of AP is the number of hits within K, not the number of relevant images in the database
(`ranking_ap` offers that one). Section 4 of the paper; mAP@K of its tables has K = 1000.
"""

import numpy as np

from basics.program import EvalError
from basics.rows import map_blocks
from measures.relevance import relevance, relevant_rows
from search.coarse import CodeIndex
from search.nearest import stable_nearest

QUERIES_PER_TASK = 128


def average_precision(relevant: np.ndarray) -> np.ndarray:
    """AP of each row of `relevant` (Q, K) bool, as (Q,) float64; a row without a hit scores 0."""
    hits = np.cumsum(relevant, axis=1, dtype=np.int32)  # six times as fast as int64
    precision = hits / np.arange(1, relevant.shape[1] + 1)
    found = hits[:, -1]
    precision_sum = np.einsum("qk,qk->q", precision, relevant)
    return np.divide(precision_sum, found, out=np.zeros(len(relevant)), where=found > 0)


def score_ranking(ids: np.ndarray, query_labels: np.ndarray, db_labels: np.ndarray, threads: int | None = None) -> dict:
    """Score ranked lists ids (Q, K): {"ap": (Q,), "map": mean AP@K, "precision_at_k": (K,) mean curve}."""
    positions = np.arange(1, ids.shape[1] + 1)

    def work(rows):
        relevant = relevance(query_labels[rows], db_labels, ids[rows])
        return average_precision(relevant), relevant.sum(axis=0)

    blocks = map_blocks(work, len(ids), QUERIES_PER_TASK, threads, "scoring")
    ap = np.concatenate([block_ap for block_ap, _ in blocks])
    hits_at = np.sum([block_hits for _, block_hits in blocks], axis=0)
    return {"ap": ap, "map": float(ap.mean()), "precision_at_k": np.cumsum(hits_at) / positions / len(ids)}


def mean_ap(ap: np.ndarray, zero_hit="zero") -> float:
    """Mean AP; zero_hit "left-out" averages only the queries that found something (0 if none did)."""
    if zero_hit == "left-out":
        ap = ap[ap > 0]
    return float(ap.mean()) if len(ap) else 0.0


def ranking_ap(index: CodeIndex, query_codes: np.ndarray, query_labels: np.ndarray, db_labels: np.ndarray, top_k: int,
               divisor="hits", threads: int | None = None) -> np.ndarray:
    """AP@K of each query by codes, (Q,), scored while searching: a ranking of all is not kept in memory."""
    if divisor not in ("hits", "all"):
        raise EvalError(f"AP divisor {divisor!r} is unknown: choose hits or all")
    ap = np.empty(len(query_codes))
    members = relevant_rows(query_labels, db_labels)

    def score(rows, scanned):
        relevant = np.zeros(index.count, bool)
        for row, ids in zip(range(rows.start, rows.stop), stable_nearest(scanned, top_k)[0]):
            wanted = members(row)
            relevant[wanted] = True
            ap[row] = ap_of_places(np.flatnonzero(relevant[ids]), len(wanted) if divisor == "all" else None)
            relevant[wanted] = False

    index.visit(query_codes, score, threads, "ranking")
    return ap


def ap_of_places(places: np.ndarray, total: int | None = None) -> float:
    """AP of one query from the places of its hits (0-based, ascending); divided by `total` instead of the hits."""
    if len(places) == 0:
        return 0.0
    return float(np.sum(np.arange(1, len(places) + 1) / (places + 1)) / (total or len(places)))
