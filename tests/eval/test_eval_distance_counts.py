"""distance_counts.py against bit-by-bit counting and against averages over real shuffles of the ties."""

from itertools import permutations

import numpy as np
import pytest
from references import expected_average_precision, hamming_distance, textbook_ap

from measures.distance_counts import DistanceCounts, tie_aware_average_precision
from measures.whole_ranking import rank_whole
from search.coarse import CodeIndex
from search.codes import pack


def counts_of(distances, relevant, bits):
    """DistanceCounts of one query from its list of distances and relevances."""
    total, hits = np.zeros((1, bits + 1), int), np.zeros((1, bits + 1), int)
    for distance, hit in zip(distances, relevant):
        total[0, distance] += 1
        hits[0, distance] += hit
    return DistanceCounts(total, hits)


@pytest.mark.parametrize("several", [False, True])
def test_counts_equal_the_slow_way(several):
    rng = np.random.default_rng(0)
    query_codes, db_codes = rng.random((20, 10)) < 0.5, rng.random((50, 10)) < 0.5
    query_labels, db_labels = rng.integers(0, 4, 20), rng.integers(0, 3, 50)  # class 3 is not in the database
    if several:
        query_labels, db_labels = rng.random((20, 4)) < 0.3, rng.random((50, 4)) < 0.3
    counts = rank_whole(CodeIndex(pack(db_codes)), pack(query_codes), query_labels, db_labels, 10).counts
    for q in range(20):
        total, relevant = np.zeros(11, int), np.zeros(11, int)
        for i in range(50):
            distance = hamming_distance(query_codes[q], db_codes[i])
            total[distance] += 1
            relevant[distance] += np.any(query_labels[q] & db_labels[i]) if several else query_labels[q] == db_labels[i]
        assert counts.total[q].tolist() == total.tolist()
        assert counts.relevant[q].tolist() == relevant.tolist()


@pytest.mark.parametrize("top_k", [1, 2, 3, 4, 5, 7, 9])
def test_expected_ap_is_the_mean_over_all_orders(top_k):
    """Seven results, two runs of ties: every permutation that respects the distances, counted alike."""
    distances, relevant = [0, 1, 1, 1, 2, 2, 2], [0, 1, 0, 1, 1, 0, 0]
    orders = [(0, *first, *second) for first in permutations([1, 2, 3]) for second in permutations([4, 5, 6])]
    scores = [textbook_ap([relevant[i] for i in order[:top_k]]) for order in orders]
    found = tie_aware_average_precision(counts_of(distances, relevant, 3), top_k)
    assert found[0] == pytest.approx(np.mean(scores), abs=1e-12)


@pytest.mark.parametrize("top_k", [1, 17, 50, 100])
def test_expected_ap_is_that_of_exact_fractions(top_k):
    """Random counts of 100 results, empty distances and queries without a hit among them."""
    rng = np.random.default_rng(2)
    total = rng.multinomial(100, rng.dirichlet(np.full(12, 0.3)), size=20).astype(np.int32)
    relevant = rng.binomial(total, rng.random((20, 1))).astype(np.int32)
    relevant[0], relevant[1] = 0, total[1]
    slow = [float(expected_average_precision(*counts, top_k)) for counts in zip(total, relevant)]
    assert slow[0] == 0 and slow[1] == 1 and 0 < slow[2] < 1
    found = tie_aware_average_precision(DistanceCounts(total, relevant), top_k)
    assert found == pytest.approx(slow, abs=1e-11)


def test_expected_ap_without_ties_is_the_plain_one():
    relevant = [1, 0, 1, 1, 0, 0, 1]
    found = tie_aware_average_precision(counts_of(range(7), relevant, 7), 5)
    assert found[0] == pytest.approx(textbook_ap(relevant[:5]), abs=1e-12)


def test_all_tied_by_hand():
    """Two results at one distance, one relevant: AP is 1 or 1/2. With K = 1 it is 1 or 0."""
    counts = counts_of([4, 4], [1, 0], 8)
    assert tie_aware_average_precision(counts, 2)[0] == pytest.approx(0.75)
    assert tie_aware_average_precision(counts, 1)[0] == pytest.approx(0.5)
    assert tie_aware_average_precision(counts_of([4, 4], [0, 0], 8), 2)[0] == 0


def test_large_runs_stay_finite_and_right():
    """5,000 ties cut at 1,000: the mean over shuffles, within its own error."""
    rng = np.random.default_rng(1)
    relevant = rng.random(5000) < 0.3
    sampled = [textbook_ap(rng.permutation(relevant)[:1000]) for _ in range(300)]
    found = tie_aware_average_precision(counts_of(np.zeros(5000, int), relevant, 2), 1000)[0]
    assert found == pytest.approx(np.mean(sampled), abs=4 * np.std(sampled) / np.sqrt(300))


def test_measures_of_the_counts_by_hand():
    """Query 0: one hit at 0, one miss at 2, one hit at 3. Query 1: nothing within 2, two misses at 4."""
    counts = DistanceCounts(np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 2]]), np.array([[1, 0, 0, 1, 0], [0, 0, 0, 0, 0]]))
    assert counts.pool_mean(3) == 1.0
    assert counts.precision_within(2) == (0.5 + 0) / 2
    recall, precision = counts.recall_precision()
    assert recall.tolist() == [0.5, 0.5, 0.5, 1, 1]
    assert precision == pytest.approx([1, 1, 1 / 2, 2 / 3, 2 / 5])
    within, between = counts.histograms()
    assert within.tolist() == [0.5, 0, 0, 0.5, 0]
    assert between == pytest.approx([0, 0, 1 / 3, 0, 2 / 3])
