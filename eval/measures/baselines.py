"""Unsupervised codes from the same fc7 features: what a learned latent layer is to be compared with.

    lsh  signs of random projections of the centred features
    pca  signs of the principal components
    itq  principal components rotated towards the corners of the cube (Gong and Lazebnik, 2011)
    sh   thresholded eigenfunctions along the principal components (Weiss, Torralba and Fergus, 2008)

Each `fit_*` takes a Sample of database features and returns an Encoder, a function features (N, d) -> bits (N, h) bool.

The codes are the same bits for any number of threads. BLAS adds up in another order with another number of its own, and
ITQ's iterations turn a last bit into other codes: so it has one thread, and blocks of fixed size are spread over ours.
"""

from collections.abc import Callable, Iterable
from functools import cached_property

import numpy as np
from scipy.sparse.linalg import eigsh
from threadpoolctl import threadpool_limits

from basics.program import EvalError
from basics.rows import evenly, gather, map_blocks
from measures.average_precision import score_ranking
from search.coarse import CodeIndex
from search.codes import pack
from search.retrieval import Retrieval

TRAINING_ROWS = 10000
ITQ_ITERATIONS = 50
SEED = 0
Encoder = Callable[[np.ndarray], np.ndarray]


class Sample:
    """At most 10,000 evenly taken database rows, centred, and their principal directions for `bits` bits. float64."""

    def __init__(self, db_fc7: np.ndarray, bits: int, threads: int | None = None):
        self.centred = np.asarray(gather(db_fc7, evenly(len(db_fc7), TRAINING_ROWS)), np.float64)
        self.mean = self.centred.mean(axis=0)
        self.centred -= self.mean
        self.bits, self.threads = bits, threads

    @cached_property
    def directions(self) -> np.ndarray:
        """(d, bits) directions of the largest variance, largest first."""
        dimension = self.centred.shape[1]
        if self.bits >= dimension:
            raise EvalError(f"{self.bits} bits cannot come from the principal components of {dimension} units: "
                            "leave the baselines out with --baselines none")
        start = np.random.default_rng(SEED).normal(size=dimension)
        products = map_blocks(lambda rows: self.centred.T[rows] @ self.centred, dimension, 256, self.threads)
        _, vectors = eigsh(np.concatenate(products), k=self.bits, v0=start)
        return np.ascontiguousarray(vectors[:, ::-1])


def fit_lsh(sample: Sample) -> Encoder:
    directions = np.random.default_rng(SEED).normal(size=(sample.centred.shape[1], sample.bits))
    return lambda features: (features - sample.mean) @ directions >= 0


def fit_pca(sample: Sample) -> Encoder:
    return lambda features: (features - sample.mean) @ sample.directions >= 0


def fit_itq(sample: Sample) -> Encoder:
    projected = sample.centred @ sample.directions
    rotation = np.linalg.qr(np.random.default_rng(SEED).normal(size=(sample.bits, sample.bits)))[0]
    for _ in range(ITQ_ITERATIONS):  # alternate the nearest corners and the rotation nearest to them (Procrustes)
        corners = np.where(projected @ rotation >= 0, 1.0, -1.0)
        left, _, right = np.linalg.svd(projected.T @ corners)
        rotation = left @ right
    turned = sample.directions @ rotation
    return lambda features: (features - sample.mean) @ turned >= 0


def fit_sh(sample: Sample) -> Encoder:
    projected = sample.centred @ sample.directions
    low, extent = projected.min(axis=0), np.maximum(np.ptp(projected, axis=0), np.finfo(np.float64).tiny)
    # eigenvalues grow with (mode / extent)^2: take the smoothest functions of all components
    modes = np.arange(1, sample.bits + 1)[None, :] / extent[:, None]
    component, mode = np.unravel_index(np.argsort(modes, axis=None, kind="stable")[:sample.bits], modes.shape)

    def encode(features):
        place = ((features - sample.mean) @ sample.directions - low)[:, component]
        return np.sin(np.pi / 2 + np.pi * (mode + 1) * place / extent[component]) >= 0

    return encode


METHODS = {"lsh": fit_lsh, "pca": fit_pca, "itq": fit_itq, "sh": fit_sh}


def baseline_codes(methods: Iterable[str], query_fc7: np.ndarray, db_fc7: np.ndarray, bits: int,
                   threads: int | None = None) -> dict:
    """{method: (query_codes, db_codes)}, bool (Q, bits) and (N, bits)."""
    def encode_all(encode, fc7):
        encoded = map_blocks(lambda rows: encode(np.asarray(fc7[rows], np.float64)), len(fc7), 1024, threads)
        return np.concatenate(encoded)

    with threadpool_limits(1, "blas"):
        sample = Sample(db_fc7, bits, threads)
        encoders = {method: METHODS[method](sample) for method in methods}
        return {method: (encode_all(encode, query_fc7), encode_all(encode, db_fc7))
                for method, encode in encoders.items()}


def possible_methods(retrieval: Retrieval) -> tuple[str, ...]:
    """The methods that a retrieval's fc7 allows: all but lsh need more units than bits; none without fc7."""
    if retrieval.query_fc7 is None:
        return ()
    return tuple(name for name in METHODS if name == "lsh" or retrieval.bits < retrieval.query_fc7.shape[1])


def score_baselines(retrieval: Retrieval, methods: Iterable[str], top_k: int, threads: int | None = None) -> dict:
    """{method: {map, map_k, precision_at_k}} of unsupervised codes of the same length from the same fc7."""
    scores = {}
    encoded = baseline_codes(methods, retrieval.query_fc7, retrieval.database.fc7, retrieval.bits, threads)
    for method, (query_codes, db_codes) in encoded.items():
        ids, _ = CodeIndex(pack(db_codes)).search(pack(query_codes), top_k, threads)
        found = score_ranking(ids, retrieval.query_labels, retrieval.database.labels, threads)
        scores[method] = {"map": found["map"], "map_k": top_k, "precision_at_k": found["precision_at_k"].tolist()}
    return scores
