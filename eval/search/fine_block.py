"""One block of the fine search: a float32 matrix product, then each query's selection in the order of float64.

|q - x|^2 = |q|^2 - 2 q.x + |x|^2. Where two distances are closer than the product's rounding error, they are computed
again in float64, so the order is that of float64 arithmetic; equal distances keep database order.
"""

from collections.abc import Callable

import numpy as np

from basics.rows import block_slices, map_blocks, release
from search import kernels

QUERIES_PER_TASK = 32
ROWS_PER_TASK = 256
GATHER_SHARE = 0.4          # a block whose pools cover less of the database multiplies only the covered rows
EXACT_ROWS = 4096           # whose differences are held at once
ERROR_PAIRS = 64            # products of a block that are compared with float64
ERROR_SIGMAS = 8            # of the error found there: no difference beyond that is taken for rounding


def rank_block(queries: np.ndarray, query_norms: np.ndarray, index, pools: list[np.ndarray] | None,
               columns: np.ndarray | None, top_k: int, threads: int | None = None
               ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ids, euclidean, pool) of a block: one matrix product, then each query's selection, on threads.

    queries (B, d) float32 with their squared norms (B,); index: Fc7Index; pools: each query's candidates, ascending
    ids, None for all; columns: all that are in some pool, ascending. The results are as in FineResult, but lists end
    where the pool does.
    """
    if columns is None or len(columns) >= GATHER_SHARE * len(index):
        columns = slice(None)
    gallery, norms = index.rows(columns, threads), index.norms[columns]
    products = queries @ gallery.T
    errors = product_error(queries, gallery, products) * np.sqrt(query_norms)
    half_norms = (norms / 2).astype(np.float32)

    def nearest(i):
        candidates = None if pools is None else pools[i]
        if candidates is not None and not isinstance(columns, slice):
            candidates = np.searchsorted(columns, candidates)
        chosen = nearest_roughly(products[i], half_norms, norms, candidates, top_k, errors[i])
        order, squared = nearest_exactly(products[i][chosen], norms[chosen], chosen, top_k, errors[i], queries[i],
                                         query_norms[i], gallery)
        return order if isinstance(columns, slice) else columns[order], squared

    return lists_of(nearest, pool_sizes(pools, len(queries), len(index)), top_k, threads)


def rank_pairs(queries: np.ndarray, query_norms: np.ndarray, index, pools: list[np.ndarray], top_k: int,
               threads: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`rank_block` for pools that share few entries: each query is multiplied with the rows of its own pool alone."""
    sizes = pool_sizes(pools, len(queries), len(index))
    ends = np.cumsum(sizes)
    row_of, query_of = np.concatenate(pools), np.repeat(np.arange(len(queries)), sizes)
    products = pair_products(queries, index.fc7, query_of, row_of, threads)
    some = np.random.default_rng(0).integers(0, max(1, len(row_of)), min(ERROR_PAIRS, len(row_of)))
    error = relative_error(queries[query_of[some]], np.asarray(index.fc7[row_of[some]]), products[some])

    def nearest(i):
        ids, own = pools[i], products[ends[i] - sizes[i]:ends[i]]
        norms, off = index.norms[ids], error * np.sqrt(query_norms[i])
        chosen = nearest_roughly(own, (norms / 2).astype(np.float32), norms, None, top_k, off)
        return nearest_exactly(own[chosen], norms[chosen], ids[chosen], top_k, off, queries[i], query_norms[i],
                               index.fc7)

    return lists_of(nearest, sizes, top_k, threads)


def lists_of(nearest: Callable, pool: np.ndarray, top_k: int, threads: int | None = None
             ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ids (B, top_k) int32, euclidean (B, top_k) float32, pool (B,)) from `nearest(query)`: ids, squared distances.

    It is not asked where the pool is empty; behind a pool's end stand 0 and NaN.
    """
    ids = np.zeros((len(pool), top_k), np.int32)
    euclidean = np.full(ids.shape, np.nan, np.float32)

    def work(part):
        for i in range(part.start, part.stop):
            if pool[i]:
                order, squared = nearest(i)
                ids[i, :len(order)], euclidean[i, :len(order)] = order, np.sqrt(np.maximum(squared, 0))

    map_blocks(work, len(pool), QUERIES_PER_TASK, threads)
    return ids, euclidean, pool


def pair_products(queries: np.ndarray, fc7: np.ndarray, query_of: np.ndarray, row_of: np.ndarray,
                  threads: int | None = None) -> np.ndarray:
    """Products (P,) float32 of queries (B, d) float32 with rows of fc7 (N, d) float16 or float32: of pairs (P,).

    Each row is read once, whichever queries want it.
    """
    pairs = np.argsort(row_of, kind="stable")
    wanted, starts = np.unique(row_of[pairs], return_index=True)
    starts = np.append(starts, len(pairs))
    products = np.empty(len(pairs), np.float32)
    kernel, rows = kernels.pair_products, fc7
    if fc7.dtype == np.float16:
        kernel, rows = kernels.pair_products_of_halves, fc7.view(np.uint16)

    def work(part):
        kernel(rows, wanted[part], starts[part.start:part.stop + 1], queries, pairs, query_of, products)
        release(fc7)

    map_blocks(work, len(wanted), ROWS_PER_TASK, threads)
    return products


def pool_sizes(pools: list[np.ndarray] | None, queries: int, count: int) -> np.ndarray:
    """(B,) entries in each query's pool."""
    return np.full(queries, count) if pools is None else np.array([len(pool) for pool in pools])


def rows_of(mask: np.ndarray, threads: int | None = None) -> list[np.ndarray]:
    """The candidates of each query, ascending ids, from mask (B, N) bool."""
    found = [None] * len(mask)

    def work(part):
        for i in range(part.start, part.stop):
            found[i] = np.flatnonzero(mask[i])

    map_blocks(work, len(mask), QUERIES_PER_TASK, threads)
    return found


def union_of(pools: list[np.ndarray], count: int) -> np.ndarray:
    """All entries of some pool, ascending ids."""
    marks = np.zeros(count, bool)
    for pool in pools:
        marks[pool] = True
    return np.flatnonzero(marks)


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


def error_margin(error, largest):
    """What half squared distances of rows, whose largest squared norm is `largest`, may be off by.

    A limit and the values compared with it may both be wrong by the product's error, and by the rounding of half a
    norm.
    """
    return 2 * (error * np.sqrt(largest) + np.finfo(np.float32).eps * largest)


def nearest_roughly(products, half_norms, norms, candidates, top_k, error):
    """Columns that may be among the `top_k` nearest, in database order. error: of the products, over |x|."""
    half = half_norms - products if candidates is None else half_norms[candidates] - products[candidates]
    if top_k >= len(half):
        return np.arange(len(half)) if candidates is None else candidates
    margin = error_margin(error, norms.max())
    near = np.flatnonzero(half <= _sampled_limit(half, top_k) + margin)
    if len(near) < top_k:  # the sample misled
        near = np.arange(len(half))
    values = half[near]
    near = near[values <= np.partition(values, top_k - 1)[top_k - 1] + margin]
    return near if candidates is None else candidates[near]


def _sampled_limit(values, top_k):
    """A limit with very likely `top_k` values up to it, and not many more: a partition of all values is slow.

    If at least `top_k` values are within it, it is no less than the `top_k`-th smallest.
    """
    sample = values[::max(1, len(values) // 4096)]
    expected = top_k * len(sample) / len(values)
    rank = int(expected + 3 * np.sqrt(expected)) + 1
    return np.partition(sample, rank)[rank] if rank < len(sample) else np.inf


def nearest_exactly(products, norms, chosen, top_k, error, query, query_norm, gallery):
    """The `top_k` nearest of the rows `chosen` of `gallery` in float64's order, and their squared distances.

    products, norms: of the chosen, with the query, and their squared norms. Those too close to a neighbour for the
    product's error, or to 0 for a distance right to a thousandth, are computed again as sums of squared differences,
    where nothing cancels.
    """
    squared = query_norm + norms - 2 * products.astype(np.float64)
    off = 2 * error * np.sqrt(norms.max())
    order = np.argsort(squared, kind="stable")
    ranked = squared[order]
    close = np.diff(ranked) <= 2 * off
    doubtful = order[np.append(close, False) | np.append(False, close) | (ranked < 1000 * off)]
    if len(doubtful):
        for part in block_slices(len(doubtful), EXACT_ROWS):
            difference = gallery[chosen[doubtful[part]]].astype(np.float64)
            difference -= query
            squared[doubtful[part]] = np.einsum("nd,nd->n", difference, difference)
        order = np.argsort(squared, kind="stable")
    order = order[:top_k]
    return chosen[order], squared[order]
