"""average_precision.py: hand-checked literals and a textbook loop."""

import numpy as np
import pytest
from references import average_precision, relevance, textbook_ap

from measures.average_precision import score_ranking


def scored(lists):
    """AP of ranked lists that are given as rows of 0/1: each query has a label of its own, and database rows of it."""
    queries, length = np.shape(lists)
    query_labels = np.arange(queries)
    db_labels = np.where(lists, query_labels[:, None], -1).reshape(-1)
    return score_ranking(np.arange(queries * length).reshape(queries, length), query_labels, db_labels)["ap"]


def test_average_precision_by_hand():
    lists = np.array([[1, 0, 1, 0],    # (1/1 + 2/3) / 2
                      [0, 0, 0, 1],    # 1/4
                      [0, 0, 0, 0],    # no hit: 0
                      [1, 1, 1, 1]], bool)
    assert scored(lists).tolist() == [(1 + 2 / 3) / 2, 0.25, 0.0, 1.0]


def test_average_precision_equals_the_textbook():
    relevant = np.random.default_rng(0).random((200, 77)) < 0.2
    assert scored(relevant) == pytest.approx([textbook_ap(row) for row in relevant], abs=1e-14)
    assert average_precision(relevant) == pytest.approx([textbook_ap(row) for row in relevant], abs=1e-14)


def test_precision_curve_by_hand():
    ids = np.array([[0, 1, 2], [2, 1, 0]])
    scores = score_ranking(ids, np.array([7, 8]), np.array([7, 8, 8]))
    # hits: query 0 -> 1 0 0, query 1 -> 1 1 0
    assert scores["precision_at_k"] == pytest.approx([1.0, 0.75, 0.5])
    assert scores["map"] == 1.0


def test_scores_do_not_depend_on_blocks():
    rng = np.random.default_rng(1)
    ids, query_labels, db_labels = rng.integers(0, 50, (300, 20)), rng.integers(0, 3, 300), rng.integers(0, 3, 50)
    expected = [textbook_ap([db_labels[i] == label for i in row]) for row, label in zip(ids, query_labels)]
    assert score_ranking(ids, query_labels, db_labels)["ap"] == pytest.approx(expected, abs=1e-14)


def test_several_labels_are_relevant_when_one_is_shared():
    query_labels = np.array([[1, 0, 1], [0, 0, 0]], bool)
    db_labels = np.array([[0, 1, 0], [0, 0, 1], [1, 1, 1]], bool)
    ids = np.array([[0, 1, 2], [2, 1, 0]])
    assert relevance(query_labels, db_labels, ids).tolist() == [[False, True, True], [False, False, False]]
    scores = score_ranking(ids, query_labels, db_labels)
    assert scores["ap"].tolist() == [(1 / 2 + 2 / 3) / 2, 0]
    assert scores["precision_at_k"] == pytest.approx([0, 1 / 4, 1 / 3])


def test_seventy_labels_take_more_than_a_word():
    rng = np.random.default_rng(3)
    query_labels, db_labels = rng.random((40, 70)) < 0.03, rng.random((60, 70)) < 0.03
    ids = np.stack([rng.permutation(60)[:20] for _ in range(40)])
    expected = average_precision(relevance(query_labels, db_labels, ids))
    assert score_ranking(ids, query_labels, db_labels)["ap"] == pytest.approx(expected, abs=1e-14)
