"""Agreement of two models, against hand-checked literals and slow references."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from measures.agreement import agree_on_labels, agree_on_rankings, compare_ap, most_different, overlap, rank_correlation
from references import hamming_distance
from search.codes import pack
from search.rankings import Ranking
from search.retrieval import Database, Retrieval


def test_overlap_counts_what_both_lists_hold():
    ids = np.array([[1, 2, 3, 4], [1, 2, 3, 4], [5, 6, 7, 8]])
    other = np.array([[4, 3, 2, 1], [1, 9, 8, 7], [0, 1, 2, 3]])
    assert overlap(ids, other, 4).tolist() == [1, 0.25, 0]
    assert overlap(ids, other, 2).tolist() == [0, 0.5, 0]


def test_overlap_of_random_lists_equals_sets():
    rng = np.random.default_rng(0)
    ids, other = (np.stack([rng.permutation(60)[:20] for _ in range(30)]) for _ in range(2))
    wanted = [len(set(a[:7]) & set(b[:7])) / 7 for a, b in zip(ids.tolist(), other.tolist())]
    assert overlap(ids, other, 7).tolist() == wanted
    assert len(set(wanted)) > 2


def test_rank_correlation_is_spearman_s_with_ties():
    rng = np.random.default_rng(1)
    one = rng.integers(0, 12, (20, 300)).astype(np.uint8)
    other = (one // 2 + rng.integers(0, 4, one.shape)).astype(np.uint8)
    wanted = [spearmanr(a, b).statistic for a, b in zip(one, other)]
    np.testing.assert_allclose(rank_correlation(one, other), wanted, atol=1e-12)
    assert 0.2 < min(wanted) < max(wanted) < 0.99


def test_rank_correlation_of_literals():
    rising, falling, same = np.array([[0, 1, 2, 3]]), np.array([[9, 8, 4, 0]]), np.array([[5, 5, 5, 5]])
    assert rank_correlation(rising, rising * 3)[0] == pytest.approx(1)
    assert rank_correlation(rising, falling)[0] == pytest.approx(-1)
    assert rank_correlation(rising, same)[0] == 0


def test_rankings_of_two_code_lengths():
    """A model of 70 bits and one of 9: what they share is found all the same."""
    rng = np.random.default_rng(2)
    retrievals, rankings, distances = [], [], []
    for bits in (70, 9):
        codes = [rng.random((count, bits)) < 0.5 for count in (15, 40)]
        distances.append([[hamming_distance(query, code) for code in codes[1]] for query in codes[0]])
        retrievals.append(Retrieval(pack(codes[0]), None, Database(pack(codes[1])), bits))
        rankings.append(Ranking(np.argsort(distances[-1], axis=1, kind="stable")[:, :30].astype(np.int32)))
    found = agree_on_rankings(retrievals, rankings)
    shared = [len(set(a[:10]) & set(b[:10])) / 10 for a, b in zip(rankings[0].ids.tolist(), rankings[1].ids.tolist())]
    assert found["overlap"] == {"10": pytest.approx(np.mean(shared))}
    assert found["rank_correlation"] == pytest.approx(np.mean([spearmanr(a, b).statistic for a, b in zip(*distances)]))
    assert found["correlated_queries"] == 15


def test_labels_in_four_cells():
    labels, one, other = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0, 1, 0, 1, 0]), np.array([0, 1, 1, 1, 1, 2])
    assert agree_on_labels(labels, one, other) == {"equal": 0.5, "both_right": 2, "first_right": 1, "second_right": 2,
                                                   "none_right": 1}


def test_paired_differences():
    ap, other = np.array([0.5, 0.2, 0.9, 0.4]), np.array([0.6, 0.2, 0.5, 0.6])
    found = compare_ap(ap, other)
    assert found["mean"] == pytest.approx(-0.025)
    assert (found["higher"], found["lower"], found["equal"]) == (2, 1, 1)
    assert found["standard_error"] == pytest.approx(np.std([0.1, 0, -0.4, 0.2], ddof=1) / 2)
    assert most_different(ap, other, 5) == ([3, 0], [2])
    assert most_different(ap, ap, 5) == ([], [])
