"""Products of queries and rows of fc7, and their rounding errors: of all pairs of a block, or of some.

Products are float32, whose sums round; `relative_error` measures by how much, and what is closer than that is decided
by `squared_distances` in float64.
"""

import numpy as np

from basics.rows import map_blocks, release
from search import kernels

ROWS_PER_TASK = 256
PADDING = 16                # floats: 64 bytes, a line of a cache
ERROR_PAIRS = 64            # products that are compared with float64
ERROR_SIGMAS = 8            # of the error found there: no difference beyond that is taken for rounding


def pair_products(queries: np.ndarray, fc7: np.ndarray, query_of: np.ndarray, row_of: np.ndarray,
                  threads: int | None = None) -> np.ndarray:
    """Products (P,) float32 of queries (B, d) float32 with rows of fc7 (N, d) float16 or float32: of pairs (P,).

    Each row is read once, whichever queries want it. Fetching rows that many want for a product of matrices was tried:
    it took as long.
    """
    pairs = np.argsort(row_of)
    ordered = row_of[pairs]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    wanted, starts = ordered[starts], np.append(starts, len(pairs))
    products = np.zeros(len(pairs), np.float32)
    rows, parts = readable(fc7), parts_of(queries)

    def work(part):
        kernels.pair_products(rows, wanted[part], starts[part.start:part.stop + 1], parts, pairs, query_of, products)
        release(fc7)

    map_blocks(work, len(wanted), ROWS_PER_TASK, threads)
    return products


def parts_of(queries: np.ndarray) -> np.ndarray:
    """queries (B, d) as (parts, B, kernels.UNITS + PADDING): the units of a part lie together.

    In their place the same units of all queries are a power of two apart, which a cache has few places for.
    """
    count, units = queries.shape
    size = kernels.UNITS
    parts = np.zeros((-(-units // size), count, size + PADDING), np.float32)
    for number, begin in enumerate(range(0, units, size)):
        part = queries[:, begin:begin + size]
        parts[number, :, :part.shape[1]] = part
    return parts


def squared_distances(fc7: np.ndarray, row_of: np.ndarray, queries: np.ndarray, query_of: np.ndarray) -> np.ndarray:
    """Squared distances (P,) float64 of pairs: rows of fc7 (N, d) float16 or float32, queries (B, d).

    As sums of squared differences, where nothing cancels: whatever is decided by float64 is decided by these.
    """
    squared = np.empty(len(row_of))
    kernels.squared_distances(readable(fc7), row_of, queries, query_of, squared)
    return squared


def readable(fc7: np.ndarray) -> np.ndarray:
    """fc7 (N, d) float32 or float16 as the kernels take it: numba has no float16 of its own."""
    return fc7.view(np.uint16) if fc7.dtype == np.float16 else fc7


def product_error(queries: np.ndarray, gallery: np.ndarray, products: np.ndarray) -> float:
    """`relative_error` of all products (B, n), from some."""
    rng = np.random.default_rng(0)
    i, j = rng.integers(0, len(queries), ERROR_PAIRS), rng.integers(0, len(gallery), ERROR_PAIRS)
    return relative_error(queries[i], gallery[j], products[i, j])


def relative_error(queries: np.ndarray, rows: np.ndarray, products: np.ndarray) -> float:
    """Largest rounding error to reckon with in products of queries with rows, as a share of |q| |x|.

    Measured on the products (n,) of queries (n, d) with rows (n, d), since it depends on the BLAS: they are computed
    again in float64, and errors of a random walk of roundings are normal, so none in 10^14 exceeds 8 times their root
    mean square.
    """
    q, x = queries.astype(np.float64), rows.astype(np.float64)
    scale = np.sqrt(np.einsum("nd,nd->n", q, q) * np.einsum("nd,nd->n", x, x))
    relative = np.divide(products - np.einsum("nd,nd->n", q, x), scale, out=np.zeros(len(products)), where=scale > 0)
    return ERROR_SIGMAS * np.sqrt(np.mean(relative ** 2)) + np.finfo(np.float64).eps
