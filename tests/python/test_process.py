"""What every program stands on: endings, whole files, the same file wherever it lies, a run's folder."""
import json
import subprocess

import pytest

from process import checkout, files, identity, readers
from process.errors import DriverError
from process.modules import run_module
from process.program import path_or_none, run_program
from process.run_folder import RunFolder


def raising(error):
    def work(_options):
        raise error
    return work


@pytest.mark.parametrize("result, status", [(None, 0), (0, 0), (3, 3)])
def test_a_program_ends_with_what_its_work_returns(result, status):
    assert run_program("tool", list, lambda options: result, ["a"]) == status


@pytest.mark.parametrize("error, status, said", [
    (DriverError("no such net"), 1, "tool: no such net\n"),
    (FileNotFoundError(2, "No such file or directory", "x"), 1, "tool: [Errno 2] No such file or directory: 'x'\n"),
    (KeyboardInterrupt(), 130, "tool: interrupted\n")])
def test_a_program_ends_with_a_sentence(capsys, error, status, said):
    assert run_program("tool", list, raising(error), []) == status
    assert capsys.readouterr().err == said


def test_a_mistake_of_ours_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run_program("tool", list, raising(ZeroDivisionError()), [])


def test_a_mistake_in_the_command_line_is_a_sentence_too(capsys):
    assert run_program("tool", raising(DriverError("--x: no")), list, []) == 1
    assert capsys.readouterr().err == "tool: --x: no\n"


def test_none_is_no_path():
    assert path_or_none("none") is None
    assert str(path_or_none("nonesuch")) == "nonesuch"


def test_a_file_is_whole_or_absent(tmp_path):
    target = tmp_path / "file"
    with pytest.raises(ZeroDivisionError), files.whole_file(target, "w") as file:
        file.write("half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    target.write_text("old")
    with files.whole_file(target, "w") as file:
        file.write("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_json_that_is_cut_off_is_named(tmp_path):
    (tmp_path / "run.json").write_text('{"seed": 1')
    with pytest.raises(DriverError, match="run.json is not the JSON that belongs there"):
        readers.read_json(tmp_path / "run.json", {"type": "object"})


def test_the_same_content_at_another_place_is_the_same():
    def made_from(place, content):
        data = {"path": place, "fingerprint": "2", "dataset": place}
        return {"weights": {"file": place, "sha256": content}, "data": data, "mean": None}
    here, there, other = made_from("a", "1"), made_from("b", "1"), made_from("a", "0")
    assert identity.cache_key(here) == identity.cache_key(there)
    assert identity.cache_key(here) != identity.cache_key(other)


def test_where_the_content_is_not_known_the_place_counts():
    unknown = {"path": "a", "fingerprint": None}
    assert identity.without_places(unknown) == unknown
    assert identity.without_places({"path": "a", "fingerprint": "1"}) == {"fingerprint": "1"}


def test_a_file_s_identity_is_sha256sum_s(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"weights")
    theirs = subprocess.run(["sha256sum", path], capture_output=True, text=True).stdout.split()[0]
    assert identity.file_identity(path) == {"file": str(path), "sha256": theirs}
    assert identity.file_identity(None) == {"file": None, "sha256": None}


def test_the_files_of_a_run_lie_in_its_folder(tmp_path):
    run = RunFolder(tmp_path)
    names = {run.settings: "run.json", run.solver: "solver.prototxt", run.train_val: "train_val.prototxt",
             run.deploy: "deploy.prototxt", run.final_model: "final.caffemodel", run.snapshots: "snapshots",
             run.train_log: "train_log.csv", run.curves: "curves.png", run.caffe_log: "caffe.log"}
    for path, name in names.items():
        assert path == tmp_path / name
    assert str(run) == str(tmp_path)


def test_a_run_tells_the_weights_it_started_from(tmp_path):
    weights = tmp_path / "start.caffemodel"
    weights.write_bytes(b"weights")
    (tmp_path / "run.json").write_text(json.dumps({"weights": identity.file_identity(weights)}))
    assert RunFolder(tmp_path).initial_weights() == weights
    weights.write_bytes(b"others")
    with pytest.raises(DriverError, match="is not what .* started from"):
        RunFolder(tmp_path).initial_weights()


def test_a_module_of_the_driver_is_not_one_of_the_user_s_folder(tmp_path, monkeypatch):
    """A folder `gpu` where the user stands must not be imported in the room's place."""
    (tmp_path / "gpu").mkdir()
    (tmp_path / "gpu/__init__.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    told = run_module("gpu.nvidia")
    assert told.returncode == 3
    assert "no NVIDIA driver is installed" in told.stdout


def test_the_version_is_the_commit():
    head = subprocess.run(["git", "-C", checkout.ROOT, "rev-parse", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        pytest.skip("this copy is no git checkout")
    assert head.stdout.startswith(checkout.commit().rstrip("+"))


def test_the_version_is_not_known_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checkout.commit() is None
