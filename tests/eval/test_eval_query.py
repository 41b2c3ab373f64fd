"""query.py: new images against a run's database."""

import json

import numpy as np
import pytest
from references import two_stage_ranking

import query
from basics.program import EvalError


@pytest.fixture
def run(tmp_path):
    """A run with 50 database images, and features of 3 new ones without labels."""
    rng = np.random.default_rng(0)
    for folder, count in (("features/train", 50), ("new", 3)):
        (tmp_path / folder).mkdir(parents=True)
        np.save(tmp_path / folder / "latent.npy", rng.random((count, 8), np.float32))
        np.save(tmp_path / folder / "fc7.npy", rng.random((count, 6), np.float32))
        np.save(tmp_path / folder / "thumbs.npy", rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8))
        (tmp_path / folder / "ids.txt").write_text("".join(f"{folder}/{i}.png\n" for i in range(count)))
    np.save(tmp_path / "features/train/labels.npy", rng.integers(0, 2, 50))
    (tmp_path / "features/train/meta.json").write_text(json.dumps({"classes": ["cat", "dog"], "net": {"sha256": "a"}}))
    return tmp_path


def ask(run, *options):
    """answers.json of the program."""
    assert query.main(["--queries", str(run / "new"), "--features", str(run / "features"), "--out", str(run / "out"),
                       *options]) == 0
    return json.loads((run / "out/answers.json").read_text())


def test_answers_equal_the_slow_loop(run):
    answers = ask(run, "--radius", "4", "--top-k", "7")
    codes = [np.load(run / folder / "latent.npy") >= 0.5 for folder in ("new", "features/train")]
    fc7 = [np.load(run / folder / "fc7.npy") for folder in ("new", "features/train")]
    labels = np.load(run / "features/train/labels.npy")
    for q, found in enumerate(answers):
        ids, pool = two_stage_ranking(codes[0][q], codes[1], fc7[0][q], fc7[1], 7, 4)
        assert [r["row"] for r in found["results"]] == ids
        assert found["pool"] == pool
        assert found["image"] == f"new/{q}.png"
        counts = {name: int((labels[ids] == label).sum()) for label, name in enumerate(["cat", "dog"])}
        assert dict(found["votes"]) == {name: count for name, count in counts.items() if count}
        assert found["votes"][0][1] >= found["votes"][-1][1]
        for rank, result in enumerate(found["results"], start=1):
            row = result["row"]
            assert result["rank"] == rank
            assert result["id"] == f"features/train/{row}.png"
            assert result["hamming"] == np.count_nonzero(codes[0][q] != codes[1][row])
            expected = np.linalg.norm(fc7[0][q].astype(float) - fc7[1][row])
            assert result["euclidean"] == (pytest.approx(expected, rel=1e-5) if rank <= pool else None)


def test_page_shows_the_pictures(run, capsys):
    ask(run)
    text = (run / "out/answers.html").read_text()
    assert text.count("<img") == 3 * 11
    assert "new/0.png" in capsys.readouterr().out
    assert "<h2>0.png</h2>" in text


def test_codes_alone_and_no_pictures(run):
    (run / "new/fc7.npy").unlink()
    (run / "new/thumbs.npy").unlink()
    answers = ask(run, "--top-k", "60")
    assert all(entry["search"] == "bcs" and len(entry["results"]) == 50 for entry in answers)
    hamming = [result["hamming"] for result in answers[0]["results"]]
    assert hamming == sorted(hamming)
    assert answers[0]["results"][0]["euclidean"] is None
    assert "<img" not in (run / "out/answers.html").read_text()


def test_radius_is_that_of_the_evaluation(run):
    (run / "eval").mkdir()
    (run / "eval/results.json").write_text(json.dumps({"two_stage": {"radius": 2}}))
    assert {entry["radius"] for entry in ask(run)} == {2}


def test_features_of_another_net_are_refused(run):
    (run / "new/meta.json").write_text(json.dumps({"net": {"sha256": "b"}}))
    with pytest.raises(EvalError, match="different runs"):
        ask(run)
    (run / "new/meta.json").unlink()
    np.save(run / "new/latent.npy", np.zeros((3, 9)))
    with pytest.raises(EvalError, match=r"\(3, 9\)"):
        ask(run)


def test_nothing_extracted_is_an_error(tmp_path):
    with pytest.raises(EvalError, match="has no latent.npy: extract"):
        query.main(["--queries", str(tmp_path / "new"), "--features", str(tmp_path), "--out", str(tmp_path / "out")])
