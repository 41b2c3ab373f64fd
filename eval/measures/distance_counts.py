"""How many images, and how many relevant ones, lie at each Hamming distance of each query.

From one pass over all pairs (whole_ranking.py) follow: the mean pool for every T, precision within a radius, the
recall-precision curve, the histograms within and between classes, and mAP@K free of the order of ties.
"""

from dataclasses import dataclass
from math import lgamma

import numpy as np

from basics.rows import map_blocks
from search import kernels

QUERIES_PER_TASK = 512


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


def tie_aware_average_precision(counts: DistanceCounts, top_k: int, threads: int | None = None) -> np.ndarray:
    """Expected AP@K of each query when equal distances come in random order: (Q,) float64.

    Within a run of n equal distances with r relevant, after N0 results with R0 hits, place i is a hit with
    probability r/n and then has R0 + 1 + (i-1)(r-1)/(n-1) hits up to it (McSherry and Najork, 2008). Where K cuts
    a run after m places, the hits h among them are hypergeometric, and so is the divisor R0 + h of AP@K:
    the expectation is summed over h.
    """
    largest = int(counts.total.sum(axis=1).max())
    harmonic = np.append(0, np.cumsum(1 / np.arange(1, largest + 1)))
    log_factorial = np.array([lgamma(i + 1) for i in range(largest + 1)])
    expected = np.empty(len(counts.total))

    def work(rows):
        kernels.expected_average_precision(counts.total[rows], counts.relevant[rows], top_k, harmonic, log_factorial,
                                           expected[rows])

    map_blocks(work, len(expected), QUERIES_PER_TASK, threads)
    return expected
