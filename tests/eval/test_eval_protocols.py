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


def deephash_map(train_codes, train_labels, test_codes, test_labels):
    """mAP by pytorch_deephash's published formula, one query at a time: AP over all relevant, the whole ranking."""
    precisions = []
    for label in range(test_labels.max() + 1):
        rows = np.random.RandomState(seed=label).permutation(np.where(test_labels == label)[0])[:100]
        for row in rows:
            order = np.argsort(np.count_nonzero(test_codes[row] != train_codes, axis=1), kind="stable")
            relevant = train_labels[order] == label
            at = np.cumsum(relevant) / np.arange(1, len(order) + 1)
            precisions.append((at * relevant).sum() / relevant.sum())
    return np.mean(precisions)


def test_pytorch_deephash_by_its_own_formula():
    rng = np.random.default_rng(5)
    train_labels, test_labels = rng.integers(0, 3, 400), rng.integers(0, 3, 500)
    train_codes, test_codes = rng.random((400, 12)) < 0.5, rng.random((500, 12)) < 0.5
    rows, joining = split_rows(PROTOCOLS["pytorch_deephash"], test_labels)
    assert len(rows) == 300
    assert len(joining) == 0
    whole = rank_whole(CodeIndex(pack(train_codes)), pack(test_codes[rows]), test_labels[rows], train_labels, 12, [400])
    expected = deephash_map(train_codes, train_labels, test_codes, test_labels)
    assert whole.ap(400, "all").mean() == pytest.approx(expected, abs=1e-14)


def top_map(train_codes, train_labels, test_codes, test_labels, top):
    """mAP@top as DeepHash-pytorch publishes it for NUS-WIDE (5000): a mean of k / place over the hits within top."""
    sums = []
    for code, label in zip(test_codes, test_labels):
        order = np.argsort(np.count_nonzero(code != train_codes, axis=1), kind="stable")[:top]
        places = np.flatnonzero((train_labels[order] & label).any(axis=1)) + 1
        sums.append(np.mean(np.arange(1, len(places) + 1) / places) if len(places) else 0)
    return np.mean(sums)


def test_map_at_5000_of_images_with_several_labels():
    rng = np.random.default_rng(6)
    train_labels, test_labels = rng.random((6000, 4)) < 0.3, rng.random((7, 4)) < 0.3
    train_codes, test_codes = rng.random((6000, 10)) < 0.5, rng.random((7, 10)) < 0.5
    protocol = PROTOCOLS["top5000"]
    assert protocol.depth(6000) == 5000
    whole = rank_whole(CodeIndex(pack(train_codes)), pack(test_codes), test_labels, train_labels, 10, [5000])
    expected = top_map(train_codes, train_labels, test_codes, test_labels, 5000)
    assert whole.ap(5000, protocol.divisor).mean() == pytest.approx(expected, abs=1e-14)


def test_deephash_sample_of_several_labels_and_negative_ones():
    assert len(split_rows(PROTOCOLS["pytorch_deephash"], np.full(7, -1))[0]) == 7
    assert len(split_rows(PROTOCOLS["pytorch_deephash"], np.ones((150, 1), bool))[0]) == 100
