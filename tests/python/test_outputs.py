"""No program writes over its own input, or over what it did not make itself."""
import json

import pytest

from caffe_cases import TRAIN_IMAGES
from process.errors import DriverError
from process.outputs import refuse_inputs_as_outputs

EXTRACTION = ("--mean", "mean.binaryproto", "--protocol", "caffe", "--gpu", "none")


@pytest.fixture
def here(tiny_run, problem):
    """The current directory has databases of its own, and the trained run under an absolute path."""
    return tiny_run.run


def content_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("output, source, word", [
    ("a/b", "a/b", "is"), ("a", "a/b/c", "holds"), ("a/b/c", "a", "lies in"), ("a/../a/b", "a/b", "is"),
    ("link/b", "a/b", "is")])
def test_an_output_and_an_input_that_meet(tmp_path, output, source, word):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(DriverError, match=f"the output .* {word} the input"):
        refuse_inputs_as_outputs([tmp_path / output], [None, tmp_path / source])


def test_neighbours_do_not_meet(tmp_path):
    refuse_inputs_as_outputs([tmp_path / "ab"], [tmp_path / "a", tmp_path / "abc", None])


@pytest.mark.parametrize("out", ["test_lmdb", "test_lmdb/features", "."])
def test_extraction_leaves_its_database_alone(here, problem, call, out):
    (problem / "test_lmdb/meta.json").write_text('{"fingerprint": "x"}')
    before = content_of(problem)
    status, said = call("extract", "--run", here, "--lmdb", "test_lmdb", "--out", out, *EXTRACTION)
    assert status == 1
    assert "the input" in said
    assert content_of(problem) == before


def test_extraction_puts_both_splits_beside_their_databases(here, problem, call):
    before = content_of(problem)
    status, said = call("extract", "--run", here, "--databases", ".", "--out", ".", *EXTRACTION)
    assert status == 0, said
    assert (problem / "train/meta.json").exists()
    assert {name: data for name, data in content_of(problem).items() if name in before} == before


@pytest.mark.parametrize("place", ["q", "q.partial", "q.old"])
def test_extraction_leaves_a_folder_alone_that_holds_something_of_the_users(here, problem, call, place):
    assert call("extract", "--run", here, "--lmdb", "test_lmdb", "--out", "q", *EXTRACTION)[0] == 0
    (problem / place).mkdir(exist_ok=True)
    (problem / place / "thesis.txt").write_text("two years")
    status, said = call("extract", "--run", here, "--lmdb", "train_lmdb", "--out", "q", *EXTRACTION)
    assert status == 1
    assert f"{place} is there and holds thesis.txt" in said
    assert (problem / place / "thesis.txt").read_text() == "two years"


def test_extraction_leaves_another_database_alone(here, problem, call):
    """A database has a meta.json, too: that alone makes no folder of features."""
    (problem / "train_lmdb/meta.json").write_text(json.dumps({"count": TRAIN_IMAGES, "fingerprint": "x"}))
    before = content_of(problem / "train_lmdb")
    status, said = call("extract", "--run", here, "--lmdb", "test_lmdb", "--out", "train_lmdb", *EXTRACTION)
    assert status == 1
    assert "train_lmdb is there and is no folder of features" in said
    assert content_of(problem / "train_lmdb") == before


def test_a_run_does_not_write_over_its_solver(problem, call):
    before = content_of(problem)
    status, said = call("train", "--solver", "solver.prototxt", "--run", ".", "--weights", "none", "--gpu", "none")
    assert status == 1
    assert "the output . holds the input solver.prototxt" in said
    assert content_of(problem) == before


@pytest.mark.parametrize("name", ["train_val.prototxt", "solver.prototxt", "deploy.prototxt", "final.caffemodel"])
def test_a_run_does_not_write_over_files_that_no_run_wrote(problem, call, name):
    (problem / "mine").mkdir()
    (problem / "mine" / name).write_text("mine")
    status, said = call("train", "--solver", "solver.prototxt", "--run", "mine", "--weights", "none", "--gpu", "none")
    assert status == 1
    assert name in said
    assert (problem / "mine" / name).read_text() == "mine"


def test_the_template_does_not_write_over_nets_of_the_users(tmp_path, call):
    folder = tmp_path / "digits_lenet_24"
    arguments = ("net_template", "--dataset", "digits", "--net", "lenet", "--bits", 24, "--out", tmp_path)
    assert call(*arguments)[0] == 0
    assert call(*arguments)[0] == 0
    (folder / "deploy.prototxt").write_text("mine")
    status, said = call(*arguments)
    assert status == 1
    assert "deploy.prototxt is there and was not written by this program" in said
    assert (folder / "deploy.prototxt").read_text() == "mine"
