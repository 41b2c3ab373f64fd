"""baselines.py: what each code must do, on data where the answer is known."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from basics.program import EvalError
from measures.baselines import METHODS, baseline_codes


def two_planes(count, rng):
    """Points of four clusters in a plane of a 20-dimensional space, turned so that no axis separates them."""
    corner = rng.integers(0, 4, count)
    plane = np.array([[1, 0.1], [0.1, 1], [-1, -0.1], [-0.1, -1]])[corner] + rng.normal(0, 0.03, (count, 2))
    directions = np.linalg.qr(np.random.default_rng(7).normal(size=(20, 2)))[0]
    return (plane @ directions.T + rng.normal(0, 1e-3, (count, 20))).astype(np.float32), corner


@pytest.mark.parametrize("method", METHODS)
def test_codes_have_the_bits_asked_for_and_are_repeatable(method):
    rng = np.random.default_rng(0)
    db, queries = rng.normal(size=(300, 20)), rng.normal(size=(30, 20))
    (query_codes, db_codes), again = (baseline_codes([method], queries, db, 8)[method] for _ in range(2))
    assert query_codes.shape == (30, 8)
    assert db_codes.shape == (300, 8)
    assert db_codes.dtype == bool
    assert np.array_equal(query_codes, again[0])
    assert np.array_equal(db_codes, again[1])
    assert 0.2 < db_codes.mean() < 0.8


def test_codes_are_the_same_bits_for_any_number_of_threads():
    """ITQ's fifty rotations make other codes of a last bit that BLAS adds up in another order."""
    rng = np.random.default_rng(3)
    db = np.maximum(rng.normal(size=(3000, 16)) @ rng.normal(size=(16, 600)) + rng.normal(size=(3000, 600)), 0)
    found = {}
    for threads in (1, 2, 3, 5):
        with threadpool_limits(threads, "blas"):
            codes = baseline_codes(METHODS, db[:50], db, 48, threads)
        found[threads] = {method: [side.tobytes() for side in pair] for method, pair in codes.items()}
    assert found[2] == found[1]
    assert found[3] == found[1]
    assert found[5] == found[1]


def test_blas_has_one_thread_where_a_last_bit_decides(monkeypatch):
    def threads_of_blas(sample):
        seen.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return lambda features: np.zeros((len(features), sample.bits), bool)

    seen = []
    monkeypatch.setitem(METHODS, "itq", threads_of_blas)
    with threadpool_limits(3, "blas"):
        baseline_codes(["itq"], np.zeros((3, 20)), np.zeros((9, 20)), 8)
    assert set(seen) == {1}


def test_itq_gives_each_cluster_its_corner():
    rng = np.random.default_rng(1)
    (db, _), (queries, corner) = two_planes(400, rng), two_planes(100, rng)
    codes, _ = baseline_codes(["itq"], queries, db, 2)["itq"]
    assert len({(c, *code) for c, code in zip(corner.tolist(), codes.tolist())}) == 4


def test_itq_lowers_the_quantisation_error_of_pca():
    """The quantity it minimises: the distance from the projected points to their corners."""
    db, _ = two_planes(400, np.random.default_rng(1))
    centred = db - db.mean(axis=0)
    basis = np.linalg.svd(centred, full_matrices=False)[2][:2]
    plane = centred @ basis.T

    def error(codes):  # the best scaled rotation of the corners onto the points, by Procrustes
        corners = np.where(codes, 1.0, -1.0)
        return -np.linalg.svd(plane.T @ corners, compute_uv=False).sum()

    found = baseline_codes(["itq", "pca"], db, db, 2)
    assert error(found["itq"][0]) <= error(found["pca"][0]) + 1e-6


def test_spectral_hashing_splits_a_line_in_halves_and_quarters():
    """On a uniform line the first functions are one and two half waves: codes 2 bits, four or fewer runs in order."""
    line = np.zeros((400, 5), np.float32)
    line[:, 2] = np.linspace(0, 1, 400)
    line[:, 3] = 1e-3 * np.random.default_rng(0).random(400)
    codes, _ = baseline_codes(["sh"], line, line, 2)["sh"]
    changes = [int(np.count_nonzero(np.diff(codes[:, bit].astype(int)))) for bit in (0, 1)]
    assert changes == [1, 2]


def test_more_bits_than_components_is_an_error():
    with pytest.raises(EvalError, match="principal components of 5 units"):
        baseline_codes(["pca"], np.zeros((3, 5)), np.zeros((9, 5)), 8)
