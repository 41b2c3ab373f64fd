"""Features that no net of this kind gives are refused: what is ranked by them would be a wrong number."""
import os

import numpy as np
import pytest

from basics.files import read_json, write_text
from basics.program import EvalError
from search.feature_set import load_split

COUNT, BITS, UNITS = 12, 8, 16


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "latent.npy", rng.random((COUNT, BITS), np.float32))
    np.save(tmp_path / "fc7.npy", rng.random((COUNT, UNITS), np.float32))
    np.save(tmp_path / "labels.npy", np.arange(COUNT) % 3)
    np.save(tmp_path / "predictions.npy", np.arange(COUNT) % 3)
    np.save(tmp_path / "thumbs.npy", np.zeros((COUNT, 4, 4, 3), np.uint8))
    return tmp_path


def one_of(shape, value):
    array = np.full(shape, 0.5, np.float32)
    array[7, 3] = value
    return array


@pytest.mark.parametrize("name, array, message", [
    ("latent", one_of((COUNT, BITS), -0.1), "goes from -0.1 to 0.5: latent activations are sigmoid"),
    ("latent", one_of((COUNT, BITS), 255), "goes from 0.5 to 255"),
    ("latent", one_of((COUNT, BITS), np.inf), "goes from 0.5 to inf"),
    ("fc7", one_of((COUNT, UNITS), 1e30), "row 7 has NaN or infinity, or values above"),
    ("fc7", one_of((COUNT, UNITS), np.nan), "row 7 has NaN or infinity"),
    ("fc7", one_of((COUNT, UNITS), -np.inf), "row 7 has NaN or infinity"),
    ("fc7", np.zeros((COUNT, UNITS), np.int64), "holds int64"),
    ("predictions", np.zeros((COUNT, 1), np.int64), r"shape \(12, 1\): a class number"),
    ("predictions", np.zeros(COUNT, np.float32), "holds float32"),
    ("thumbs", np.zeros((COUNT, 4), np.uint8), "pictures are"),
    ("thumbs", np.zeros((COUNT, 4, 4, 3), np.float32), "pictures are"),
    ("labels", np.array(["a"] * COUNT), "rows of numbers")])
def test_arrays_of_other_values_are_refused_by_name(folder, name, array, message):
    load_split(folder)
    np.save(folder / f"{name}.npy", array)
    with pytest.raises(EvalError, match=f"{name}.npy.*{message}"):
        load_split(folder)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff", b"PK\x03\x04", b"\0" * 500,
                                     b"\x93NUMPY\x01\x00\x06\x00{'a':(" + b"(" * 300])
def test_what_is_no_array(folder, content):
    (folder / "fc7.npy").write_bytes(content)
    with pytest.raises(EvalError, match="fc7.npy is not a readable .npy file"):
        load_split(folder)


def test_a_fifo_is_not_waited_for(folder):
    (folder / "fc7.npy").unlink()
    os.mkfifo(folder / "fc7.npy")
    with pytest.raises(EvalError, match="fc7.npy is no file but"):
        load_split(folder)


@pytest.mark.parametrize("content", [b"[1]", b'{"classes": 5}', b'{"bits": "x"}', b'{"a": NaN}', b"\xff", b"[" * 99999])
def test_a_meta_json_of_another_form(folder, content):
    (folder / "meta.json").write_bytes(content)
    with pytest.raises(EvalError, match="meta.json"):
        load_split(folder)


def test_names_that_are_no_utf8_and_lines_that_only_unicode_knows(folder):
    (folder / "ids.txt").write_bytes(b"caf\xe9.png\nline\xe2\x80\xa8two.png\n" + b"x\n" * (COUNT - 2))
    split = load_split(folder)
    assert split.image_id(0) == "caf\\xe9.png"
    write_text(folder / "page.html", split.image_id(1) + "\udce9")
    (folder / "meta.json").write_text('{"classes": ["caf\\udce9"]}')
    assert read_json(folder / "meta.json") == {"classes": ["caf?"]}
