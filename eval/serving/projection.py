"""The map of a database: its images in two dimensions."""

import numpy as np
import scipy.linalg

from basics.rows import block_slices, evenly, gather
from search.feature_set import Split
from serving.faults import Fault

MOST_POINTS = 100_000
SAMPLE = 4096            # rows that the directions are taken from
BLOCK = 4096
KINDS = ("codes", "fc7")


def project(database: Split, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """(rows (n,) uint32, points (n, 2) float32 in -1..1): the two leading principal components of codes or fc7.

    All images, or evenly taken ones of more than 100,000. The directions are those of up to 4,096 evenly taken rows;
    their signs are fixed, so that the same features give the same map.
    """
    if kind not in KINDS:
        raise Fault(400, f"of = {kind}: give {' or '.join(KINDS)}.")
    if kind == "fc7" and database.fc7 is None:
        raise Fault(400, "This run has no fc7: ask for the map of its codes.")
    rows = evenly(len(database), MOST_POINTS)

    def values(wanted):
        return (database.codes_of(wanted) if kind == "codes" else gather(database.fc7, wanted)).astype(np.float64)

    sample = values(evenly(len(database), SAMPLE))
    centre = sample.mean(axis=0)
    directions = leading(sample - centre)
    points = np.concatenate([(values(rows[part]) - centre) @ directions for part in block_slices(len(rows), BLOCK)])
    points -= (points.min(axis=0) + points.max(axis=0)) / 2
    return rows.astype(np.uint32), (points / max(np.abs(points).max(), 1e-12)).astype(np.float32)


def leading(sample: np.ndarray) -> np.ndarray:
    """(d, 2) directions of most spread; the largest entry of each is positive. A single unit gets a second of zeros."""
    size = sample.shape[1]
    _, vectors = scipy.linalg.eigh(sample.T @ sample, subset_by_index=[max(0, size - 2), size - 1])
    vectors = vectors[:, ::-1]
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])
    vectors = vectors * np.where(signs == 0, 1, signs)
    return np.pad(vectors, ((0, 0), (0, 2 - vectors.shape[1])))
