"""screen.py: what a screen leaves out can never be among the nearest, and the choice of a screen."""

import numpy as np
import pytest

from benchmarks.made_up import defeating, synthetic
from search import eight_bit, screen
from search.fine import Fc7Index, exhaustive
from search.screen import Directions, EightBits, alike, choose_screen

QUERIES, DATABASE, UNITS = 70, 900, 96
needs_dnnl = pytest.mark.skipif(eight_bit.product_function() is None, reason="no libdnnl with exact 8-bit products")
SCREENS = [Directions, pytest.param(EightBits, marks=needs_dnnl)]


def outliers(rng, count):
    """Rows whose largest unit says nothing of the others: 8 bits with one scale lose almost everything."""
    rows = rng.random((count, UNITS), np.float32)
    rows[np.arange(count), rng.integers(0, UNITS, count)] = 1e4
    return rows


FEATURES = {
    "uniform": lambda rng, count: rng.random((count, UNITS), np.float32),
    "whole": lambda rng, count: rng.integers(0, 2, (count, UNITS)).astype(np.float32),      # many equal distances
    "near": lambda rng, count: (30 + 1e-4 * rng.random((count, UNITS))).astype(np.float32),  # below float32's rounding
    "equal": lambda rng, count: np.ones((count, UNITS), np.float32),
    "zero": lambda rng, count: np.zeros((count, UNITS), np.float32),
    "huge": lambda rng, count: 1e15 * rng.random((count, UNITS), np.float32),
    "tiny": lambda rng, count: 1e-15 * rng.random((count, UNITS), np.float32),
    "half precision": lambda rng, count: rng.random((count, UNITS)).astype(np.float16),
    "outliers": outliers,
}


def squared_distances(queries, database):
    """(Q, N) float64 sums of squared differences."""
    return np.stack([((database.astype(np.float64) - query) ** 2).sum(axis=1) for query in queries.astype(np.float64)])


@pytest.mark.parametrize("kind", FEATURES)
@pytest.mark.parametrize("top_k", [1, 30, DATABASE])
@pytest.mark.parametrize("make", SCREENS)
def test_all_of_the_nearest_are_candidates(make, top_k, kind):
    """Ties of the last one included: the fine search decides among them."""
    rng = np.random.default_rng(0)
    queries, database = FEATURES[kind](rng, QUERIES), FEATURES[kind](rng, DATABASE)
    mask = make(Fc7Index(database)).candidates(np.asarray(queries, np.float32), top_k)
    squared = squared_distances(queries, database)
    last = np.sort(squared, axis=1)[:, top_k - 1]
    assert mask[squared <= last[:, None]].all()


@pytest.mark.parametrize("make", SCREENS)
def test_screens_leave_most_of_clustered_features_out(make):
    """Else the test above would say nothing."""
    queries, database = synthetic(64, 4000, 8, 512)
    mask = make(Fc7Index(database.fc7)).candidates(queries.fc7, 20)
    assert mask.mean() < 0.25


@pytest.mark.parametrize("kind", FEATURES)
@pytest.mark.parametrize("make", SCREENS)
def test_a_screened_search_finds_the_same(make, kind):
    rng = np.random.default_rng(1)
    queries, index = FEATURES[kind](rng, QUERIES), Fc7Index(FEATURES[kind](rng, DATABASE))
    plain = exhaustive(queries, index, 25)
    screened = exhaustive(queries, index, 25, choose=lambda fc7, blocks, index, top_k, threads: make(index, threads))
    assert np.array_equal(screened.ids, plain.ids)
    assert screened.euclidean == pytest.approx(plain.euclidean, rel=1e-3)
    assert screened.pool.tolist() == [DATABASE] * QUERIES


def test_like_queries_share_blocks_and_none_is_lost(monkeypatch):
    monkeypatch.setattr(screen, "QUERIES_PER_GROUP", 10)
    queries = np.repeat(np.eye(4, dtype=np.float32), 10, axis=0)[np.random.default_rng(0).permutation(40)]
    blocks = alike(queries, 1000)
    assert sorted(np.concatenate(blocks)) == list(range(40))
    assert all(len(block) <= 10 for block in blocks)


def chosen(query_fc7, db_fc7, top_k=50):
    """The class of the screen that is chosen, however small the work."""
    return type(choose_screen(query_fc7, alike(query_fc7, len(db_fc7)), Fc7Index(db_fc7), top_k))


def clusters(rng, count, units=1024, spread=0.05):
    """Forty groups far from each other."""
    centres = np.random.default_rng(9).random((40, units), np.float32)
    return centres[rng.integers(0, 40, count)] + spread * rng.random((count, units), np.float32)


def test_clusters_get_a_screen_and_small_work_gets_none(monkeypatch):
    rng = np.random.default_rng(2)
    queries, database = clusters(rng, 2500), clusters(rng, 5000)
    assert chosen(queries, database) is type(None)      # below SMALLEST_WORK
    monkeypatch.setattr(screen, "SMALLEST_WORK", 0)
    assert chosen(queries, database) in (Directions, EightBits)


def test_what_defeats_both_gets_none(monkeypatch):
    """No direction leads, and one unit a row spoils its scale of 8 bits."""
    monkeypatch.setattr(screen, "SMALLEST_WORK", 0)
    assert chosen(defeating(2500, 1024, seed=3), defeating(5000, 1024, seed=4)) is type(None)


def test_without_the_library_directions_remain(monkeypatch):
    monkeypatch.setattr(eight_bit, "product_function", lambda: None)
    monkeypatch.setattr(screen, "SMALLEST_WORK", 0)
    rng = np.random.default_rng(2)
    assert chosen(clusters(rng, 2500), clusters(rng, 5000)) is Directions


@needs_dnnl
@pytest.mark.parametrize("rows", [1, 11, eight_bit.ROWS_AT_ONCE + 1])
def test_eight_bit_products_are_those_of_whole_numbers(rows):
    rng = np.random.default_rng(5)
    largest = eight_bit.largest_left(eight_bit.product_function())
    left = rng.integers(0, largest + 1, (7, 300)).astype(np.uint8)
    right = rng.integers(-127, 128, (rows, 300)).astype(np.int8)
    found = np.empty((7, rows), np.int32)
    eight_bit.products(left, right, found)
    assert np.array_equal(found, left.astype(int) @ right.astype(int).T)


@pytest.mark.parametrize("most, largest", [(10**9, 255), (32767, 127), (20000, 0)])
def test_sums_of_pairs_that_saturate_limit_the_left_side(monkeypatch, most, largest):
    """Processors without VNNI keep sums of two products in 16 bits."""
    def saturating(function, left, right, result):
        pairs = [left[:, i:i + 2].astype(int) @ right[:, i:i + 2].astype(int).T for i in range(0, left.shape[1], 2)]
        result[:] = np.sum([np.minimum(pair, most) for pair in pairs], axis=0)

    monkeypatch.setattr(eight_bit, "_call", saturating)
    assert eight_bit.largest_left(object()) == largest


def test_codes_that_would_take_too_much_memory_are_not_made(monkeypatch):
    monkeypatch.setattr(screen, "LARGEST_BYTES", 900 * 96 - 1)
    assert not EightBits.fits(Fc7Index(np.ones((900, 96), np.float32)))


def test_blocks_are_as_large_as_their_products_may_be(monkeypatch):
    monkeypatch.setattr(screen, "BOUND_BYTES", 4 * 1000 * 7)
    assert max(map(len, alike(np.eye(40, dtype=np.float32), 1000))) == 7
