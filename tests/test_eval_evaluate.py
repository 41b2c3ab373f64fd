"""evaluate.py and feature_set.py: a features directory in, results.json and report.html out."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import evaluate
from eval_errors import EvalError
from eval_references import hamming_ranking, textbook_ap, two_stage_ranking
from feature_set import load_features

PROGRAM = Path(evaluate.__file__)


def write_split(folder, count, rng, **more):
    """A small split made with plain numpy, as any other tool would."""
    folder.mkdir(parents=True)
    np.save(folder / "labels.npy", rng.integers(0, 3, count).astype(np.int32))
    np.save(folder / "latent.npy", rng.random((count, 8)))
    for name, array in more.items():
        np.save(folder / f"{name}.npy", array)


@pytest.fixture
def features(tmp_path):
    """10 queries, 40 in the database, 8 bits, with fc7."""
    rng = np.random.default_rng(0)
    write_split(tmp_path / "features/train", 40, rng, fc7=rng.random((40, 5), np.float32))
    write_split(tmp_path / "features/test", 10, rng, fc7=rng.random((10, 5), np.float32))
    return tmp_path / "features"


def arrays(features):
    """(codes, labels, fc7) of queries and database, read with plain numpy."""
    return [(np.load(features / split / "latent.npy") >= 0.5, np.load(features / split / "labels.npy"),
             np.load(features / split / "fc7.npy")) for split in ("test", "train")]


def test_results_equal_the_slow_way(features, tmp_path):
    assert evaluate.main(["--features", str(features), "--out", str(tmp_path / "out"), "--radius", "3"]) == 0
    results = json.loads((tmp_path / "out/results.json").read_text())
    (query_codes, query_labels, query_fc7), (db_codes, db_labels, db_fc7) = arrays(features)
    coarse, fine, pools = [], [], []
    for code, label, fc7 in zip(query_codes, query_labels, query_fc7):
        coarse.append([db_labels[i] == label for _, i in hamming_ranking(code, db_codes)])
        ids, pool = two_stage_ranking(code, db_codes, fc7, db_fc7, 40, 3)
        fine.append([db_labels[i] == label for i in ids])
        pools.append(pool)
    position = np.arange(1, 41)
    assert results["map"] == pytest.approx(np.mean([textbook_ap(row) for row in coarse]), abs=1e-14)
    assert results["precision_at_k"] == pytest.approx(np.mean(np.cumsum(coarse, axis=1) / position, axis=0))
    assert (results["top_k"], results["bits"], results["queries"], results["database"]) == (40, 8, 10, 40)
    two_stage = results["two_stage"]
    assert two_stage["radius"] == 3 and two_stage["pool_mean"] == pytest.approx(np.mean(pools))
    assert two_stage["precision_at_k"] == pytest.approx(np.mean(np.cumsum(fine, axis=1) / position, axis=0))
    assert "accuracy" not in results
    assert "<svg" in (tmp_path / "out/report.html").read_text()


def test_latent_and_labels_are_enough(features, tmp_path, capsys):
    for split in ("train", "test"):
        (features / split / "fc7.npy").unlink()
    assert evaluate.main(["--features", str(features), "--out", str(tmp_path / "out"), "--top-k", "5"]) == 0
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["top_k"] == 5 and len(results["precision_at_k"]) == 5 and "two_stage" not in results
    assert "mAP@5" in capsys.readouterr().out


def test_accuracy_needs_predictions(features, tmp_path):
    labels = np.load(features / "test/labels.npy")
    np.save(features / "test/predictions.npy", np.where(np.arange(10) < 7, labels, labels + 1))
    assert evaluate.evaluate(features)["accuracy"] == 0.7


def test_default_radius_by_hand():
    """Of ten queries nine have their 100th neighbour within 4, so T = 5 gives those nine 100 candidates."""
    distances = np.zeros((10, 200), int)
    distances[:, 99] = [1, 2, 2, 3, 3, 3, 4, 4, 4, 30]
    assert evaluate.default_radius(distances) == 5
    assert evaluate.default_radius(np.full((3, 8), 2)) == 3


@pytest.mark.parametrize("damage, message", [
    (lambda d: (d / "test/latent.npy").unlink(), "latent.npy is missing"),
    (lambda d: (d / "test/labels.npy").write_bytes(b"junk"), "not a readable .npy"),
    (lambda d: np.save(d / "train/labels.npy", np.zeros(39, int)), "has 40 rows but labels.npy has 39"),
    (lambda d: np.save(d / "train/labels.npy", np.zeros(40)), "must be integers"),
    (lambda d: np.save(d / "test/latent.npy", np.zeros((10, 9))), r"\(10, 9\)"),
    (lambda d: np.save(d / "test/latent.npy", np.full((10, 8), np.nan)), "test/latent.npy.*NaN"),
    (lambda d: np.save(d / "train/fc7.npy", np.full((40, 5), np.inf, np.float32)), "NaN or infinity"),
    (lambda d: (d / "test/ids.txt").write_text("one\n"), "1 lines but there are 10"),
    (lambda d: (d / "test/meta.json").write_text("{"), "not valid JSON"),
    (lambda d: [(d / s / "meta.json").write_text(json.dumps({"weights": {"sha256": s}})) for s in ("train", "test")],
     "different runs"),
])
def test_bad_features_are_one_sentence(features, damage, message):
    damage(features)
    with pytest.raises(EvalError, match=message):
        evaluate.evaluate(features)


def test_program_ends_without_traceback(tmp_path):
    done = subprocess.run([sys.executable, PROGRAM, "--features", tmp_path / "none", "--out", tmp_path / "out"],
                          capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr
    assert not (tmp_path / "out/results.json").exists()


def test_one_column_of_labels_is_one_label_an_image(features):
    np.save(features / "test/labels.npy", np.load(features / "test/labels.npy")[:, None])
    queries, _ = load_features(features)
    assert queries.labels.shape == (10,)
