"""Binary hash codes: from latent activations to bits (paper, section 3.2) and to packed machine words."""

import numpy as np

from basics.program import EvalError

THRESHOLD = 0.5


def binarise(latent: np.ndarray) -> np.ndarray:
    """Bit j is 1 where the sigmoid output of latent unit j is >= 0.5 (the paper's >=, not its script's >).

    latent: (N, h) floats of any precision. Returns (N, h) bool. Raises EvalError on NaN or another shape.
    """
    latent = np.asarray(latent)
    if latent.ndim != 2 or latent.shape[1] == 0:
        raise EvalError(f"latent activations must have shape (images, bits), not {latent.shape}")
    if np.isnan(latent).any():
        rows = np.flatnonzero(np.isnan(latent).any(axis=1))
        raise EvalError(f"latent activations hold NaN in {len(rows)} rows (first: row {rows[0]}): "
                        "the training diverged or the features are damaged; extract them again")
    return latent >= THRESHOLD


def read_codes(array: np.ndarray, bits: int | None = None) -> np.ndarray:
    """(N, h) bool of codes as other tools store them.

    A column a bit: bool, or numbers that are all 0/1 or all -1/+1. Packed: uint8, eight bits a byte, the first bit the
    highest (np.packbits; what faiss and usearch take). bits: the code length, where known; packed codes without it are
    as long as their bytes. EvalError for anything else, and for uint8 that could be either.
    """
    array = np.asarray(array)
    if array.ndim != 2 or array.size == 0:
        raise EvalError(f"codes must have shape (images, bits) or, packed, (images, bytes), not {array.shape}")
    if array.dtype == np.uint8 and array.shape[1] != bits:
        return _unpacked(array, bits)
    if bits not in (None, array.shape[1]):
        raise EvalError(f"the codes have {array.shape[1]} columns but their length is given as {bits} bits")
    return array if array.dtype == bool else _ones(array)


def _ones(array):
    """Where numbers that say 0/1 or -1/+1 are 1."""
    if array.dtype.kind not in "biuf":
        raise EvalError(f"the codes hold {array.dtype} values, which are no numbers")
    ones, low = array == 1, array.min()
    if low not in (-1, 0, 1) or not (ones | (array == low)).all():
        raise EvalError("the codes hold other values than 0 and 1, or -1 and +1: cut them where a bit begins (0.5 for "
                        "sigmoid outputs, 0 for tanh), or store activations as latent.npy")
    return ones


def _unpacked(array, bits):
    if bits is None and array.max() <= 1:
        raise EvalError("the codes are uint8 and hold only 0 and 1, which may be bits or bytes: store bits as bool, or "
                        'give the code length as "bits" in meta.json')
    length = 8 * array.shape[1] if bits is None else bits
    if -(-length // 8) != array.shape[1]:
        raise EvalError(f"the codes have {array.shape[1]} columns: codes of {length} bits have {length} columns, or "
                        f"{-(-length // 8)} bytes")
    unpacked = np.unpackbits(array, axis=1).view(bool)
    if unpacked[:, length:].any():
        raise EvalError(f"the codes have 1 bits beyond their length of {length}: it is another, or the first bit is "
                        "not the highest of its byte")
    return unpacked[:, :length]


def word_dtype(bits: int) -> np.dtype:
    """The smallest unsigned integer that holds a code, at most 64 bits (longer codes take several words)."""
    return np.dtype(next((f"u{size}" for size in (1, 2, 4) if bits <= 8 * size), "u8"))


def pack(codes: np.ndarray) -> np.ndarray:
    """Pack (N, h) bool codes into (N, words) unsigned integers; unused bits are 0.

    XOR of two packed codes has as many 1 bits as the codes differ in: all that a Hamming search needs.
    """
    count, bits = codes.shape
    word = word_dtype(bits)
    words = -(-bits // (8 * word.itemsize))
    padded = np.zeros((count, words * word.itemsize), np.uint8)
    packed_bytes = np.packbits(codes, axis=1)
    padded[:, :packed_bytes.shape[1]] = packed_bytes
    return padded.view(word)


def unpack(packed: np.ndarray, bits: int) -> np.ndarray:
    """(N, bits) uint8 0/1 of packed codes: `pack` undone."""
    return np.unpackbits(as_bytes(packed, bits), axis=1)[:, :bits]


def as_bytes(packed: np.ndarray, bits: int) -> np.ndarray:
    """(N, bytes) uint8 of packed codes, as `read_codes`, faiss and usearch take them."""
    return np.ascontiguousarray(packed).view(np.uint8)[:, :-(-bits // 8)]
