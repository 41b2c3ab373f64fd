"""Saved lists and results are used again only if they were made from the same things."""

import json
import os
import shutil

import numpy as np
import pytest
from evaluation_cases import call, run

import evaluate
from basics.program import EvalError
from measures import saved
from pages.parts import page_key
from search import made_from
from search.feature_set import load_features
from search.rankings import Ranking, load_ranking, save_ranking


def change(path, row=3):
    """Another value in one row of an array."""
    array = np.load(path)
    array[row] = array[row][::-1] if array.ndim > 1 else (array[row] + 1) % 3
    np.save(path, array)


@pytest.fixture
def before(features, tmp_path):
    """fc7 of the same images by another net."""
    shutil.copytree(features, tmp_path / "before")
    for split in ("train", "test"):
        change(tmp_path / "before" / split / "fc7.npy")
    return tmp_path / "before"


@pytest.fixture
def no_search(monkeypatch):
    """Call it, and from then on searching fails."""
    return lambda: monkeypatch.setattr(saved, "each_search", None)


# ---------------------------------------------------------------- --score-only

def test_scoring_again_searches_nothing(features, tmp_path, no_search):
    first = run(features, tmp_path / "out")
    no_search()
    assert run(features, tmp_path / "out", "--score-only") == first


def test_labels_belong_to_scoring(features, tmp_path, no_search):
    first = run(features, tmp_path / "out")
    no_search()
    np.save(features / "test/labels.npy", np.zeros(10, int))
    assert run(features, tmp_path / "out", "--score-only")["map"] != first["map"]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("array, message", [("latent", "other codes"), ("fc7", "other fc7")])
def test_lists_of_other_features_are_refused(features, tmp_path, split, array, message):
    run(features, tmp_path / "out")
    change(features / split / f"{array}.npy")
    with pytest.raises(EvalError, match=f"was made from {message}: run without --score-only"):
        run(features, tmp_path / "out", "--score-only")


def test_lists_by_codes_alone_do_not_mind_other_fc7(features, tmp_path):
    first = run(features, tmp_path / "out", "--search", "bcs")
    change(features / "test/fc7.npy")
    assert run(features, tmp_path / "out", "--search", "bcs", "--score-only")["map"] == first["map"]


def test_lists_of_other_pretrained_features_are_refused(features, before, tmp_path):
    options = ("--pretrained-features", str(before))
    run(features, tmp_path / "out", *options)
    run(features, tmp_path / "out", *options, "--score-only")
    change(before / "train/fc7.npy", row=9)
    with pytest.raises(EvalError, match="es-pretrained.npz was made from other fc7 of the net before fine-tuning"):
        run(features, tmp_path / "out", *options, "--score-only")


def test_missing_lists_are_an_error(features, tmp_path):
    with pytest.raises(EvalError, match="search-bcs.npz is missing"):
        run(features, tmp_path / "new", "--score-only")


def test_damaged_lists_are_an_error(features, tmp_path):
    run(features, tmp_path / "out")
    lists = tmp_path / "out/search-hdl.npz"
    lists.write_bytes(lists.read_bytes()[:200])
    with pytest.raises(EvalError, match="search-hdl.npz is not a saved search"):
        run(features, tmp_path / "out", "--score-only")


def test_lists_of_an_older_version_do_not_tell_their_fc7(features, tmp_path):
    run(features, tmp_path / "out")
    path = tmp_path / "out/search-bcs.npz"
    with np.load(path) as lists:
        older = dict(lists) | {"meta": json.dumps({"seconds": 1.0, "fingerprint": "0" * 64})}
    np.savez(path, **older)
    with pytest.raises(EvalError, match="does not tell which fc7"):
        run(features, tmp_path / "out", "--score-only")


def test_another_radius_than_the_lists_is_refused(features, tmp_path):
    run(features, tmp_path / "out", "--radius", "3")
    assert run(features, tmp_path / "out", "--score-only")["two_stage"]["radius"] == 3
    with pytest.raises(EvalError, match="search-hdl.npz was made from another radius T"):
        run(features, tmp_path / "out", "--score-only", "--radius", "4")


def test_longer_lists_are_cut_and_shorter_ones_refused(features, tmp_path):
    short = run(features, tmp_path / "short", "--top-k", "5", "--radius", "3")
    run(features, tmp_path / "out", "--radius", "3")
    cut = run(features, tmp_path / "out", "--score-only", "--top-k", "5", "--radius", "3")
    for name, search in short["searches"].items():
        assert cut["searches"][name]["map"] == search["map"]
        assert cut["searches"][name]["precision_at_k"] == search["precision_at_k"]
    with pytest.raises(EvalError, match="holds the first 5 results of each query, 40 are asked for"):
        run(features, tmp_path / "short", "--score-only")


def test_tables_of_other_labels_are_left_out(features, tmp_path, capsys):
    call(features, tmp_path / "out", "--no-report")
    change(features / "test/labels.npy")
    call(features, tmp_path / "out", "--no-report", "--score-only")
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert "sweep" not in results
    assert "baselines" not in results
    assert "cost" in results
    assert "sweep.json is left out: it was made from other labels" in capsys.readouterr().err


# ---------------------------------------------------------------- --if-changed

def evaluate_if_changed(features, out, capsys, *options, report=False):
    """Whether the folder was kept. Most tests do without the report: drawing it takes seconds."""
    capsys.readouterr()
    call(features, out, "--baselines", "none", "--if-changed", *([] if report else ["--no-report"]), *options)
    return f"{'report.html' if report else 'results.json'}: kept" in capsys.readouterr().out


def test_nothing_changed_is_kept(features, tmp_path, capsys, no_search):
    assert not evaluate_if_changed(features, tmp_path / "out", capsys)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert len(times) == 8   # three searches, two codes, the sweep, the cost, the results
    no_search()
    assert evaluate_if_changed(features, tmp_path / "out", capsys)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == times


def test_clocks_do_not_matter(features, tmp_path, capsys):
    evaluate_if_changed(features, tmp_path / "out", capsys)
    for path in features.rglob("*.npy"):
        os.utime(path)
    moved = shutil.copytree(features, tmp_path / "copy/features")
    assert evaluate_if_changed(features, tmp_path / "out", capsys)
    assert evaluate_if_changed(moved, tmp_path / "out", capsys, "--run", str(tmp_path))


@pytest.mark.parametrize("file", [f"{split}/{name}" for split in ("train", "test")
                                  for name in ("fc7", "latent", "labels")])
def test_any_other_feature_is_evaluated_anew(features, tmp_path, capsys, file):
    evaluate_if_changed(features, tmp_path / "out", capsys)
    time = (features / f"{file}.npy").stat().st_mtime_ns
    change(features / f"{file}.npy")
    os.utime(features / f"{file}.npy", ns=(time, time))   # a clock would not see it
    assert not evaluate_if_changed(features, tmp_path / "out", capsys)
    assert evaluate_if_changed(features, tmp_path / "out", capsys)


def test_a_kill_between_results_and_report_leaves_nothing_kept(features, tmp_path, capsys, monkeypatch, no_search):
    evaluate_if_changed(features, tmp_path / "out", capsys, report=True)
    old = page_key(tmp_path / "out/report.html")
    assert evaluate_if_changed(features, tmp_path / "out", capsys, report=True)
    change(features / "test/fc7.npy")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(evaluate, "write_report", killed)
        evaluate_if_changed(features, tmp_path / "out", capsys, report=True)
    key = json.loads((tmp_path / "out/results.json").read_text())["key"]
    assert key != old
    assert page_key(tmp_path / "out/report.html") == old
    no_search()   # the lists were finished: they are scored again, not searched
    assert not evaluate_if_changed(features, tmp_path / "out", capsys, report=True)
    assert page_key(tmp_path / "out/report.html") == key
    assert evaluate_if_changed(features, tmp_path / "out", capsys, report=True)


def test_a_kill_while_searching_leaves_nothing_kept(features, tmp_path, capsys, monkeypatch):
    evaluate_if_changed(features, tmp_path / "out", capsys)
    with monkeypatch.context() as patch, pytest.raises(TypeError):
        patch.setattr(saved, "write_json", None)
        run(features, tmp_path / "out", "--radius", "2")
    assert not evaluate_if_changed(features, tmp_path / "out", capsys)


@pytest.mark.parametrize("options", [("--radius", "2"), ("--top-k", "7"), ("--protocol", "59k"), ("--search", "bcs"),
                                     ("--no-sweep",), ("--zero-hit", "left-out")])
def test_other_options_are_evaluated_anew(features, tmp_path, capsys, options):
    evaluate_if_changed(features, tmp_path / "out", capsys)
    assert not evaluate_if_changed(features, tmp_path / "out", capsys, *options)
    assert evaluate_if_changed(features, tmp_path / "out", capsys, *options)
    assert not evaluate_if_changed(features, tmp_path / "out", capsys)


def test_another_training_log_is_scored_again(features, tmp_path, capsys, no_search):
    evaluate_if_changed(features, tmp_path / "out", capsys)
    (features.parent / "train_log.csv").write_text("iteration,loss,test_accuracy,test_loss\n0,2.3,,\n10,1.0,,\n")
    no_search()
    assert not evaluate_if_changed(features, tmp_path / "out", capsys)
    assert evaluate_if_changed(features, tmp_path / "out", capsys)


def test_results_without_a_report_do_not_do_where_one_is_wanted(features, tmp_path, capsys, no_search):
    evaluate_if_changed(features, tmp_path / "out", capsys)
    no_search()
    assert not evaluate_if_changed(features, tmp_path / "out", capsys, report=True)
    assert (tmp_path / "out/report.html").exists()


def test_a_damaged_results_file_is_written_anew(features, tmp_path, capsys):
    evaluate_if_changed(features, tmp_path / "out", capsys)
    (tmp_path / "out/results.json").write_text("{")
    assert not evaluate_if_changed(features, tmp_path / "out", capsys)
    assert json.loads((tmp_path / "out/results.json").read_text())["key"]


# ---------------------------------------------------------------- large arrays

def test_large_arrays_are_told_by_key_and_sampled_rows(features, monkeypatch):
    monkeypatch.setattr(made_from, "WHOLE_BYTES", 0)
    monkeypatch.setattr(made_from, "SAMPLED_ROWS", 4)   # of 40: rows 0, 13, 26, 39
    path = features / "train/meta.json"

    def digest(key):
        path.write_text(json.dumps({"key": key}))
        return made_from.split_digest(load_features(features)[1], "fc7")

    first = digest("a")
    assert digest("a") == first
    assert digest("b") != first
    change(features / "train/fc7.npy", row=13)
    assert digest("a") != first


def test_large_arrays_without_a_key_are_read_whole(features, monkeypatch):
    monkeypatch.setattr(made_from, "WHOLE_BYTES", 0)
    first = made_from.split_digest(load_features(features)[1], "fc7")
    change(features / "train/fc7.npy", row=12)
    assert made_from.split_digest(load_features(features)[1], "fc7") != first


def test_saved_lists_are_mapped_and_equal_what_was_saved(tmp_path):
    rng = np.random.default_rng(0)
    saved = Ranking(rng.integers(0, 99, (7, 5), np.int32), rng.integers(0, 9, (7, 5)).astype(np.uint16),
                    rng.random((7, 5), np.float32), rng.integers(0, 9, 7), {"seconds": 1.5, "made_from": {"top_k": 5}})
    save_ranking(tmp_path / "lists.npz", saved)
    found = load_ranking(tmp_path / "lists.npz")
    for name in ("ids", "hamming", "euclidean", "pool"):
        assert isinstance(getattr(found, name), np.memmap)
        assert getattr(found, name).dtype == getattr(saved, name).dtype
        assert np.array_equal(getattr(found, name), getattr(saved, name))
    assert found.meta == saved.meta


def test_a_flipped_bit_in_saved_lists_is_noticed(tmp_path):
    save_ranking(tmp_path / "lists.npz", Ranking(np.arange(4000, dtype=np.int32).reshape(40, 100), meta={}))
    damaged = bytearray((tmp_path / "lists.npz").read_bytes())
    damaged[9000] ^= 1
    (tmp_path / "lists.npz").write_bytes(damaged)
    with pytest.raises(EvalError, match="is not a saved search"):
        load_ranking(tmp_path / "lists.npz")
