"""kernels.py, by way of what uses it, against numpy: sizes around tiles and words, ties, repeated codes, processors."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numba import njit
from references import all_distances, average_precision, nearest_by_sort, relevance

from measures.whole_ranking import rank_whole
from search import coarse, kernels
from search.coarse import CodeIndex
from search.codes import pack
from search.kernels import TILE

EVAL = Path(coarse.__file__).parents[1]


def approaching(count, bits):
    """Codes that come ever nearer to 0...0: whatever was found first is driven out by what follows."""
    return np.arange(bits) >= np.linspace(0, bits, count)[:, None]


DATABASES = {
    "uniform": lambda count, bits, rng: rng.random((count, bits)) < 0.5,
    "equal": lambda count, bits, rng: np.zeros((count, bits), bool),
    "approaching": lambda count, bits, rng: approaching(count, bits),
    "repeated": lambda count, bits, rng: (rng.random((300, bits)) < 0.5)[np.sort(rng.integers(0, 300, count))[::-1]],
}


def assert_same_search(index, queries, database, top_k, threads=None):
    """The index finds what a stable sort finds."""
    ids, distances = index.search(pack(queries), top_k, threads)
    expected_ids, expected_distances = nearest_by_sort(queries, database, top_k)
    assert np.array_equal(ids, expected_ids)
    assert np.array_equal(distances, expected_distances)


@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize("count", [1, 63, 64, 65, TILE, 3 * TILE + 1])
@pytest.mark.parametrize("bits", [7, 64, 100])
def test_search_equals_a_stable_sort(kind, count, bits):
    rng = np.random.default_rng(count)
    database = DATABASES[kind](count, bits, rng)
    queries = np.concatenate([np.zeros((1, bits), bool), rng.random((4, bits)) < 0.5])
    for top_k in sorted({1, min(10, count), count}):
        assert_same_search(CodeIndex(pack(database)), queries, database, top_k)


@pytest.mark.parametrize("bits", [254, 255, 256, 1024])
def test_long_codes(bits):
    """From 256 bits on a distance does not fit a byte; complements are the farthest."""
    rng = np.random.default_rng(bits)
    database = rng.random((500, bits)) < 0.5
    queries = np.concatenate([~database[:2], rng.random((3, bits)) < 0.5])
    assert_same_search(CodeIndex(pack(database)), queries, database, 500)


@pytest.mark.parametrize("top_k", [1, 40, 900, 5000])
@pytest.mark.parametrize("bits", [6, 48])
def test_repeated_codes_and_queries_are_grouped_and_change_nothing(top_k, bits, monkeypatch):
    rng = np.random.default_rng(bits)
    database = DATABASES["repeated"](5000, bits, rng)
    database = database[rng.permutation(5000)]
    queries = (rng.random((700, bits)) < 0.5)[rng.integers(0, 700, 1000)]
    index = CodeIndex(pack(database))
    assert index.groups is not None
    assert_same_search(index, queries, database, top_k)
    grouped = index.search(pack(queries), top_k)
    monkeypatch.setattr(coarse, "QUERIES_FOR_GROUPS", 10 ** 9)
    plain = index.search(pack(queries), top_k)
    assert np.array_equal(grouped[0], plain[0])
    assert np.array_equal(grouped[1], plain[1])


def test_distinct_codes_are_not_grouped():
    assert CodeIndex(pack(np.eye(100, dtype=bool))).groups is None


@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize("top_k", [1, 3000])
def test_a_single_query_is_searched_in_parts(kind, top_k, monkeypatch):
    monkeypatch.setattr(coarse, "ENTRIES_PER_PART", 2 * TILE)
    rng = np.random.default_rng(1)
    database = DATABASES[kind](7 * TILE + 5, 20, rng)
    assert_same_search(CodeIndex(pack(database)), np.zeros((1, 20), bool), database, top_k, threads=3)


def test_one_query_against_ten_million_codes():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 1 << 48, (10_000_000, 1), np.uint64)
    ids, distances = CodeIndex(codes).search(codes[123:124], 50)
    expected = np.bitwise_count(codes[:, 0] ^ codes[123, 0])
    near = np.flatnonzero(expected <= np.partition(expected, 49)[49])
    near = near[np.argsort(expected[near], kind="stable")][:50]
    assert np.array_equal(ids[0], near)
    assert np.array_equal(distances[0], expected[near])


@pytest.mark.parametrize("bits", [5, 48, 300])
@pytest.mark.parametrize("several", [False, True])
def test_whole_rankings_equal_numpy(bits, several):
    """5 bits: codes repeat, and 300 queries are enough for grouping them."""
    rng = np.random.default_rng(bits)
    database, queries = rng.random((TILE + 900, bits)) < 0.4, rng.random((300, bits)) < 0.4
    labels = [rng.random((count, 4)) < 0.2 if several else rng.integers(-1, 6, count) for count in (300, TILE + 900)]
    cutoffs = [1, 37, 1000, TILE + 900]
    whole = rank_whole(CodeIndex(pack(database)), pack(queries), *labels, bits, cutoffs)
    distances = all_distances(queries, database)
    relevant = relevance(*labels, np.argsort(distances, axis=1, kind="stable"))
    for top_k in cutoffs:
        assert whole.ap(top_k) == pytest.approx(average_precision(relevant[:, :top_k]), abs=1e-14)
    of_all = whole.precision_sums[:, -1] / np.maximum(relevant.sum(axis=1), 1)
    assert whole.ap(cutoffs[-1], "all") == pytest.approx(of_all, abs=1e-14)
    ordered = np.sort(distances, axis=1)
    for q in range(300):
        assert np.array_equal(whole.counts.total[q], np.bincount(ordered[q], minlength=bits + 1))
        assert np.array_equal(whole.counts.relevant[q], np.bincount(ordered[q][relevant[q]], minlength=bits + 1))


def test_the_number_of_threads_changes_no_bit_of_a_measure():
    rng = np.random.default_rng(4)
    index, queries = CodeIndex(pack(rng.random((3000, 30)) < 0.5)), pack(rng.random((500, 30)) < 0.5)
    labels = rng.integers(0, 5, 500), rng.integers(0, 5, 3000)
    one, three = (rank_whole(index, queries, *labels, 30, [100, 3000], threads) for threads in (1, 3))
    assert np.array_equal(one.precision_sums, three.precision_sums)
    assert np.array_equal(one.hits, three.hits)


SMALL_SEARCH = """
import json, sys
import numpy as np
from measures.whole_ranking import rank_whole
from search.coarse import CodeIndex
from search.codes import pack
rng = np.random.default_rng(7)
database, queries = rng.random((3000, 100)) < 0.5, rng.random((5, 100)) < 0.5
index = CodeIndex(pack(database))
ids, distances = index.search(pack(queries), 60)
whole = rank_whole(index, pack(queries), np.arange(5), np.arange(3000) % 9, 100, [60, 3000])
json.dump([ids.tolist(), distances.tolist(), whole.precision_sums.tolist(), whole.counts.total.tolist()], sys.stdout)
"""


def run_python(code, **environment):
    """A Python of its own that finds eval/."""
    return subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(EVAL)} | environment,
                          capture_output=True, text=True)


def test_a_processor_without_vectors_or_bit_counts_gives_the_same():
    here, generic = (run_python(SMALL_SEARCH, **changes) for changes in ({}, {"NUMBA_CPU_NAME": "generic"}))
    assert generic.returncode == 0, generic.stderr
    assert json.loads(generic.stdout) == json.loads(here.stdout)


def test_without_numba_a_program_ends_with_a_sentence():
    ended = run_python("import sys; sys.modules['numba'] = None; import evaluate")
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: numba, which compiles the searches, cannot be used")
    assert "make setup" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_compiling_is_told_once(tmp_path):
    """Where nothing compiled is kept, and only there."""
    code = "import numpy as np; from search.coarse import CodeIndex; [CodeIndex(np.zeros((1, 1), 'u1')) for _ in 'ab']"
    assert run_python(code, NUMBA_CACHE_DIR=str(tmp_path)).stderr.count("compiling the searches") == 1
    (tmp_path / "search_0").mkdir()
    (tmp_path / "search_0/kernels.scan.nbi").touch()
    assert run_python(code, NUMBA_CACHE_DIR=str(tmp_path)).stderr == ""


def test_the_time_of_compiling_is_no_time_of_a_search():
    @njit(error_model="numpy")
    def fresh(numbers):
        total = 0.0
        for number in numbers:
            total += number ** 0.5 if number > 0 else -number
        return total

    started = time.perf_counter()
    result, seconds = kernels.timed(fresh, np.ones(10))
    whole = time.perf_counter() - started
    assert result == 10
    assert 0 <= seconds < whole / 2   # all but compiling takes microseconds


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_hundred_queries_are_shared_out(monkeypatch, threads):
    """Fewer than a task's worth, of a database that is worth a thread each."""
    monkeypatch.setattr(coarse, "ENTRIES_PER_PART", 1 << 10)
    rng = np.random.default_rng(0)
    database, queries = rng.random((5000, 20)) < 0.5, rng.random((100, 20)) < 0.5
    assert_same_search(CodeIndex(pack(database)), queries, database, 50, threads)
