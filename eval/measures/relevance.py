"""Which results are relevant: those that share a label with their query."""

from collections.abc import Callable

import numpy as np


def relevance(query_labels: np.ndarray, db_labels: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Whether each result shares a label with its query: (Q, K) bool.

    query_labels (Q,) and db_labels (N,) integers, or (Q, L) and (N, L) 0/1 for several labels an image;
    ids: (Q, K) rows of the database.
    """
    if query_labels.ndim == 1:
        return db_labels[ids] == query_labels[:, None]
    return np.einsum("ql,qkl->qk", query_labels.astype(bool), db_labels.astype(bool)[ids])


def relevant_rows(query_labels: np.ndarray, db_labels: np.ndarray) -> Callable[[int], np.ndarray]:
    """A function query row -> database rows that share a label with it."""
    if query_labels.ndim == 2:
        return lambda row: np.flatnonzero(db_labels[:, query_labels[row].astype(bool)].any(axis=1))
    of_class = {label: np.flatnonzero(db_labels == label) for label in np.unique(query_labels).tolist()}
    return lambda row: of_class[int(query_labels[row])]
