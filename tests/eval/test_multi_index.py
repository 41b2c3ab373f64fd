"""The multi-index that is measured beside the scan finds the same entries."""

import numpy as np
import pytest

from benchmarks.multi_index import MultiIndex, bench_multi_index, clustered
from search.coarse import CodeIndex
from search.codes import pack


@pytest.mark.parametrize("bits", [5, 16, 33, 48, 64])
@pytest.mark.parametrize("make", ["uniform", "clustered"])
def test_it_finds_what_a_count_of_differing_bits_finds(bits, make):
    rng = np.random.default_rng(bits)
    codes = rng.random((700, bits)) < 0.5 if make == "uniform" else clustered(700, bits, rng)
    index = MultiIndex(codes)
    for row in (0, 350, 699):
        distances = np.count_nonzero(codes != codes[row], axis=1)
        for radius in (0, 1, 2, 3, 5, 8, 11, 17, bits):
            ids, looked = index.within(index.words[row], radius)
            assert np.array_equal(ids, np.flatnonzero(distances <= radius)), (row, radius)
            assert looked >= len(ids)


def test_the_race_has_every_radius(capsys):
    table = bench_multi_index(48, [3000], 1)
    assert set(table) == {"uniform", "clustered"}
    assert set(table["clustered"]["3000"]) == {"2", "4", "6", "8", "10"}
    assert "3,000 clustered codes of 48 bits, at most 6 bits" in capsys.readouterr().out


def test_uniform_codes_are_mostly_passed_over():
    codes = np.random.default_rng(0).random((20_000, 48)) < 0.5
    index = MultiIndex(codes)
    assert index.within(index.words[7], 4)[1] < 100
    assert len(CodeIndex(pack(codes)).pools(pack(codes[7:8]), np.array([5]))[0]) == 1
