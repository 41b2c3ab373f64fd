"""fine_search.py against a Python two-stage loop with exactly summed distances."""

import numpy as np
import pytest
from references import euclidean_distance, two_stage_ranking

from basics.program import EvalError
from search import slabs
from search.coarse import CodeIndex
from search.codes import pack
from search.fine import Fc7Index, exhaustive, hierarchical
from search.products import pair_products


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


@pytest.mark.parametrize("share", [0, 1], ids=["product of matrices", "pair by pair"])
@pytest.mark.parametrize("kind", ["spread", "whole", "near"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_both_ways_to_multiply_give_the_slow_loops_lists(monkeypatch, tmp_path, share, kind, dtype):
    monkeypatch.setattr(slabs, "PAIRS_SHARE", share)
    rng = np.random.default_rng(3)
    codes, query_codes = rng.random((200, 16)) < 0.5, rng.random((12, 16)) < 0.5
    query_fc7, db_fc7 = features_of(kind, 12, 30, rng), features_of(kind, 200, 30, rng).astype(dtype)
    np.save(tmp_path / "fc7.npy", db_fc7)
    index = Fc7Index(np.load(tmp_path / "fc7.npy", mmap_mode="r"))
    found = hierarchical(query_fc7, index, 25, CodeIndex(pack(codes)), pack(query_codes), 7)
    for query, (code, fc7) in enumerate(zip(query_codes, query_fc7)):
        hamming = (codes != code).sum(axis=1)
        squared = ((db_fc7.astype(np.float64) - fc7.astype(np.float64)) ** 2).sum(axis=1)
        inside = hamming < 7
        order = np.lexsort((np.arange(200), np.where(inside, squared, hamming), ~inside))
        assert found.ids[query].tolist() == order[:25].tolist()
        assert found.pool[query] == inside.sum()


def test_every_finite_float16_is_widened_exactly():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    rows = every[np.isfinite(every)].reshape(-1, 64)
    query_of, row_of = np.tile(np.arange(64), len(rows)), np.repeat(np.arange(len(rows)), 64)
    found = pair_products(np.eye(64, dtype=np.float32), rows, query_of, row_of, threads=2)
    assert np.array_equal(found, rows.astype(np.float32).ravel())


@pytest.mark.parametrize("dtype", ["<f8", ">f4", ">f2", "<f2", "<f4"])
@pytest.mark.parametrize("share", [0, 1], ids=["product of matrices", "pair by pair"])
def test_fc7_of_other_types_is_ranked_as_float32(monkeypatch, share, dtype):
    monkeypatch.setattr(slabs, "PAIRS_SHARE", share)
    rng = np.random.default_rng(5)
    codes, query_codes = pack(rng.random((90, 8)) < 0.5), pack(rng.random((6, 8)) < 0.5)
    query_fc7, db_fc7 = features_of("spread", 6, 30, rng), features_of("spread", 90, 30, rng).astype(dtype)
    found = hierarchical(query_fc7, Fc7Index(db_fc7), 20, CodeIndex(codes), query_codes, 4)
    wanted = hierarchical(query_fc7, Fc7Index(db_fc7.astype(np.float32)), 20, CodeIndex(codes), query_codes, 4)
    assert np.array_equal(found.ids, wanted.ids)
