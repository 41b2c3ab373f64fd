"""evaluate.py and feature_set.py: a features directory in, results.json out."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from evaluation_cases import run
from references import hamming_ranking, textbook_ap, two_stage_ranking

import evaluate
from basics.program import EvalError
from search.engine import default_radius
from search.feature_set import load_features

PROGRAM = Path(evaluate.__file__)


def arrays(features):
    """(codes, labels, fc7) of queries and database, read with plain numpy."""
    return [(np.load(features / split / "latent.npy") >= 0.5, np.load(features / split / "labels.npy"),
             np.load(features / split / "fc7.npy")) for split in ("test", "train")]


def test_results_equal_the_slow_way(features, tmp_path):
    results = run(features, tmp_path / "out", "--radius", "3")
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
    assert two_stage["radius"] == 3
    assert two_stage["pool_mean"] == pytest.approx(np.mean(pools))
    assert two_stage["precision_at_k"] == pytest.approx(np.mean(np.cumsum(fine, axis=1) / position, axis=0))
    assert "accuracy" not in results
    assert not (tmp_path / "out/report.html").exists()


def test_latent_and_labels_are_enough(features, tmp_path, capsys):
    for split in ("train", "test"):
        (features / split / "fc7.npy").unlink()
    results = run(features, tmp_path / "out", "--top-k", "5")
    assert results["top_k"] == 5
    assert len(results["precision_at_k"]) == 5
    assert "two_stage" not in results
    assert "mAP@5" in capsys.readouterr().out


def test_accuracy_needs_predictions(features, tmp_path):
    labels = np.load(features / "test/labels.npy")
    np.save(features / "test/predictions.npy", np.where(np.arange(10) < 7, labels, labels + 1))
    assert run(features, tmp_path / "out")["accuracy"] == 0.7


def test_default_radius_by_hand():
    """Of ten queries nine have their 100th neighbour within 4, so T = 5 gives those nine 100 candidates."""
    distances = np.zeros((10, 200), int)
    distances[:, 99] = [1, 2, 2, 3, 3, 3, 4, 4, 4, 30]
    assert default_radius(distances) == 5
    assert default_radius(np.full((3, 8), 2)) == 3


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
def test_bad_features_are_one_sentence(features, tmp_path, damage, message):
    damage(features)
    with pytest.raises(EvalError, match=message):
        run(features, tmp_path / "out")


def test_program_ends_without_traceback(tmp_path):
    done = subprocess.run([sys.executable, PROGRAM, "--features", tmp_path / "none", "--out", tmp_path / "out"],
                          capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out/results.json").exists()


def test_one_column_of_labels_is_one_label_an_image(features):
    np.save(features / "test/labels.npy", np.load(features / "test/labels.npy")[:, None])
    queries, _ = load_features(features)
    assert queries.labels.shape == (10,)


def test_pretrained_search_ranks_by_the_other_features(features, tmp_path):
    rng = np.random.default_rng(9)
    for split, count in (("train", 40), ("test", 10)):
        (tmp_path / "before" / split).mkdir(parents=True)
        np.save(tmp_path / "before" / split / "fc7.npy", rng.random((count, 3), np.float32))
        np.save(tmp_path / "before" / split / "labels.npy", np.load(features / split / "labels.npy"))
    before = [np.load(tmp_path / "before" / split / "fc7.npy") for split in ("test", "train")]
    run(features, tmp_path / "out", "--pretrained-features", str(tmp_path / "before"))
    ids = np.load(tmp_path / "out/search-es-pretrained.npz")["ids"]
    distances = np.linalg.norm(before[0][:, None].astype(float) - before[1][None], axis=2)
    assert np.array_equal(ids, np.argsort(distances, axis=1, kind="stable"))
    np.save(tmp_path / "before/test/labels.npy", np.zeros(10, int))
    with pytest.raises(EvalError, match="other images"):
        run(features, tmp_path / "out", "--pretrained-features", str(tmp_path / "before"))


def test_pretrained_features_tell_their_blob_and_must_be_of_the_same_images(features, tmp_path, capsys):
    shutil.copytree(features, tmp_path / "before")
    for split in ("train", "test"):
        for folder, made in ((features, {}), (tmp_path / "before", {"blobs": {"fc7": "pool5"}})):
            meta = {"data": {"path": str(folder), "fingerprint": split}} | made
            (folder / split / "meta.json").write_text(json.dumps(meta))
    results = run(features, tmp_path / "out", "--pretrained-features", str(tmp_path / "before"))
    assert results["searches"]["es-pretrained"]["blob"] == "pool5"
    assert "blob" not in results["searches"]["es"]
    assert "precision pool5 before" in capsys.readouterr().out
    saved = tmp_path / "out/search-es-pretrained.npz"
    with np.load(saved) as ranking:
        older = dict(ranking)
    older["meta"] = json.dumps({k: v for k, v in json.loads(str(older["meta"])).items() if k != "blob"})
    np.savez(saved, **older)
    run(features, tmp_path / "out", "--pretrained-features", str(tmp_path / "before"), "--score-only")
    assert "precision fc7 before" in capsys.readouterr().out
    (tmp_path / "before/train/meta.json").write_text(json.dumps({"data": {"fingerprint": "other"}}))
    with pytest.raises(EvalError, match="before/train and .* differ in 'data'"):
        run(features, tmp_path / "out", "--pretrained-features", str(tmp_path / "before"))


def test_saved_lists_hold_both_distances(features, tmp_path):
    run(features, tmp_path / "out", "--radius", "4")
    (query_codes, _, query_fc7), (db_codes, _, db_fc7) = arrays(features)
    for name in ("hdl", "es"):
        saved = np.load(tmp_path / f"out/search-{name}.npz")
        for q in range(10):
            assert np.array_equal(saved["hamming"][q], (query_codes[q] != db_codes[saved["ids"][q]]).sum(axis=1))
            known = ~np.isnan(saved["euclidean"][q])
            expected = np.linalg.norm(query_fc7[q] - db_fc7[saved["ids"][q]], axis=1)
            assert saved["euclidean"][q][known] == pytest.approx(expected[known], rel=1e-4)
            assert known.sum() == (saved["pool"][q] if name == "hdl" else 40)


def test_pool_of_at_least_so_many(features, tmp_path):
    results = run(features, tmp_path / "out", "--radius", "1", "--pool-min", "6")
    pool = np.load(tmp_path / "out/search-hdl.npz")["pool"]
    (query_codes, _, _), (db_codes, _, _) = arrays(features)
    for q in range(10):
        distances = np.sort((query_codes[q] != db_codes).sum(axis=1))
        assert pool[q] == np.count_nonzero(distances <= distances[5])  # ties with the sixth belong
    assert results["two_stage"]["radius"] == 1
    assert results["two_stage"]["radius_mean"] > 1


@pytest.mark.parametrize("options, message", [(["--search", "es-pretrained"], "needs --pretrained-features"),
                                              (["--search", "hdl"], "needs fc7.npy")])
def test_a_search_without_its_features_is_an_error(features, tmp_path, options, message):
    (features / "test/fc7.npy").unlink()
    with pytest.raises(EvalError, match=message):
        run(features, tmp_path / "out", *options)


def test_several_labels_an_image(features, tmp_path):
    rng = np.random.default_rng(4)
    for split, count in (("train", 40), ("test", 10)):
        np.save(features / split / "labels.npy", (rng.random((count, 3)) < 0.4).astype(np.uint8))
    (query_codes, query_labels, _), (db_codes, db_labels, _) = arrays(features)
    expected = [textbook_ap([bool(np.any(label & db_labels[i])) for _, i in hamming_ranking(code, db_codes)])
                for code, label in zip(query_codes, query_labels)]
    results = run(features, tmp_path / "out")
    assert results["map"] == pytest.approx(np.mean(expected), abs=1e-14)
    assert "classes" not in results


def test_every_protocol_can_lead(features, tmp_path):
    for name in ("cvprw15", "ssdh", "1k-of-test", "59k"):
        results = run(features, tmp_path / name, "--protocol", name)
        row = next(row for row in results["protocols"] if row["protocol"] == name)
        assert results["protocol"] == name
        assert results["map"] == pytest.approx(row["map"], abs=1e-14)


def test_usage_mistakes_exit_with_2(features, tmp_path):
    for options in (["--radius", "0"], ["--protocol", "none"], ["--top-k", "x"]):
        with pytest.raises(SystemExit) as stopped:
            run(features, tmp_path / "out", *options)
        assert stopped.value.code == 2


def test_the_same_file_in_another_place_is_the_same_run(features):
    for split in ("train", "test"):
        weights = {"file": f"{split}/final.caffemodel", "sha256": "a"}
        (features / split / "meta.json").write_text(json.dumps({"weights": weights}))
    assert len(load_features(features)[0]) == 10


def test_baselines_that_the_features_allow(features, tmp_path):
    """8 bits cannot come from 5 principal components; random projections can be any number."""
    arguments = ["--features", str(features), "--out", str(tmp_path / "out"), "--no-sweep", "--no-report"]
    assert evaluate.main(arguments) == 0
    assert list(json.loads((tmp_path / "out/results.json").read_text())["baselines"]) == ["lsh"]
    with pytest.raises(EvalError, match="principal components"):
        evaluate.main([*arguments, "--baselines", "itq"])
    (features / "test/fc7.npy").unlink()
    with pytest.raises(EvalError, match="--baselines itq needs fc7"):
        evaluate.main([*arguments, "--baselines", "itq"])
