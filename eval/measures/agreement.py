"""How far two models agree on the same queries and the same database: their ranked lists, distances and labels.

Codes of two models cannot be compared bit by bit (their bits mean different things), what they find can.
"""

import numpy as np

from basics.rows import evenly, map_blocks
from search.rankings import Ranking
from search.retrieval import Retrieval

DEPTHS = (10, 100, 1000)
CORRELATED_QUERIES = 1000
QUERIES_PER_TASK = 64


def overlap(ids: np.ndarray, other_ids: np.ndarray, depth: int) -> np.ndarray:
    """Share of the first `depth` results that both lists hold, of each query: (Q,). ids: (Q, >= depth), no id twice."""
    both = np.sort(np.concatenate([ids[:, :depth], other_ids[:, :depth]], axis=1), axis=1)
    return np.count_nonzero(both[:, 1:] == both[:, :-1], axis=1) / depth


def rank_correlation(distances: np.ndarray, other_distances: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each row of two (Q, N) integer arrays, (Q,); equal distances share their mean rank.

    A row whose distances are all equal orders nothing: 0.
    """
    result = np.zeros(len(distances))
    for row, (one, other) in enumerate(zip(distances, other_distances)):
        a, b = mean_ranks(one), mean_ranks(other)
        norm = np.sqrt((a @ a) * (b @ b))
        result[row] = a @ b / norm if norm > 0 else 0.0
    return result


def mean_ranks(distances: np.ndarray) -> np.ndarray:
    """Ranks of integers, equal ones sharing their mean rank, minus the mean of all: (N,) float64."""
    counts = np.bincount(distances)
    rank_of = np.cumsum(counts) - (counts + 1) / 2
    return rank_of[distances] - (len(distances) - 1) / 2


def agree_on_rankings(retrievals: tuple[Retrieval, Retrieval], rankings: tuple[Ranking, Ranking],
                      threads: int | None = None) -> dict:
    """{overlap: {depth: mean share}, rank_correlation, correlated_queries} of two models.

    The correlation is over the distances to the whole database, of up to 1,000 queries taken evenly.
    """
    ids = [ranking.ids for ranking in rankings]
    depths = [depth for depth in DEPTHS if depth <= ids[0].shape[1]] or [ids[0].shape[1]]
    rows = evenly(len(ids[0]), CORRELATED_QUERIES)
    indexes = [one.database.code_index for one in retrievals]   # built here: several threads would each build it

    def work(task):
        distances = [index.distances(one.query_codes[rows[task]], 1) for index, one in zip(indexes, retrievals)]
        return rank_correlation(*distances)

    correlations = np.concatenate(map_blocks(work, len(rows), QUERIES_PER_TASK, threads, "rank correlation"))
    return {"overlap": {str(depth): float(overlap(*ids, depth).mean()) for depth in depths},
            "rank_correlation": float(correlations.mean()), "correlated_queries": len(rows)}


def agree_on_labels(labels: np.ndarray, predictions: np.ndarray, other_predictions: np.ndarray) -> dict:
    """{equal: share with the same predicted class; both_right, first_right, second_right, none_right: counts}.

    labels and both predictions: (Q,) integers.
    """
    right, other_right = predictions == labels, other_predictions == labels
    count = {"both_right": right & other_right, "first_right": right & ~other_right,
             "second_right": ~right & other_right, "none_right": ~right & ~other_right}
    return {"equal": float(np.mean(predictions == other_predictions)),
            **{name: int(np.count_nonzero(rows)) for name, rows in count.items()}}


def compare_ap(ap: np.ndarray, other_ap: np.ndarray) -> dict:
    """Query by query: {mean: of second minus first, standard_error, higher, lower, equal: counts for the second}.

    The standard error is that of the mean of paired differences over queries: what another set of queries might change.
    """
    difference = other_ap - ap
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else 0.0
    return {"mean": float(difference.mean()), "standard_error": float(error),
            "higher": int(np.count_nonzero(difference > 0)), "lower": int(np.count_nonzero(difference < 0)),
            "equal": int(np.count_nonzero(difference == 0))}


def most_different(ap: np.ndarray, other_ap: np.ndarray, each: int) -> tuple[list[int], list[int]]:
    """At most `each` rows where the second model's AP exceeds the first's by most, and where it falls short by most."""
    difference = other_ap - ap
    order = np.argsort(difference, kind="stable")
    higher = [int(row) for row in order[::-1] if difference[row] > 0][:each]
    return higher, [int(row) for row in order if difference[row] < 0][:each]
