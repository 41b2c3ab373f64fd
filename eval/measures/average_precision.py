"""Retrieval measures of ranked lists, as the authors' precision.m defines them.

With rel_j = 1 if the j-th result is relevant and K results kept:
    precision@j = (relevant among the first j) / j
    AP@K        = sum_j precision@j * rel_j / (relevant among the first K); a query without any scores 0
    mAP@K       = mean of AP@K over all queries
The denominator of AP is the number of hits within K, not the number of relevant images in the database
(`WholeRanking.ap` offers that one). Section 4 of the paper; mAP@K of its tables has K = 1000.
"""

import numpy as np

from basics.rows import map_blocks
from measures.relevance import comparable_labels
from search import kernels

QUERIES_PER_TASK = 512


def score_ranking(ids: np.ndarray, query_labels: np.ndarray, db_labels: np.ndarray, threads: int | None = None) -> dict:
    """Score ranked lists ids (Q, K): {"ap": (Q,), "map": mean AP@K, "precision_at_k": (K,) mean curve}.

    Relevant is what shares a label with its query. Labels: (Q,) and (N,) integers, or (Q, L) and (N, L) 0/1.
    """
    count, top_k = ids.shape
    labels = comparable_labels(query_labels, db_labels)
    precision_sums, hits = np.empty(count), np.empty(count, np.int64)

    def work(rows):
        hits_at = np.zeros(top_k, np.int64)
        kernels.score_lists(np.ascontiguousarray(ids[rows]), labels[0][rows], labels[1], precision_sums[rows],
                            hits[rows], hits_at)
        return hits_at

    hits_at = np.sum(map_blocks(work, count, QUERIES_PER_TASK, threads, "scoring"), axis=0)
    ap = np.divide(precision_sums, hits, out=np.zeros(count), where=hits > 0)
    return {"ap": ap, "map": float(ap.mean()), "precision_at_k": np.cumsum(hits_at) / np.arange(1, top_k + 1) / count}


def mean_ap(ap: np.ndarray, zero_hit="zero") -> float:
    """Mean AP; zero_hit "left-out" averages only the queries that found something (0 if none did)."""
    if zero_hit == "left-out":
        ap = ap[ap > 0]
    return float(ap.mean()) if len(ap) else 0.0
