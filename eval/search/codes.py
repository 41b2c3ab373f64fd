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
    return np.unpackbits(np.ascontiguousarray(packed).view(np.uint8), axis=1)[:, :bits]
