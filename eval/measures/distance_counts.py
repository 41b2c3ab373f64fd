"""How many images, and how many relevant ones, lie at each Hamming distance of each query.

From one pass over all pairs (whole_ranking.py) follow: the mean pool for every T, precision within a radius, the
recall-precision curve, the histograms within and between classes, and mAP@K free of the order of ties.
"""

from dataclasses import dataclass
from math import lgamma

import numpy as np


@dataclass
class DistanceCounts:
    """total and relevant: (Q, bits + 1) images at each distance 0..bits."""

    total: np.ndarray
    relevant: np.ndarray

    def pool_mean(self, radius: int) -> float:
        """Mean number of images with distance < radius."""
        return float(self.total[:, :radius].sum(axis=1).mean())

    def precision_within(self, radius: int) -> float:
        """Mean precision of the ball distance <= radius; an empty ball counts 0."""
        total = self.total[:, :radius + 1].sum(axis=1)
        relevant = self.relevant[:, :radius + 1].sum(axis=1)
        return float(np.divide(relevant, total, out=np.zeros(len(total)), where=total > 0).mean())

    def recall_precision(self) -> tuple[np.ndarray, np.ndarray]:
        """(recall, precision) of the balls of radius 0..bits, over all query-result pairs together.

        Radii that return nothing for any query are left out.
        """
        total, relevant = (np.cumsum(counts.sum(axis=0)) for counts in (self.total, self.relevant))
        kept = total > 0
        return relevant[kept] / max(relevant[-1], 1), relevant[kept] / total[kept]

    def histograms(self) -> tuple[np.ndarray, np.ndarray]:
        """(within, between): share of relevant and of other pairs at each distance, (bits + 1,) each."""
        within = self.relevant.sum(axis=0)
        between = (self.total - self.relevant).sum(axis=0)
        return within / max(within.sum(), 1), between / max(between.sum(), 1)


def tie_aware_average_precision(counts: DistanceCounts, top_k: int) -> np.ndarray:
    """Expected AP@K of each query when equal distances come in random order: (Q,) float64.

    Within a run of n equal distances with r relevant, after N0 results with R0 hits, place i is a hit with
    probability r/n and then has R0 + 1 + (i-1)(r-1)/(n-1) hits up to it (McSherry and Najork, 2008). Where K cuts
    a run after m places, the hits h among them are hypergeometric, and so is the divisor R0 + h of AP@K:
    the expectation is summed over h.
    """
    largest = int(counts.total.sum(axis=1).max())
    harmonic = np.append(0, np.cumsum(1 / np.arange(1, largest + 1)))
    log_factorial = np.array([lgamma(i + 1) for i in range(largest + 1)])
    return np.array([_expected_ap(total, relevant, top_k, harmonic, log_factorial)
                     for total, relevant in zip(counts.total, counts.relevant)])


def _expected_ap(total, relevant, top_k, harmonic, log_factorial):
    """tie_aware_average_precision of one query, given its counts (bits + 1,)."""
    occupied = np.flatnonzero(total)
    n, r = total[occupied].astype(np.int64), relevant[occupied].astype(np.int64)
    before, hits_before = np.cumsum(n) - n, np.cumsum(r) - r
    whole = before + n <= top_k
    precision_sum = _run_sum(n[whole], r[whole], before[whole], hits_before[whole], harmonic).sum()
    if whole.all() or before[~whole][0] == top_k:
        hits = r[whole].sum()
        return precision_sum / hits if hits else 0.0
    cut = int(np.argmin(whole))
    n, r, before, hits_before = int(n[cut]), int(r[cut]), int(before[cut]), int(hits_before[cut])
    m = top_k - before
    h = np.arange(max(0, m - (n - r)), min(m, r) + 1)

    def log_choose(a, b):
        return log_factorial[a] - log_factorial[b] - log_factorial[a - b]

    probability = np.exp(log_choose(r, h) + log_choose(n - r, m - h) - log_choose(n, m))
    run = _run_sum(np.full(len(h), m), h, before, hits_before, harmonic)
    hits = hits_before + h
    return float(np.sum(probability * np.divide(precision_sum + run, hits, out=np.zeros(len(h)), where=hits > 0)))


def _run_sum(n, r, before, hits_before, harmonic):
    """Expected sum of precision at the hits of a run of n results with r hits in random places."""
    inverse = harmonic[before + n] - harmonic[before]           # sum of 1 / (N0 + i)
    weighted = n - (before + 1) * inverse                       # sum of (i - 1) / (N0 + i)
    return r / n * ((hits_before + 1) * inverse + (r - 1) / np.maximum(n - 1, 1) * weighted)
