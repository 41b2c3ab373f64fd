"""fine_search.py against a Python two-stage loop with exactly summed distances."""

import numpy as np
import pytest

from basics.program import EvalError
from references import euclidean_distance, two_stage_ranking
from search.coarse import CodeIndex
from search.codes import pack
from search.fine import Fc7Index, exhaustive, hierarchical


def features_of(kind, count, dimension, rng):
    """float32 activations: spread out, whole numbers with many equal distances, or nearly equal rows."""
    if kind == "whole":
        return rng.integers(0, 2, (count, dimension)).astype(np.float32)
    values = np.maximum(rng.normal(size=(count, dimension)), 0)
    if kind == "near":  # differences far below the rounding error of a float32 product
        values = 30 + 1e-4 * values
    return values.astype(np.float32)


@pytest.mark.parametrize("kind", ["spread", "whole", "near"])
@pytest.mark.parametrize("radius", [0, 1, 3, 5, 9])
@pytest.mark.parametrize("top_k", [1, 10, 80])
def test_two_stages_equal_the_slow_loop(kind, radius, top_k):
    rng = np.random.default_rng(radius)
    query_codes, db_codes = rng.random((12, 8)) < 0.5, rng.random((80, 8)) < 0.5
    query_fc7, db_fc7 = features_of(kind, 12, 40, rng), features_of(kind, 80, 40, rng)
    result = hierarchical(query_fc7, Fc7Index(db_fc7), top_k, CodeIndex(pack(db_codes)), pack(query_codes), radius)
    for q in range(12):
        ids, pool = two_stage_ranking(query_codes[q], db_codes, query_fc7[q], db_fc7, top_k, radius)
        assert result.ids[q].tolist() == ids
        assert result.pool[q] == pool
        ranked = min(pool, top_k)
        expected = [euclidean_distance(query_fc7[q], db_fc7[i]) for i in ids[:ranked]]
        assert result.euclidean[q, :ranked] == pytest.approx(expected, rel=1e-3, abs=1e-5)
        assert np.isnan(result.euclidean[q, ranked:]).all()


@pytest.mark.parametrize("kind", ["spread", "whole", "near"])
def test_exhaustive_equals_a_sort(kind):
    rng = np.random.default_rng(3)
    query_fc7, db_fc7 = features_of(kind, 10, 300, rng), features_of(kind, 200, 300, rng)
    result = exhaustive(query_fc7, Fc7Index(db_fc7), 25)
    for query, ids in zip(query_fc7, result.ids):
        assert ids.tolist() == sorted(range(200), key=lambda i: (euclidean_distance(query, db_fc7[i]), i))[:25]
    assert result.filled == 0


def test_near_rows_are_a_real_trial():
    """The float32 product alone gets the 'near' kind wrong: without the second look the tests above would fail."""
    rng = np.random.default_rng(3)
    query_fc7, db_fc7 = features_of("near", 10, 300, rng), features_of("near", 200, 300, rng)
    squared = (db_fc7 ** 2).sum(axis=1) - 2 * query_fc7 @ db_fc7.T
    right = exhaustive(query_fc7, Fc7Index(db_fc7), 25).ids
    assert not np.array_equal(np.argsort(squared, axis=1, kind="stable")[:, :25], right)


def test_short_pool_by_hand():
    """Pool of two, ranked by fc7; the list is filled in Hamming order, and counted."""
    db_codes = pack(np.array([[1, 1, 1], [0, 0, 1], [0, 0, 0], [0, 1, 1]], bool))
    db_fc7 = np.float32([[0], [5], [9], [0]])
    result = hierarchical(np.float32([[4]]), Fc7Index(db_fc7), 4, CodeIndex(db_codes),
                          pack(np.array([[0, 0, 0]], bool)), radius=2)
    assert result.ids.tolist() == [[1, 2, 3, 0]]
    assert result.pool.tolist() == [2]
    assert result.filled == 1
    assert result.euclidean[0, :2].tolist() == [1, 5]


def test_half_precision_features_are_taken():
    db_fc7 = np.float16([[0, 0], [3, 4], [1, 1]])
    assert exhaustive(np.float16([[3, 3]]), Fc7Index(db_fc7), 3).ids.tolist() == [[1, 2, 0]]


def test_bad_features_are_errors():
    with pytest.raises(EvalError, match="row 1"):
        Fc7Index(np.float32([[0], [np.nan], [np.inf]]))
    with pytest.raises(EvalError, match="2 units"):
        exhaustive(np.zeros((1, 2), np.float32), Fc7Index(np.zeros((3, 4), np.float32)), 1)
    with pytest.raises(EvalError, match="choose 1 to 3"):
        exhaustive(np.zeros((1, 4), np.float32), Fc7Index(np.zeros((3, 4), np.float32)), 4)
