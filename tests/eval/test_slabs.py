"""slabs.py: the fine search over more rows than memory is allowed for, against the same search at once."""

import numpy as np
import pytest

from search import fine, slabs
from search.coarse import CodeIndex
from search.codes import pack
from search.fine import Fc7Index, exhaustive, hierarchical

UNITS = 40


def rows_of(kind, count, rng):
    """float32 activations: spread out, whole numbers with many equal distances, nearly equal rows, all the same."""
    if kind == "whole":
        return rng.integers(0, 2, (count, UNITS)).astype(np.float32)
    if kind == "equal":
        return np.ones((count, UNITS), np.float32)
    values = np.maximum(rng.normal(size=(count, UNITS)), 0)
    return (30 + 1e-4 * values if kind == "near" else values).astype(np.float32)


@pytest.fixture
def in_slabs(monkeypatch):
    """Seven rows a slab, and few queries at a time."""
    monkeypatch.setattr(slabs, "LARGE_BYTES", 4 * UNITS * 10)
    monkeypatch.setattr(slabs, "SLAB_BYTES", 4 * UNITS * 7)
    monkeypatch.setattr(slabs, "QUERIES_PER_PRODUCT", 3)
    monkeypatch.setattr(fine, "QUERIES_PER_PASS", 8)


def same(found, wanted):
    assert found.ids.tolist() == wanted.ids.tolist()
    assert np.array_equal(found.pool, wanted.pool)
    assert np.allclose(found.euclidean, wanted.euclidean, rtol=1e-3, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("kind", ["spread", "whole", "near", "equal"])
@pytest.mark.parametrize("top_k", [1, 20, 100])
def test_the_whole_database(kind, top_k, request):
    rng = np.random.default_rng(top_k)
    queries, database = rows_of(kind, 20, rng), rows_of(kind, 100, rng)
    wanted = exhaustive(queries, Fc7Index(database), top_k)
    request.getfixturevalue("in_slabs")
    same(exhaustive(queries, Fc7Index(database), top_k), wanted)


@pytest.mark.parametrize("kind", ["spread", "whole", "near", "equal"])
@pytest.mark.parametrize("radius", [1, 4, 9])
def test_pools(kind, radius, request):
    rng = np.random.default_rng(radius)
    codes, query_codes = rng.random((100, 8)) < 0.5, rng.random((20, 8)) < 0.5
    queries, database = rows_of(kind, 20, rng), rows_of(kind, 100, rng)
    arguments = (12, CodeIndex(pack(codes)), pack(query_codes), radius)
    wanted = hierarchical(queries, Fc7Index(database), *arguments)
    request.getfixturevalue("in_slabs")
    same(hierarchical(queries, Fc7Index(database), *arguments), wanted)


def test_half_precision_on_disk(tmp_path, in_slabs):
    rng = np.random.default_rng(4)
    queries, database = rows_of("spread", 9, rng), rows_of("spread", 50, rng).astype(np.float16)
    np.save(tmp_path / "fc7.npy", database)
    found = exhaustive(queries, Fc7Index(np.load(tmp_path / "fc7.npy", mmap_mode="r")), 10)
    for query, ids in zip(queries, found.ids):
        squared = ((database.astype(np.float64) - query) ** 2).sum(axis=1)
        assert ids.tolist() == np.lexsort((np.arange(50), squared))[:10].tolist()


def test_slabs_hold_every_row_once(monkeypatch):
    monkeypatch.setattr(slabs, "SLAB_BYTES", 4 * UNITS * 7)
    rows = [row for slab in slabs.slabs(100, UNITS) for row in range(slab.start, slab.stop)]
    assert rows == list(range(100))
    assert len(slabs.slabs(3, 10**9)) == 3
