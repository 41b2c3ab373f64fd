"""Comparison of models: its figures are those of evaluate.py, the images must be the same, the page is whole."""

import json
import shutil

import numpy as np
import pytest

import evaluate
from basics.program import EvalError
from compare import main
from measures import published
from measures.published import RELEASED_FILE
from page_reader import Reader

CLASSES = ["cat", "<dog>", "ship"]


def write_model(folder, noise, seed, bits=12, weights="final.caffemodel"):
    """Features of one model of 60 queries and 240 images; the images are the same for every model."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 3, (3, bits))
    for split, count in (("train", 240), ("test", 60)):
        images = np.random.default_rng(count)
        labels, thumbs = images.integers(0, 3, count), images.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        place = folder / split
        place.mkdir(parents=True)
        arrays = {"labels": labels, "thumbs": thumbs,
                  "predictions": np.where(rng.random(count) < 0.7, labels, (labels + 1) % 3),
                  "latent": 1 / (1 + np.exp(-centres[labels] - rng.normal(0, noise, (count, bits)))),
                  "fc7": rng.random((count, 4))}
        for name, array in arrays.items():
            np.save(place / f"{name}.npy", array)
        (place / "ids.txt").write_text("".join(f"{row:05d}.png\n" for row in range(count)))
        meta = {"weights": {"file": f"models/{weights}", "sha256": f"{seed:064x}"}, "classes": CLASSES,
                "protocol": "authors", "mean": {"file": "data/mean.binaryproto", "sha256": "ab" * 32},
                "data": {"dataset": "cifar10", "path": f"data/cifar10/{split}_originals_lmdb",
                         "fingerprint": split * 4}}
        (place / "meta.json").write_text(json.dumps(meta))
    return folder


@pytest.fixture
def features(tmp_path):
    """{name: features directory} of three models, the second with the released file's name and other code length."""
    return {"ours": write_model(tmp_path / "runs/ours/features", 2, 1),
            "released": write_model(tmp_path / "runs/released/features", 4, 2, 48, RELEASED_FILE),
            "other": write_model(tmp_path / "runs/other/features", 3, 3)}


def run(features, names, out, *options):
    """(compare.json, the page's text, Reader) of models by their names."""
    assert main(["--features", *(f"{name}={features[name]}" for name in names), "--out", str(out), *options]) == 0
    text, reader = (out / "compare.html").read_text(encoding="utf-8"), Reader()
    reader.feed(text)
    assert reader.open == []
    return json.loads((out / "compare.json").read_text()), text, reader


def test_figures_are_those_of_the_evaluation(features, tmp_path, capsys):
    result, _, _ = run(features, ("ours", "released"), tmp_path / "out")
    for model in result["models"]:
        evaluate.main(["--features", str(features[model["name"]]), "--out", str(tmp_path / "eval"), "--no-report",
                       "--baselines", "none"])
        alone = json.loads((tmp_path / "eval/results.json").read_text())
        for key in ("map", "map_tie_aware", "precision_at_k", "accuracy", "classes", "bits", "top_k"):
            assert model[key] == alone[key], key
    assert result["models"][0]["map"] > result["models"][1]["map"]
    printed = capsys.readouterr().out
    assert f"mAP@240 {result['models'][0]['map']:.4f}" in printed
    assert "results have" in printed


def test_pairs_and_differences(features, tmp_path):
    result, _, _ = run(features, ("ours", "released", "other"), tmp_path / "out")
    pairs = [(pair["first"], pair["second"]) for pair in result["pairs"]]
    assert pairs == [("ours", "released"), ("ours", "other"), ("released", "other")]
    maps = {model["name"]: model["map"] for model in result["models"]}
    pair = result["pairs"][0]
    assert pair["ap"]["mean"] == pytest.approx(maps["released"] - maps["ours"])
    one, other = (np.load(features[name] / "test/predictions.npy") for name in ("ours", "released"))
    assert pair["labels"]["equal"] == np.mean(one == other)
    assert sum(pair["labels"][key] for key in ("both_right", "first_right", "second_right", "none_right")) == 60
    assert set(pair["overlap"]) == {"10", "100"}
    assert 0 < pair["rank_correlation"] < 1
    gains = [entry["ap"][1] - entry["ap"][0] for entry in pair["second_better"]]
    losses = [entry["ap"][1] - entry["ap"][0] for entry in pair["first_better"]]
    assert gains == sorted(gains, reverse=True)
    assert losses == sorted(losses)
    assert min(gains) > 0 > max(losses)
    assert pair["first_better"][0]["id"] == f"{pair['first_better'][0]['query']:05d}.png"


def test_the_page_holds_everything_and_needs_nothing(features, tmp_path):
    result, text, reader = run(features, ("ours", "released", "other"), tmp_path / "out")
    assert reader.headings == ["The published figure", "Retrieval by codes", "Agreement of ours and released",
                               "Agreement of ours and other", "Agreement of released and other", "Classes", "The codes",
                               "Queries that released answers better than ours",
                               "Queries that ours answers better than released"]
    shown = len(result["pairs"][0]["second_better"]) + len(result["pairs"][0]["first_better"])
    assert reader.pictures == 21 * shown
    assert shown > 4
    assert all(address.startswith(("data:", "#")) for address in reader.addresses)
    assert "<script" not in text
    assert "&lt;dog&gt;" in text
    assert "<dog>" not in text
    assert {path.name for path in (tmp_path / "out/figures").iterdir()} == {
        f"{name}.{ending}" for name in ("precision", "classes") for ending in ("png", "svg", "csv")}


def test_bare_features_are_enough(features, tmp_path):
    for name in ("ours", "other"):
        for split in ("train", "test"):
            for file in ("thumbs.npy", "predictions.npy", "fc7.npy", "meta.json", "ids.txt"):
                (features[name] / split / file).unlink()
    result, text, reader = run(features, ("ours", "other"), tmp_path / "out")
    assert reader.pictures == 0
    assert "no thumbs.npy" in text
    assert "accuracy" not in result["models"][0]
    assert "labels" not in result["pairs"][0]


@pytest.fixture
def as_published(monkeypatch):
    """Takes the small data set for the one that the published figures are about."""
    monkeypatch.setattr(published, "is_whole_cifar", lambda results: True)


def test_a_subset_is_not_measured_by_the_published_figures(features, tmp_path):
    result, text, _ = run(features, ("ours", "released"), tmp_path / "out")
    assert not result["published"]["whole_set"]
    assert result["published"]["causes"] == []
    assert "tells nothing" in text
    assert "CNNH" not in text


def test_published_rows_and_curves_stand_beside_the_whole_set(features, tmp_path, as_published):
    _, text, _ = run(features, ("ours", "released"), tmp_path / "out")
    assert "<th class=n>12 bits</th><th class=n>48 bits</th>" in text
    assert "tells nothing" not in text
    assert "<td>CNNH+</td><td class=n>0.4650</td><td class=n>0.5320</td>" in text


def test_the_expected_figure_is_the_released_file_s(features, tmp_path, capsys, as_published):
    result, text, _ = run(features, ("ours", "released"), tmp_path / "out")
    check, measured = result["published"], result["models"][1]["map"]
    assert check["model"] == "released"
    assert check["expected"] == 0.897373
    assert check["is_released_file"]
    assert check["whole_set"]
    assert check["difference"] == pytest.approx(measured - 0.897373)
    assert [cause for cause, _ in check["causes"]] == ["mean file", "BGR", "crop offset", "> or >=",
                                                       "JPEG or lossless images", "order of the database"]
    assert "mean.binaryproto was subtracted" in check["causes"][0][1]
    assert "data/cifar10/test_originals_lmdb" in check["causes"][4][1]
    assert f"{check['difference']:+.6f}" in text
    assert "Expected of the released 48-bit model: 0.897373" in capsys.readouterr().out


def test_another_file_is_compared_with_it_only_when_asked(features, tmp_path):
    result, text, reader = run(features, ("ours", "other"), tmp_path / "out")
    assert "published" not in result
    assert "0.897373" not in text
    result, text, _ = run(features, ("ours", "other"), tmp_path / "out", "--expected", "other")
    assert not result["published"]["is_released_file"]
    assert f"other is not the released file ({RELEASED_FILE})" in text


def test_a_figure_within_reach_needs_no_causes(features, tmp_path, as_published, monkeypatch):
    figures = published.figures()
    measured = run(features, ("ours", "released"), tmp_path / "out")[0]["models"][1]["map"]
    monkeypatch.setattr(published, "figures", lambda: figures | {"released_48_bit_model": measured - 0.0019})
    result, text, _ = run(features, ("ours", "released"), tmp_path / "out")
    assert result["published"]["causes"] == []
    assert "crop offset" not in text


def change_meta(folder, change):
    for split in ("train", "test"):
        path = folder / split / "meta.json"
        meta = json.loads(path.read_text())
        change(meta)
        path.write_text(json.dumps(meta))


def test_activations_of_exactly_a_half_are_counted(features, tmp_path, as_published):
    path = features["released"] / "test/latent.npy"
    latent = np.load(path)
    latent[0, :3] = 0.5
    np.save(path, latent)
    change_meta(features["released"], lambda meta: meta.update(protocol="caffe", mean=None))
    causes = dict(run(features, ("ours", "released"), tmp_path / "out")[0]["published"]["causes"])
    assert causes["> or >="].startswith("3 activations")
    assert "row and column 14" in causes["crop offset"]
    assert causes["mean file"].startswith("none was subtracted")


def test_other_images_are_refused(features, tmp_path):
    def refused(words):
        with pytest.raises(EvalError, match=words):
            run(features, ("ours", "other"), tmp_path / "out")
        assert not (tmp_path / "out").exists()

    whole = shutil.copytree(features["other"], tmp_path / "whole")
    change_meta(features["other"], lambda meta: meta["data"].update(fingerprint="0" * 20))
    refused("come from other images .data fingerprint testtesttest|traintraintr against 000000000000")
    shutil.rmtree(features["other"])
    shutil.copytree(whole, features["other"])
    labels = np.load(features["other"] / "test/labels.npy")
    labels[[7, 8]] = [(labels[7] + 1) % 3, (labels[8] + 1) % 3]
    np.save(features["other"] / "test/labels.npy", labels)
    refused("labels differ from row 7 on")
    for path in (features["other"] / "test").glob("*.npy"):
        np.save(path, np.load(path)[:50])
    (features["other"] / "test/ids.txt").unlink()
    refused("holds 60 images, .* 50")


def test_names_and_options(features, tmp_path, capsys):
    plain = [str(features[name]) for name in ("ours", "other")]
    assert main(["--features", *plain, "--out", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out/compare.json").read_text())
    assert [model["name"] for model in result["models"]] == ["ours", "other"]
    for options in (["--features", plain[0]], ["--features", plain[0], plain[0]],
                    ["--features", *plain, "--expected", "nobody"]):
        with pytest.raises(SystemExit) as stop:
            main([*options, "--out", str(tmp_path / "out")])
        assert stop.value.code == 2
