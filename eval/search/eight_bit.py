"""8-bit matrix products by oneDNN (libdnnl, a system package), called through its C interface."""

import ctypes
import ctypes.util
from functools import cache

import numpy as np

from basics.rows import block_slices

NAMES = ("libdnnl.so.3", "libdnnl.so.2")
FIXED = ctypes.byref(ctypes.c_int32(0))   # the offset added to every product
ROWS_AT_ONCE = 4096     # of the right side: a tenth faster than all at once, where they are many


@cache
def product_function():
    """dnnl_gemm_u8s8s32 as a ctypes function; None without the library, or where its sums are never exact."""
    for name in (ctypes.util.find_library("dnnl"), *NAMES):
        try:
            function = ctypes.CDLL(name).dnnl_gemm_u8s8s32 if name else None
        except (OSError, AttributeError):   # not installed, or built without it
            continue
        if function and largest_left(function):
            return function
    return None


def largest_left(function) -> int:
    """The largest number on the left for which sums are exact: 255, or 127, or 0 for none.

    Processors without VNNI add pairs of products in 16 bits, which 255 * 127 * 2 does not fit but 127 * 127 * 2 does.
    """
    return next((largest for largest in (255, 127) if _is_exact(function, largest)), 0)


def _is_exact(function, largest) -> bool:
    left, right = np.full((16, 256), largest, np.uint8), np.full((16, 256), 127, np.int8)
    result = np.empty((16, 16), np.int32)
    _call(function, left, right, result)
    return bool((result == largest * 127 * 256).all())


def _call(function, left, right, result):
    """left @ right.T into the columns `result` (M, N) of a C-contiguous array."""
    (rows, depth), columns = left.shape, len(right)
    size, factor, width = ctypes.c_int64, ctypes.c_float, result.strides[0] // result.itemsize
    status = function(ctypes.c_char(b"N"), ctypes.c_char(b"T"), ctypes.c_char(b"F"),
                      size(rows), size(columns), size(depth), factor(1),
                      left.ctypes.data_as(ctypes.c_void_p), size(depth), ctypes.c_uint8(0),
                      right.ctypes.data_as(ctypes.c_void_p), size(depth), ctypes.c_int8(0),
                      factor(0), result.ctypes.data_as(ctypes.c_void_p), size(width), FIXED)
    if status:
        raise RuntimeError(f"dnnl_gemm_u8s8s32 failed with status {status}")


def products(left: np.ndarray, right: np.ndarray, result: np.ndarray):
    """left @ right.T into result (M, N) int32; left (M, d) uint8, right (N, d) int8, all C-contiguous, d <= 65,000.

    Call it only where `product_function` gives one, with at most `largest_left` of it on the left.
    """
    for rows in block_slices(len(right), ROWS_AT_ONCE):
        _call(product_function(), left, right[rows], result[:, rows])
