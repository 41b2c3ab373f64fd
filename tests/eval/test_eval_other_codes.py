"""Codes of other tools in place of latent.npy, and the codes that an evaluation leaves for other tools."""

import json

import numpy as np
import pytest
from evaluation_cases import call, run

from basics.program import EvalError
from search.codes import read_codes
from search.feature_set import load_features, load_split

FORMS = {
    "bool": lambda bits: bits,
    "int64 0/1": lambda bits: bits.astype(np.int64),
    "float32 -1/+1": lambda bits: np.where(bits, np.float32(1), np.float32(-1)),
    "int8 -1/+1": lambda bits: np.where(bits, np.int8(1), np.int8(-1)),
    "packed": lambda bits: np.packbits(bits, axis=1),
}


@pytest.fixture
def bits():
    return np.random.default_rng(3).random((50, 16)) < 0.5


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_same_codes(bits, form):
    assert np.array_equal(read_codes(FORMS[form](bits)), bits)


def test_a_length_that_is_no_multiple_of_eight_comes_from_meta(bits):
    assert np.array_equal(read_codes(np.packbits(bits[:, :11], axis=1), 11), bits[:, :11])


def test_uint8_of_the_code_length_is_a_column_a_bit(bits):
    assert np.array_equal(read_codes(bits.astype(np.uint8), 16), bits)


@pytest.mark.parametrize("array, length, said", [
    (np.zeros((3, 8), np.uint8), None, "may be bits or bytes"),
    (np.array([[1.0, 0.0, -1.0]]), None, "other values"),
    (np.array([[0.2, 0.7]]), None, "other values"),
    (np.array([[1.0, np.nan]]), None, "other values"),
    (np.array([[2, 1]]), None, "other values"),
    (np.ones((2, 3), bool), 4, "3 columns but their length is given as 4"),
    (np.full((2, 3), 255, np.uint8), 40, "40 columns, or 5 bytes"),
    (np.full((2, 2), 255, np.uint8), 11, "1 bits beyond their length of 11"),
    (np.zeros(4), None, "shape"),
    (np.zeros((4, 0)), None, "shape"),
    (np.array([["a"]]), None, "no numbers"),
])
def test_what_is_no_code_is_refused(array, length, said):
    with pytest.raises(EvalError, match=said):
        read_codes(array, length)


@pytest.mark.parametrize("form", FORMS)
def test_an_evaluation_of_such_codes_equals_that_of_the_activations(features, tmp_path, form):
    wanted = run(features, tmp_path / "activations")
    for split in ("train", "test"):
        latent = features / split / "latent.npy"
        np.save(features / split / "codes.npy", FORMS[form](np.load(latent) >= 0.5))
        latent.unlink()
    found = run(features, tmp_path / "codes")
    for part in (wanted, found):
        for search in [part["two_stage"], *part["searches"].values()]:
            search.pop("seconds")
        part.pop("cost")
    assert found == wanted


def test_codes_beside_activations_are_refused(features):
    np.save(features / "train/codes.npy", np.ones((40, 8), bool))
    with pytest.raises(EvalError, match="both latent.npy and codes.npy"):
        load_split(features / "train")


def test_codes_of_two_lengths_are_refused(features):
    for split, count, length in (("train", 40, 8), ("test", 10, 9)):
        (features / split / "latent.npy").unlink()
        np.save(features / split / "codes.npy", np.ones((count, length), bool))
    with pytest.raises(EvalError, match="codes of 9 bits but .* of 8"):
        load_features(features)


def test_the_evaluation_leaves_packed_codes_and_makes_lost_ones_again(features, tmp_path, capsys):
    out = tmp_path / "out"
    call(features, out, "--baselines", "none")
    wanted = {split: np.packbits(np.load(features / split / "latent.npy") >= 0.5, axis=1)
              for split in ("train", "test")}
    for split in wanted:
        assert np.array_equal(np.load(out / f"codes-{split}.npy"), wanted[split])
    np.save(out / "codes-test.npy", wanted["train"])
    (out / "codes-train.npy").unlink()
    call(features, out, "--baselines", "none", "--if-changed")
    for split in wanted:
        assert np.array_equal(np.load(out / f"codes-{split}.npy"), wanted[split])
    capsys.readouterr()
    call(features, out, "--baselines", "none", "--if-changed")
    assert "kept" in capsys.readouterr().out


def test_its_codes_are_read_back_as_features(features, tmp_path):
    wanted = run(features, tmp_path / "out")["map"]
    for split in ("train", "test"):
        (features / split / "latent.npy").unlink()
        (tmp_path / f"out/codes-{split}.npy").rename(features / split / "codes.npy")
        (features / split / "meta.json").write_text(json.dumps({"bits": 8}))
    assert run(features, tmp_path / "again")["map"] == wanted
