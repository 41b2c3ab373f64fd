"""Which results are relevant: those that share a label with their query."""

from dataclasses import dataclass

import numpy as np

from search import kernels


@dataclass(frozen=True)
class Relevant:
    """Relevant rows of the database for query q, ascending: rows[starts[g]:starts[g + 1]] with g = groups[q]."""

    groups: np.ndarray
    starts: np.ndarray
    rows: np.ndarray

    def of(self, queries: slice) -> "Relevant":
        """That of some of the queries."""
        return Relevant(self.groups[queries], self.starts, self.rows)


def relevant_groups(query_labels: np.ndarray, db_labels: np.ndarray) -> Relevant:
    """Relevant rows of each query, kept once for queries of the same labels.

    Labels: (Q,) and (N,) integers, or (Q, L) and (N, L) 0/1 for several labels an image.
    """
    if query_labels.ndim == 1:
        classes, groups = np.unique(query_labels, return_inverse=True)
        of_entry = np.searchsorted(classes, db_labels)
        known = classes[np.minimum(of_entry, len(classes) - 1)] == db_labels
        starts, rows = kernels.rows_of_groups(np.where(known, of_entry, -1).astype(np.int32), len(classes))
        return Relevant(groups.astype(np.int32), starts, rows)
    sets, groups = np.unique(query_labels.astype(bool), axis=0, return_inverse=True)
    members = [np.flatnonzero(db_labels[:, labels].any(axis=1)).astype(np.int32) for labels in sets]
    starts = np.append(0, np.cumsum([len(rows) for rows in members]))
    return Relevant(groups.reshape(-1).astype(np.int32), starts, np.concatenate(members))


def comparable_labels(query_labels: np.ndarray, db_labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels as the kernels compare them: numbered classes (Q,) and (N,) int32, or sets as bits (., bytes)."""
    if query_labels.ndim == 1:
        classes, numbers = np.unique(np.concatenate([query_labels, db_labels]), return_inverse=True)
        numbers = numbers.astype(np.int32)
        return numbers[:len(query_labels)], numbers[len(query_labels):]
    return tuple(np.packbits(labels.astype(bool), axis=1) for labels in (query_labels, db_labels))
