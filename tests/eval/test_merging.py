"""Lists of shards merged, and neighbours of several shards found, against numpy's sorting and differences."""

import numpy as np
import pytest

from engines.merging import ROUNDING, merge_lists, settle


def lists_side_by_side(rng, queries, lengths, values):
    """ids, sorted distances with NaN behind, both (queries, sum of lengths)."""
    parts = []
    for length in lengths:
        part = np.sort(rng.choice(values, (queries, length)).astype(np.float32), axis=1)
        part[np.arange(length) >= rng.integers(0, length + 1, (queries, 1))] = np.nan
        parts.append(part)
    euclidean = np.concatenate(parts, axis=1)
    return rng.permutation(euclidean.size).astype(np.int32).reshape(euclidean.shape), euclidean


@pytest.mark.parametrize("lengths", [[5], [7, 7], [1, 30, 4], [20] * 9])
@pytest.mark.parametrize("values", [[1.0], [1, 2, 3], np.linspace(0, 9, 300)], ids=["equal", "tied", "many"])
def test_merged_lists_are_those_of_a_stable_sort(lengths, values):
    ids, euclidean = lists_side_by_side(np.random.default_rng(0), 150, lengths, values)
    order = np.argsort(euclidean, axis=1, kind="stable")
    expected = np.take_along_axis(ids, order, 1), np.take_along_axis(euclidean, order, 1), \
        np.repeat(np.arange(len(lengths)), lengths)[order]
    found = merge_lists(ids, euclidean, lengths, threads=2)
    for mine, theirs in zip(found, expected):
        assert np.array_equal(mine, theirs, equal_nan=mine.dtype == np.float32)


def runs_by_differences(euclidean, off):
    """Number of the run of each place (Q, M)."""
    squared = euclidean.astype(np.float64) ** 2
    begins = np.ones(euclidean.shape, bool)
    begins[:, 1:] = ~(np.diff(squared, axis=1) <= 2 * off[:, None] + ROUNDING * squared[:, 1:])
    return np.cumsum(begins, axis=1)


@pytest.mark.parametrize("top_k", [1, 5, 40])
@pytest.mark.parametrize("step", [0, 1e-7, 1e-3, 0.1])
def test_neighbours_of_several_shards_are_decided_exactly_and_no_others(top_k, step):
    """Exact distances that turn every run round: what was asked for again comes in the opposite order."""
    rng = np.random.default_rng(1)
    queries, width = 130, 60
    euclidean = np.sort(1 + step * rng.random((queries, width)).astype(np.float32) * rng.integers(1, 4, (queries, 1)),
                        axis=1).astype(np.float32)
    euclidean[:, 50:] = np.nan
    ids = rng.permutation(queries * width).astype(np.int32).reshape(queries, width)
    shards, off = rng.integers(0, 3, (queries, width)).astype(np.int16), rng.choice([0, 1e-6, 1e-4], queries)
    runs, expected = runs_by_differences(euclidean, off), ids.copy()
    for query in range(queries):
        for run in np.unique(runs[query]):
            places = np.flatnonzero(runs[query] == run)
            if places[0] < top_k and len(set(shards[query, places])) > 1:
                expected[query, places] = np.sort(ids[query, places])[::-1]
    found = ids.copy()
    settle(found, euclidean, shards, off, top_k, lambda of, rows: 1e9 - rows.astype(np.float64))
    assert np.array_equal(found, expected)
