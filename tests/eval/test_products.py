"""The products of fc7 and what is decided by them (products.py, fine_block.py), against numpy in float64."""

import numpy as np
import pytest

from search import fine_block, kernels
from search.products import pair_products, parts_of, squared_distances

UNITS = [1, 7, kernels.UNITS, kernels.UNITS + 1, 2 * kernels.UNITS + 33]


def pairs_of(rng, count, queries, rows):
    return rng.integers(0, queries, count), rng.integers(0, rows, count)


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_products_of_pairs(units, dtype):
    rng = np.random.default_rng(units)
    queries, fc7 = rng.normal(size=(9, units)).astype(np.float32), rng.normal(size=(40, units)).astype(dtype)
    query_of, row_of = pairs_of(rng, 500, 9, 40)
    found = pair_products(queries, fc7, query_of, row_of, threads=2)
    wanted = (queries.astype(np.float64) @ fc7.astype(np.float64).T)[query_of, row_of]
    assert np.allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.sqrt(units))


def test_no_pairs_have_no_products():
    nothing = np.empty(0, np.int64)
    assert len(pair_products(np.ones((2, 5), np.float32), np.ones((3, 5), np.float32), nothing, nothing)) == 0


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_squared_distances_are_those_of_float64(units, dtype):
    """Of rows that nearly equal the query too, where a difference of norms and products would have no digit right."""
    rng = np.random.default_rng(units)
    fc7 = rng.normal(size=(40, units)).astype(dtype)
    queries = np.concatenate([rng.normal(size=(5, units)).astype(np.float32), fc7[:5].astype(np.float32) + 1e-4])
    query_of, row_of = pairs_of(rng, 300, 10, 40)
    query_of[:5], row_of[:5] = np.arange(5, 10), np.arange(5)
    found = squared_distances(fc7, row_of, queries, query_of)
    wanted = ((fc7[row_of].astype(np.float64) - queries[query_of].astype(np.float64)) ** 2).sum(axis=1)
    assert np.allclose(found, wanted, rtol=1e-13, atol=0)


@pytest.mark.parametrize("units", UNITS)
def test_parts_hold_every_unit_once(units):
    queries = np.arange(3 * units, dtype=np.float32).reshape(3, units) + 1
    parts = parts_of(queries)
    assert np.array_equal(np.concatenate(list(parts[:, :, :kernels.UNITS]), axis=1)[:, :units], queries)
    assert np.count_nonzero(parts) == queries.size


@pytest.mark.parametrize("kind", ["spread", "tied", "equal", "one far away"])
@pytest.mark.parametrize("count, top_k", [(1, 1), (50, 7), (5000, 20), (30_000, 900), (30_000, 29_999)])
def test_places_of_the_nearest(kind, count, top_k):
    """All that are within the margin of the k-th smallest, ascending; few more."""
    rng = np.random.default_rng(count)
    values = {"spread": rng.normal(size=count), "tied": rng.integers(0, 50, count), "equal": np.ones(count),
              "one far away": np.append(rng.normal(size=count - 1), 1e9)}[kind].astype(np.float32)
    margin = 0.01
    found = kernels.places_of_nearest(values, top_k, margin)
    wanted = np.flatnonzero(values <= np.sort(values)[top_k - 1] + margin)
    assert (np.diff(found) > 0).all()
    assert np.isin(wanted, found).all()
    if kind == "spread":
        assert len(found) <= len(wanted) + 2 + count // 100


@pytest.mark.parametrize("kind", ["sorted", "nearly", "tied", "reversed"])
def test_a_nearly_sorted_order_is_mended(kind):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 20, 300) if kind == "tied" else rng.random(300)
    order = np.argsort(values + (rng.normal(0, 0.01, 300) if kind == "nearly" else 0))
    order = order[::-1].copy() if kind == "reversed" else order
    kernels.sort_nearly_sorted(order, values.astype(np.float64))
    assert np.array_equal(order, np.argsort(values, kind="stable"))


@pytest.mark.parametrize("other", [0, 2000], ids=["sorted anew", "mended"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_what_float32_does_not_decide_is_decided_by_float64(other, dtype):
    """Distances that differ in the eighth digit, and equal ones, which keep database order. other: far rows beside."""
    rng = np.random.default_rng(1)
    query = np.full(64, 30, np.float32)
    gallery = (query + rng.normal(0, 1, (200, 64))).astype(np.float32)
    gallery[100:150] = gallery[:50]
    gallery[150:, 0] = gallery[:50, 0] + np.float32(1e-5)
    gallery[150:, 1:] = gallery[:50, 1:]
    far = query + np.linspace(5, 500, other)[:, None]
    gallery = np.concatenate([gallery, far]).astype(dtype)
    norms = (gallery.astype(np.float64) ** 2).sum(axis=1)
    squared = ((gallery.astype(np.float64) - query) ** 2).sum(axis=1)
    products = gallery.astype(np.float32) @ query
    norm = float(query.astype(np.float64) @ query)
    error = np.abs(products - gallery.astype(np.float64) @ query).max() / np.sqrt(norms.min())
    ids, found = fine_block.nearest_exactly(products, norms, np.arange(len(gallery)), 120, error, query, norm, gallery)
    assert np.array_equal(ids, np.argsort(squared, kind="stable")[:120])
    assert np.allclose(found, squared[ids], rtol=1e-3)
