"""A run to hand on: packed whole or not at all, asked without the run in another place, checked by its sums."""
import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

import query
from caffe_cases import kill, run, start
from finished_cases import measure

MADE = {"README.md", "SHA256SUMS", "codes.npy", "deploy.prototxt", "ids.txt", "labels.npy", "mean.binaryproto",
        "mean.npy", "meta.json", "model.caffemodel", "model.onnx", "results.json"}


@pytest.fixture(scope="module")
def finished(finished_run, tmp_path_factory):
    """A copy of the finished run; the folder it lies in."""
    folder = tmp_path_factory.mktemp("finished") / "here"
    shutil.copytree(finished_run, folder)
    return folder


@pytest.fixture(scope="module")
def packed(finished):
    """(the package, what package.py said)."""
    status, said = run("package.py", "--run", "run", "--out", "handed on/tiny 8", "--license", "bsd-2-clause",
                       cwd=finished)
    assert status == 0, said
    return finished / "handed on/tiny 8", said


@pytest.fixture
def elsewhere(packed, finished, tmp_path, monkeypatch):
    """A place that has the package and the new images, and nothing of the run, the data or the project."""
    shutil.copytree(packed[0], tmp_path / "package")
    shutil.copytree(finished / "new", tmp_path / "new")
    monkeypatch.chdir(tmp_path)
    return tmp_path


PACKAGE = ("--package", "package"), ("--package", "package")
RUN = ("--run", "run"), ("--features", "run/features")


@pytest.fixture
def ask(call):
    """ask(model, codes) -> (status, words, answers) of the two programs behind make query, here."""
    def ask(model, codes):
        status, said = call("extract", *model, "--images", "new", "--out", "asked/features", "--gpu", "none")
        if status == 0:
            status, said = measure(query.main, "--queries", "asked/features", *codes, "--out", "asked")
        answers = Path("asked/answers.json")
        return status, said, json.loads(answers.read_text()) if answers.exists() else None
    return ask


def test_a_package_has_all_its_files_and_no_path_of_the_machine(packed, finished):
    package, said = packed
    assert {path.name for path in package.iterdir()} == MADE
    assert "60 codes of 8 bits" in said
    assert [path.name for path in package.parent.iterdir()] == ["tiny 8"]
    assert subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=package).returncode == 0
    for name in ("README.md", "meta.json"):
        assert str(finished) not in (package / name).read_text()
    latent = np.load(finished / "run/features/train/latent.npy")
    assert np.array_equal(np.unpackbits(np.load(package / "codes.npy"), axis=1), latent >= 0.5)


def test_half_a_character_in_what_the_card_tells(finished_run, tmp_path, monkeypatch, call):
    shutil.copytree(finished_run, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    settings = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps({**settings, "net": "tiny \ud800"}))
    status, said = call("package", "--run", "run", "--out", "package")
    assert status == 0, said
    assert "tiny \\ud800, 8-bit hash codes" in Path("package/README.md").read_text()


def test_it_answers_elsewhere_as_the_run_does_by_codes(elsewhere, finished, ask, monkeypatch):
    status, said, answers = ask(*PACKAGE)
    assert status == 0, said
    monkeypatch.chdir(finished)
    Path("run/features/train/fc7.npy").rename("fc7.npy")  # so that the run answers by codes alone
    try:
        _, _, of_run = ask(*RUN)
    finally:
        Path("fc7.npy").rename("run/features/train/fc7.npy")
    assert answers == of_run
    assert {answer["search"] for answer in answers} == {"bcs"}
    assert len({json.dumps(answer["results"]) for answer in answers}) > 1


def test_with_fc7_it_answers_in_two_stages(finished, tmp_path, ask, call, monkeypatch):
    monkeypatch.chdir(finished)
    assert call("package", "--run", "run", "--out", tmp_path / "package", "--with", "fc7", "thumbs")[0] == 0
    _, _, of_run = ask(*RUN)
    shutil.copytree("new", tmp_path / "new")
    monkeypatch.chdir(tmp_path)
    _, _, answers = ask(*PACKAGE)
    assert answers == of_run
    assert answers[0]["search"] == "hdl"
    assert (tmp_path / "asked/answers.html").read_text().count("<img") == 33


@pytest.mark.parametrize("name, words", [("model.caffemodel", "is not what was packed"), ("codes.npy", "is not what"),
                                         ("deploy.prototxt", "is not what was packed")])
def test_a_changed_file_is_noticed(elsewhere, ask, name, words):
    content = bytearray((elsewhere / "package" / name).read_bytes())
    content[-1] ^= 1
    (elsewhere / "package" / name).write_bytes(content)
    status, said, answers = ask(*PACKAGE)
    assert (status, answers) == (1, None)
    assert f"package/{name} {words}" in said
    assert "Traceback" not in said
    assert not (elsewhere / "asked/features").exists()


@pytest.mark.parametrize("spoil, words", [
    (lambda package: (package / "mean.npy").unlink(), "is not whole: mean.npy is missing; get the package again"),
    (lambda package: (package / "SHA256SUMS").unlink(), "is no package: it has no SHA256SUMS"),
    (lambda package: (package / "SHA256SUMS").write_text("nonsense\n"), "SHA256SUMS is damaged"),
    (lambda package: np.save(package / "fc7.npy", np.zeros((60, 16))), "fc7.npy was not packed")])
def test_a_missing_or_added_file_is_noticed(elsewhere, ask, spoil, words):
    spoil(elsewhere / "package")
    status, said, _ = ask(*PACKAGE)
    assert status == 1
    assert words in said


def test_the_search_looks_too(elsewhere, ask):
    assert ask(*PACKAGE)[0] == 0
    np.save(elsewhere / "package/labels.npy", np.zeros(60, np.int64))
    status, said = measure(query.main, "--queries", "asked/features", "--package", "package", "--out", "asked")
    assert status == 1
    assert "labels.npy is not what was packed" in said


def test_the_card_is_read_as_the_hub_reads_it(packed, finished):
    text = (packed[0] / "README.md").read_text()
    front, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", text, re.DOTALL).groups()
    fields = dict(line.split(": ", 1) for line in front.splitlines())
    fields = {name: json.loads(value) for name, value in fields.items()}  # JSON is YAML
    assert (fields["license"], fields["pipeline_tag"]) == ("bsd-2-clause", "image-feature-extraction")
    results = json.loads((finished / "run/eval/results.json").read_text())
    metrics = {metric["name"]: metric["value"] for metric in fields["model-index"][0]["results"][0]["metrics"]}
    for row in results["protocols"]:
        if row["map"] is not None:
            assert metrics[f"mAP@{row['top_k']}, protocol {row['protocol']}"] == pytest.approx(row["map"], abs=1e-6)
            assert f"`{row['protocol']}`: {row['queries']:,} queries" in body
    assert "random weights" in body
    assert set(re.findall(r"^\| `(\S+)` \|", body, re.MULTILINE)) == MADE - {"README.md"}


def test_its_lines_for_onnx_runtime_find_what_the_project_finds(elsewhere, ask, monkeypatch):
    _, _, answers = ask(*PACKAGE)
    code = re.search(r"```python\n(.*?)```", (elsewhere / "package/README.md").read_text(), re.DOTALL)[1]
    monkeypatch.chdir(elsewhere / "package")
    for answer in answers:
        shutil.copy(elsewhere / answer["image"], "photo.jpg")  # a PNG by its content
        names = {}
        exec(code, names)
        assert names["nearest"].tolist() == [result["row"] for result in answer["results"]]
        assert names["distances"][names["nearest"]].tolist() == [result["hamming"] for result in answer["results"]]


def test_a_kill_leaves_no_package_and_the_same_command_makes_it(finished, tmp_path):
    out = tmp_path / "package"
    process = start("package.py", "--run", "run", "--out", out, cwd=finished)
    while not (tmp_path / "package.partial/model.caffemodel").exists() and process.poll() is None:
        time.sleep(0.002)
    kill(process)
    assert not out.exists()
    status, said = run("package.py", "--run", "run", "--out", out, cwd=finished)
    assert status == 0, said
    assert [path.name for path in tmp_path.iterdir()] == ["package"]


def test_a_run_that_is_not_finished_or_of_other_weights_is_named(finished, tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished / "run", tmp_path / "run")
    shutil.copy(finished / "mean.binaryproto", tmp_path)

    def said(*options):
        status, words = call("package", "--run", "run", "--out", "package", *options)
        assert status == 1
        assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("package")) == []
        return words

    results = (tmp_path / "run/eval/results.json").read_text()
    (tmp_path / "run/eval/results.json").write_text(results.replace('"key"', '"was"'))
    assert "results.json is of other features than the run has now: make evaluate RUN=" in said()
    (tmp_path / "run/eval/results.json").unlink()
    assert "run is not evaluated" in said()
    (tmp_path / "run/eval/results.json").write_text(results)
    (tmp_path / "mean.binaryproto").write_bytes(b"another")
    assert "mean image mean.binaryproto is not the one that the features were made with" in said()
    shutil.copy(tmp_path / "run/snapshots/iter_100.caffemodel", tmp_path / "run/final.caffemodel")
    assert "was extracted by another final.caffemodel than the run has now" in said()


def test_what_is_there_is_not_replaced(packed, finished, call, monkeypatch):
    monkeypatch.chdir(finished)
    before = sorted(Path(packed[0]).iterdir())
    status, said = call("package", "--run", "run", "--out", packed[0])
    assert status == 1
    assert "exists: remove it or choose another name" in said
    assert sorted(Path(packed[0]).iterdir()) == before
