"""Retrieval measures of ranked lists, as the authors' precision.m defines them.

With rel_j = 1 if the j-th result is relevant and K results kept:
    precision@j = (relevant among the first j) / j
    AP@K        = sum_j precision@j * rel_j / (relevant among the first K); a query without any scores 0
    mAP@K       = mean of AP@K over all queries
The denominator of AP is the number of hits within K, not the number of relevant images in the database
(protocols.ranking_ap offers that one).
"""

import numpy as np

from blocks import map_blocks

QUERIES_PER_TASK = 128


def relevance(query_labels, db_labels, ids):
    """Whether each result shares a label with its query: (Q, K) bool.

    query_labels (Q,) and db_labels (N,) integers, or (Q, L) and (N, L) 0/1 for several labels an image;
    ids: (Q, K) rows of the database.
    """
    if query_labels.ndim == 1:
        return db_labels[ids] == query_labels[:, None]
    return np.einsum("ql,qkl->qk", query_labels.astype(bool), db_labels.astype(bool)[ids])


def average_precision(relevant):
    """AP of each row of `relevant` (Q, K) bool, as (Q,) float64; a row without a hit scores 0."""
    hits = np.cumsum(relevant, axis=1, dtype=np.int32)  # six times as fast as int64
    precision = hits / np.arange(1, relevant.shape[1] + 1)
    found = hits[:, -1]
    precision_sum = np.einsum("qk,qk->q", precision, relevant)
    return np.divide(precision_sum, found, out=np.zeros(len(relevant)), where=found > 0)


def score_ranking(ids, query_labels, db_labels, threads=None):
    """Score ranked lists ids (Q, K): {"ap": (Q,), "map": mean AP@K, "precision_at_k": (K,) mean curve}."""
    positions = np.arange(1, ids.shape[1] + 1)

    def work(rows):
        relevant = relevance(query_labels[rows], db_labels, ids[rows])
        return average_precision(relevant), relevant.sum(axis=0)

    blocks = map_blocks(work, len(ids), QUERIES_PER_TASK, threads, "scoring")
    ap = np.concatenate([block_ap for block_ap, _ in blocks])
    hits_at = np.sum([block_hits for _, block_hits in blocks], axis=0)
    return {"ap": ap, "map": float(ap.mean()), "precision_at_k": np.cumsum(hits_at) / positions / len(ids)}
