"""Slow, obvious implementations that the fast ones in eval/ are compared with. No code is shared with eval/."""

import math
from fractions import Fraction

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


def expected_average_precision(total, relevant, top_k):
    """AP@K of one query over all orders of equal distances, place by place; exact fractions. total, relevant (levels,).

    A place of a run is a hit with probability r/n, and two places of it both with r (r - 1) / (n (n - 1)). Where K cuts
    the run, each number of hits within K is weighed by the ways to draw it.
    """
    before, hits, done = 0, 0, Fraction(0)
    for n, r in zip(map(int, total), map(int, relevant)):
        places = min(n, top_k - before)
        if places < n:
            return sum(Fraction(math.comb(r, h) * math.comb(n - r, places - h), math.comb(n, places))
                       * (done + sum_of_run(before, hits, places, h)) / (hits + h)
                       for h in range(places + 1) if hits + h)
        done += sum_of_run(before, hits, n, r)
        before, hits = before + n, hits + r
    return done / hits if hits else Fraction(0)


def sum_of_run(before, hits, n, r):
    """Expected sum of precision at the r hits in n places in random order, after `before` places with `hits` hits."""
    return sum(Fraction(r, n) * (hits + 1 + Fraction((place - 1) * (r - 1), max(n - 1, 1))) / (before + place)
               for place in range(1, n + 1))
