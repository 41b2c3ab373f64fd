"""The report: every section from real files, nothing from outside, figures kept beside it."""

import csv
import json
import re

import numpy as np
import pytest
from page_reader import Reader

import evaluate
from basics.program import EvalError
from measures.published import comparable, figures
from pages import report
from pages.figures import spread
from pages.parts import Facts, Numbers, Picture, Strip, Table, Text, page, section, side_by_side

BITS = 12


def make_run(tmp_path):
    """A run directory with everything a run can have: 3 classes, pictures, predictions, a log."""
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 3, (3, BITS))
    for split, count in (("train", 240), ("test", 60)):
        folder = tmp_path / "run/features" / split
        folder.mkdir(parents=True)
        labels = rng.integers(0, 3, count)
        arrays = {"labels": labels, "latent": 1 / (1 + np.exp(-centres[labels] - rng.normal(0, 2, (count, BITS)))),
                  "fc7": np.maximum(rng.normal(size=(count, 20)) + labels[:, None], 0).astype(np.float32),
                  "predictions": np.where(rng.random(count) < 0.8, labels, 0),
                  "thumbs": rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)}
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        (folder / "meta.json").write_text(json.dumps({
            "weights": {"file": "/home/someone/final.caffemodel", "sha256": "0123456789abcdef"},
            "classes": ["cat", "<dog>", "ship"],
            "data": {"dataset": "cifar10", "path": "data/cifar10/" + split}}))
    made = {"net": "caffenet", "seed": 7, "commit": "abc", "weights": {"file": None}}
    (tmp_path / "run/run.json").write_text(json.dumps(made))
    header = "iteration,loss,learning_rate,images_per_second,elapsed_s,test_accuracy,test_loss\n"
    rows = "0,2.3,0.01,,0,0.1,2.3\n100,1.0,0.01,9,1,,\n200,0.5,0.01,9,2,0.8,0.6\n"
    (tmp_path / "run/train_log.csv").write_text(header + rows)
    return tmp_path / "run"


@pytest.fixture
def run(tmp_path):
    """For tests that change it."""
    return make_run(tmp_path)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """(run directory, text, Reader) of an evaluation that tests only look at: drawing takes seconds."""
    run = make_run(tmp_path_factory.mktemp("report"))
    return run, *read(run)


def read(run, *options):
    """(text, Reader) of the report of an evaluation."""
    assert evaluate.main(["--features", str(run / "features"), "--out", str(run / "eval"), *options]) == 0
    text = (run / "eval/report.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return text, reader


def test_everything_is_in_it(evaluated):
    _, text, reader = evaluated
    assert reader.headings == ["Searches", "Unsupervised codes computed here", "The same codes under other protocols",
                               "Two stages: the pool", "Examples", "The worst queries", "Classes", "The codes",
                               "Training", "Cost of a distance"]
    assert "caffenet" in text
    assert "random weights" in text
    assert "0123456789ab" in text
    assert "/home/" not in text
    assert "&lt;dog&gt;" in text
    assert "<dog>" not in text
    # 3 example queries with twice ten results, 8 worst ones with ten
    assert reader.pictures == 3 * 21 + 8 * 11


def test_nothing_comes_from_outside(evaluated):
    _, text, reader = evaluated
    assert all(address.startswith(("data:", "#")) for address in reader.addresses)
    assert not re.search(r"url\((?!#)", text)
    assert "<script" not in text
    assert "@import" not in text


def test_figures_lie_beside_it(evaluated):
    run = evaluated[0]
    names = {"precision", "baselines", "recall_precision", "sweep", "tradeoff", "classes", "confusion", "bit_balance",
             "distances", "training"}
    assert {path.stem for path in (run / "eval/figures").iterdir()} == names
    for name in names:
        assert (run / f"eval/figures/{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (run / f"eval/figures/{name}.svg").read_text()
    with open(run / "eval/figures/precision.csv", newline="") as file:
        rows = list(csv.reader(file))
    results = json.loads((run / "eval/results.json").read_text())
    assert rows[0] == ["k", "bcs", "hdl", "es"]
    assert [float(row[1]) for row in rows[1:]] == results["precision_at_k"]


def test_marks_say_right_and_wrong(evaluated):
    run, text, _ = evaluated
    ids, hdl = (np.load(run / f"eval/search-{name}.npz")["ids"] for name in ("bcs", "hdl"))
    labels = [np.load(run / f"features/{split}/labels.npy") for split in ("test", "train")]
    results = json.loads((run / "eval/results.json").read_text())
    examples = np.sort(np.unique(labels[0], return_index=True)[1])
    shown = [(q, i) for q in examples for found in (ids, hdl) for i in found[q, :10]]
    shown += [(entry["query"], i) for entry in results["worst_queries"] for i in ids[entry["query"], :10]]
    right = sum(labels[0][q] == labels[1][i] for q, i in shown)
    assert text.count('class="pic right"') == right
    assert text.count('class="pic wrong"') == len(shown) - right


def test_a_bare_run_still_gets_one(run):
    for split in ("train", "test"):
        for name in ("fc7", "predictions", "thumbs"):
            (run / "features" / split / f"{name}.npy").unlink()
        (run / "features" / split / "meta.json").unlink()
    (run / "run.json").unlink()
    (run / "train_log.csv").unlink()
    text, reader = read(run)
    assert "no thumbs.npy" in text
    assert reader.pictures == 0
    assert not {"Training", "Two stages: the pool"} & set(reader.headings)


def test_published_figures_need_the_same_protocol():
    results = {"features": {"data": {"dataset": "cifar10"}}, "protocol": "cvprw15", "top_k": 1000, "bits": 48,
               "map": 0.5}
    assert comparable(results)
    for change in ({"protocol": "59k"}, {"top_k": 240}, {"features": {"data": {"dataset": "mnist"}}}, {"features": {}}):
        assert not comparable(results | change)
    text = page("Published", [report.published_section(results, figures())])
    assert "<td>This run</td><td class=n></td><td class=n></td><td class=n>0.5000</td>" in text
    assert "<td>CNNH+</td><td class=n>0.4650</td><td class=n>0.5210</td><td class=n>0.5320</td>" in text


def test_a_database_of_another_tool_has_no_name(run):
    for split in ("train", "test"):
        path = run / "features" / split / "meta.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"data": {"dataset": None, "path": "x"}}))
    assert "<h1>Retrieval, 12-bit codes</h1>" in read(run)[0]


def test_damaged_run_files_are_one_sentence(run):
    (run / "run.json").write_text("{")
    with pytest.raises(EvalError, match="run.json is not valid JSON"):
        read(run)


def test_what_names_say_is_text_in_every_part():
    naughty = "<script>alert('&')</script>"
    shown = Picture("data:,", naughty, "wrong", naughty)
    parts = [Text(naughty), Table([naughty], [[naughty]]), Facts([(naughty, naughty)]), Numbers([(naughty, naughty)]),
             section(naughty, side_by_side((naughty, Text(naughty)))), Strip(shown, [(naughty, [shown])])]
    text = page(naughty, parts, key=naughty)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 20
    reader = Reader()
    reader.feed(text)
    assert reader.open == []


def test_labels_do_not_overlap():
    placed = spread([0.5, 0.1, 0.11, 0.12], 0.05)
    assert placed.tolist() == pytest.approx([0.5, 0.1, 0.15, 0.2])


def test_durations_have_fitting_units():
    assert [report.duration(value) for value in (2.0, 22.6e-6, 23e-12)] == ["2 s", "22.6 µs", "23 ps"]


def test_a_training_that_stood_still_is_told_with_its_causes(run):
    (run / "standstill.json").write_text(json.dumps({
        "symptoms": {}, "words": ["the loss is 2.3026, and guessing gives 2.3026"], "advice": ["no weights", "<mean>"],
        "causes": [{"name": "weights", "words": "no weights"}, {"name": "mean", "words": "<mean>"}]}))
    text, reader = read(run, "--baselines", "none")
    assert reader.headings[0] == "Training stands still"
    assert "At its last test the loss is 2.3026, and guessing gives 2.3026. Likely causes, the likeliest first:" in text
    assert text.index("no weights") < text.index("&lt;mean&gt;")
    (run / "standstill.json").unlink()
    assert read(run, "--baselines", "none", "--if-changed")[1].headings[0] == "Searches"
