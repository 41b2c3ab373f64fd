"""codes.py: the >= 0.5 rule and packing."""

import numpy as np
import pytest

from basics.program import EvalError
from references import hamming_distance
from search.codes import binarise, pack, unpack


def test_half_is_a_one():
    """The paper's >=; the authors' script has >, which would give 0 for exactly 0.5."""
    below = np.nextafter(np.float32(0.5), np.float32(0))
    assert binarise(np.float32([[0.5, below, 0.9, 0.1]])).tolist() == [[True, False, True, False]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_any_float_precision(dtype):
    assert binarise(np.array([[0.25, 0.75]], dtype)).tolist() == [[False, True]]


def test_nan_is_an_error_that_names_the_row():
    latent = np.zeros((5, 3))
    latent[3, 1] = np.nan
    with pytest.raises(EvalError, match="row 3"):
        binarise(latent)


def test_wrong_shape_is_an_error():
    with pytest.raises(EvalError, match="shape"):
        binarise(np.zeros(4))


@pytest.mark.parametrize("bits, dtype, words", [
    (1, "u1", 1), (8, "u1", 1), (12, "u2", 1), (32, "u4", 1), (48, "u8", 1), (64, "u8", 1), (65, "u8", 2),
    (128, "u8", 2), (200, "u8", 4)])
def test_packed_codes_keep_every_distance(bits, dtype, words):
    rng = np.random.default_rng(bits)
    codes = rng.random((12, bits)) < 0.5
    packed = pack(codes)
    assert packed.shape == (12, words)
    assert packed.dtype == np.dtype(dtype)
    for i in range(12):
        for j in range(12):
            assert int(np.bitwise_count(packed[i] ^ packed[j]).sum()) == hamming_distance(codes[i], codes[j])


@pytest.mark.parametrize("bits", [1, 12, 48, 65])
def test_unpacking_undoes_packing(bits):
    codes = np.random.default_rng(bits).random((9, bits)) < 0.5
    assert np.array_equal(unpack(pack(codes), bits), codes)
