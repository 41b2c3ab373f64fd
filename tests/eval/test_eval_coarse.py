"""coarse.py against a sort of (distance, id) pairs made bit by bit."""

import numpy as np
import pytest
from references import hamming_ranking

from basics.program import EvalError
from search.coarse import SAMPLE, CodeIndex
from search.codes import pack


def codes_of(kind, count, bits, rng):
    """Uniform codes, codes with many ties and duplicates, or all equal."""
    if kind == "tied":
        return rng.integers(0, 2, (4, bits)).astype(bool)[rng.integers(0, 4, count)]
    return np.zeros((count, bits), bool) if kind == "equal" else rng.random((count, bits)) < 0.5


@pytest.mark.parametrize("kind", ["uniform", "tied", "equal"])
@pytest.mark.parametrize("bits", [1, 12, 48, 128, 300])
@pytest.mark.parametrize("top_k", [1, 7, 60])
def test_search_equals_the_slow_ranking(kind, bits, top_k):
    rng = np.random.default_rng(bits)
    queries, database = rng.random((9, bits)) < 0.5, codes_of(kind, 60, bits, rng)
    ids, distances = CodeIndex(pack(database)).search(pack(queries), top_k)
    for query, row_ids, row_distances in zip(queries, ids, distances):
        expected = hamming_ranking(query, database)[:top_k]
        assert list(zip(row_distances.tolist(), row_ids.tolist())) == expected


def test_ties_keep_database_order_by_hand():
    database = np.array([[1, 1], [0, 1], [0, 0], [1, 0], [0, 0]], bool)
    ids, distances = CodeIndex(pack(database)).search(pack(np.array([[0, 0]], bool)), 4)
    assert ids.tolist() == [[2, 4, 1, 3]]
    assert distances.tolist() == [[0, 0, 1, 1]]


def test_complementary_codes_are_as_far_as_there_are_bits():
    """300 bits: the distance does not fit a byte."""
    _, distances = CodeIndex(pack(np.ones((1, 300), bool))).search(pack(np.zeros((1, 300), bool)), 1)
    assert distances.tolist() == [[300]]


def test_threads_and_query_order_change_nothing():
    """The radius that a query starts from is the last one's: no result may depend on it."""
    rng = np.random.default_rng(5)
    queries, index = pack(rng.random((300, 16)) < 0.5), CodeIndex(pack(rng.random((500, 16)) < 0.3))
    ids, _ = index.search(queries, 20, threads=1)
    reversed_ids, _ = index.search(queries[::-1], 20, threads=3)
    assert np.array_equal(ids, reversed_ids[::-1])


@pytest.mark.parametrize("top_k", [0, 4])
def test_top_k_outside_the_database_is_an_error(top_k):
    index = CodeIndex(pack(np.zeros((3, 8), bool)))
    with pytest.raises(EvalError, match="choose 1 to 3"):
        index.search(pack(np.zeros((1, 8), bool)), top_k)


def test_different_lengths_and_empty_database_are_errors():
    with pytest.raises(EvalError, match="cannot be compared"):
        CodeIndex(pack(np.zeros((3, 8), bool))).search(pack(np.zeros((1, 48), bool)), 1)
    with pytest.raises(EvalError, match="no codes"):
        CodeIndex(pack(np.zeros((0, 8), bool)))


@pytest.mark.parametrize("bits", [48, 300])
def test_a_sample_that_misleads_changes_nothing(bits):
    """Every sampled entry (a stride apart) is near, all others are far: the first radius holds too few."""
    database = np.ones((SAMPLE * 4, bits), bool)
    database[::4] = False
    query = np.zeros((1, bits), bool)
    ids, distances = CodeIndex(pack(database)).search(pack(query), SAMPLE + 1000)
    near, far = np.arange(0, SAMPLE * 4, 4), np.delete(np.arange(SAMPLE * 4), np.s_[::4])
    assert np.array_equal(ids[0], np.append(near, far[:1000]))
    assert distances[0, SAMPLE - 1] == 0
    assert distances[0, SAMPLE] == bits


@pytest.mark.parametrize("bits", [12, 64, 300])
def test_pools_are_what_lies_within_the_radius(bits):
    rng = np.random.default_rng(bits)
    db, queries = rng.random((9001, bits)) < 0.5, rng.random((20, bits)) < 0.5
    radius = rng.integers(-1, bits + 3, 20)
    found = CodeIndex(pack(db)).pools(pack(queries), radius, threads=2)
    for code, limit, ids in zip(queries, radius, found):
        assert ids.tolist() == np.flatnonzero((db != code).sum(axis=1) < limit).tolist()
