"""Slow, obvious implementations that the fast ones in eval/ are compared with. No code is shared with eval/."""

import math

import numpy as np


def hamming_distance(a, b):
    """Number of places where two bool vectors differ."""
    return sum(int(bool(x) != bool(y)) for x, y in zip(a, b))


def hamming_ranking(query, database):
    """[(distance, id)] of all entries, nearest first, equal distances in database order."""
    return sorted((hamming_distance(query, code), i) for i, code in enumerate(database))


def euclidean_distance(a, b):
    """Exactly rounded Euclidean distance."""
    return math.sqrt(math.fsum((float(x) - float(y)) ** 2 for x, y in zip(a, b)))


def two_stage_ranking(query_code, db_codes, query_fc7, db_fc7, top_k, radius):
    """Ids of the two-stage search: the pool by fc7, then the rest in Hamming order; and the pool's size."""
    ranking = hamming_ranking(query_code, db_codes)
    pool = [i for distance, i in ranking if distance < radius]
    rest = [i for distance, i in ranking if distance >= radius]
    pool.sort(key=lambda i: (euclidean_distance(query_fc7, db_fc7[i]), i))
    return (pool + rest)[:top_k], len(pool)


def textbook_ap(relevant):
    """The paper's AP of one list of 0/1: sum of precision at each hit, over the number of hits."""
    hits, precision_sum = 0, 0.0
    for position, is_hit in enumerate(relevant, start=1):
        if is_hit:
            hits += 1
            precision_sum += hits / position
    return precision_sum / hits if hits else 0.0


def all_distances(queries, database):
    """(Q, N) distances of bool codes, (Q, bits) and (N, bits), by numpy."""
    return np.stack([np.count_nonzero(database != query, axis=1) for query in queries])


def nearest_by_sort(queries, database, top_k):
    """(ids, distances) (Q, top_k) of bool codes by a stable sort of everything."""
    distances = all_distances(queries, database)
    ids = np.argsort(distances, axis=1, kind="stable")[:, :top_k]
    return ids, np.take_along_axis(distances, ids, axis=1)


def relevance(query_labels, db_labels, ids):
    """Whether each result shares a label with its query, (Q, K) bool; labels (Q,), (N,) or (Q, L), (N, L) bool."""
    if query_labels.ndim == 1:
        return db_labels[ids] == query_labels[:, None]
    return np.einsum("ql,qkl->qk", query_labels, db_labels[ids])


def average_precision(relevant):
    """AP of each row of (Q, K) bool, (Q,), by numpy; a row without a hit scores 0."""
    hits = np.cumsum(relevant, axis=1)
    precision_sum = (hits / np.arange(1, relevant.shape[1] + 1) * relevant).sum(axis=1)
    return precision_sum / np.maximum(hits[:, -1], 1)
