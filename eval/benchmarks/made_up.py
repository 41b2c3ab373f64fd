"""Made-up data for races: codes without structure, and fc7 with the structure of a trained net's."""

from dataclasses import dataclass

import numpy as np

CLASSES = 10
FACTORS = 64


@dataclass(frozen=True)
class Side:
    """Queries or database: codes (N, bits) bool, labels (N,), fc7 (N, d) float32 or None."""

    codes: np.ndarray
    labels: np.ndarray
    fc7: np.ndarray | None = None


def uniform(count: int, bits: int, rng: np.random.Generator) -> Side:
    """Independent bits: the hardest codes to rank, since few are near."""
    return Side(rng.random((count, bits)) < 0.5, rng.integers(0, CLASSES, count))


def synthetic(queries: int, database: int, bits: int, dimension: int, seed: int = 0) -> tuple[Side, Side]:
    """Labels, latent signs and fc7 of ten classes: fc7 a ReLU of a few dozen factors, as in a trained net."""
    rng = np.random.default_rng(seed)
    class_factor = rng.normal(0, 1.5, (CLASSES, FACTORS))
    to_bits, to_fc7 = rng.normal(size=(FACTORS, bits)), rng.normal(size=(FACTORS, dimension)).astype(np.float32)
    sides = []
    for count in (queries, database):
        labels = rng.integers(0, CLASSES, count)
        latent = class_factor[labels] + rng.normal(size=(count, FACTORS))
        fc7 = latent.astype(np.float32) @ to_fc7
        sides.append(Side(latent @ to_bits >= 0, labels, np.maximum(fc7, 0, out=fc7)))
    return tuple(sides)


def defeating(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    """fc7 (count, dimension) float32 that no screen helps: no direction leads, and one unit spoils a row's scale."""
    rng = np.random.default_rng(seed)
    rows = rng.random((count, dimension), np.float32)
    rows[np.arange(count), rng.integers(0, dimension, count)] = 100
    return rows
