"""protocols.py: selections, divisors, and AP over a whole ranking."""

import numpy as np
import pytest
from references import hamming_ranking, textbook_ap

from measures.average_precision import mean_ap
from measures.whole_ranking import rank_whole
from search.coarse import CodeIndex
from search.codes import pack
from search.protocols import PROTOCOLS, sample_queries, split_rows


def test_sample_takes_so_many_of_each_class_and_is_fixed():
    labels = np.random.default_rng(0).integers(0, 3, 900)
    rows = sample_queries(labels)
    assert np.bincount(labels[rows]).tolist() == [100, 100, 100]
    assert np.array_equal(rows, sample_queries(labels))
    assert len(sample_queries(np.zeros(7, int))) == 7


def test_59k_shares_out_every_test_image():
    queries, joining = split_rows(PROTOCOLS["59k"], np.repeat(np.arange(10), 150))
    assert len(queries) == 1000
    assert len(joining) == 500
    assert not set(queries) & set(joining)
    queries, joining = split_rows(PROTOCOLS["cvprw15"], np.zeros(5, int))
    assert queries.tolist() == [0, 1, 2, 3, 4]
    assert len(joining) == 0


@pytest.mark.parametrize("top_k", [5, 40])
@pytest.mark.parametrize("several", [False, True])
def test_ap_over_a_whole_ranking_equals_the_textbook(top_k, several):
    rng = np.random.default_rng(2)
    query_codes, db_codes = rng.random((30, 6)) < 0.5, rng.random((40, 6)) < 0.5
    query_labels, db_labels = rng.integers(0, 4, 30), rng.integers(0, 3, 40)
    if several:
        query_labels, db_labels = rng.random((30, 3)) < 0.4, rng.random((40, 3)) < 0.4
    index = CodeIndex(pack(db_codes))
    whole = rank_whole(index, pack(query_codes), query_labels, db_labels, 6, [1, top_k])
    by_hits, by_all = whole.ap(top_k), whole.ap(top_k, "all")
    for q in range(30):
        hits = [bool(np.any(query_labels[q] & db_labels[i])) if several else query_labels[q] == db_labels[i]
                for _, i in hamming_ranking(query_codes[q], db_codes)]
        expected, found, total = textbook_ap(hits[:top_k]), sum(hits[:top_k]), sum(hits)
        assert by_hits[q] == pytest.approx(expected, abs=1e-14)
        assert by_all[q] == pytest.approx(expected * found / total if total else 0, abs=1e-14)


def test_queries_without_a_hit():
    ap = np.array([0.5, 0.0, 1.0])
    assert mean_ap(ap) == 0.5
    assert mean_ap(ap, "left-out") == 0.75
    assert mean_ap(np.zeros(3), "left-out") == 0
