"""One block of the fine search: a float32 matrix product, then each query's selection in the order of float64.

|q - x|^2 = |q|^2 - 2 q.x + |x|^2. Where two distances are closer than the product's rounding error, they are computed
again in float64, so the order is that of float64 arithmetic; equal distances keep database order.
"""

from collections.abc import Callable

import numpy as np

from basics.rows import map_blocks, release
from search import kernels
from search.products import ERROR_PAIRS, pair_products, product_error, readable, relative_error

QUERIES_PER_TASK = 32
GATHER_SHARE = 0.4          # a block whose pools cover less of the database multiplies only the covered rows


def rank_block(queries: np.ndarray, query_norms: np.ndarray, index, pools: list[np.ndarray] | None,
               columns: np.ndarray | None, top_k: int, threads: int | None = None
               ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(ids, euclidean, pool, off) of a block: one matrix product, then each query's selection, on threads.

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

    return lists_of(nearest, pool_sizes(pools, len(queries), len(index)), top_k, threads, squared_error(errors, norms))


def rank_pairs(queries: np.ndarray, query_norms: np.ndarray, index, pools: list[np.ndarray], top_k: int,
               threads: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """`rank_block` for pools that share few entries: each query is multiplied with the rows of its own pool alone."""
    sizes = pool_sizes(pools, len(queries), len(index))
    ends = np.cumsum(sizes)
    row_of, query_of = np.concatenate(pools), np.repeat(np.arange(len(queries)), sizes)
    products = pair_products(queries, index.fc7, query_of, row_of, threads)
    some = np.random.default_rng(0).integers(0, max(1, len(row_of)), min(ERROR_PAIRS, len(row_of)))
    error = relative_error(queries[query_of[some]], index.rows(row_of[some]), products[some])

    def nearest(i):
        ids, own = pools[i], products[ends[i] - sizes[i]:ends[i]]
        norms, off = index.norms[ids], error * np.sqrt(query_norms[i])
        chosen = nearest_roughly(own, (norms / 2).astype(np.float32), norms, None, top_k, off)
        found = nearest_exactly(own[chosen], norms[chosen], ids[chosen], top_k, off, queries[i], query_norms[i],
                                index.fc7)
        release(index.fc7)
        return found

    off = squared_error(error * np.sqrt(query_norms), index.norms[row_of])
    return lists_of(nearest, sizes, top_k, threads, off)


def lists_of(nearest: Callable, pool: np.ndarray, top_k: int, threads: int | None = None,
             off: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(ids (B, top_k) int32, euclidean (B, top_k) float32, pool (B,), off (B,)) from `nearest(query)`: ids, squared.

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
    return ids, euclidean, pool, np.zeros(len(pool)) if off is None else off


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


def error_margin(error, largest):
    """What half squared distances of rows, whose largest squared norm is `largest`, may be off by.

    A limit and the values compared with it may both be wrong by the product's error, and by the rounding of half a
    norm.
    """
    return 2 * (error * np.sqrt(largest) + np.finfo(np.float32).eps * largest)


def squared_error(errors, norms):
    """What a squared distance of a row with these squared norms may be off by, by the errors of products over |x|."""
    return 2 * errors * np.sqrt(norms.max())


def nearest_roughly(products, half_norms, norms, candidates, top_k, error):
    """Columns that may be among the `top_k` nearest, in database order. error: of the products, over |x|."""
    half = half_norms - products if candidates is None else half_norms[candidates] - products[candidates]
    if top_k >= len(half):
        return np.arange(len(half)) if candidates is None else candidates
    near = kernels.places_of_nearest(half, top_k, error_margin(error, norms.max()))
    return near if candidates is None else candidates[near]


def nearest_exactly(products, norms, chosen, top_k, error, query, query_norm, gallery):
    """The `top_k` nearest of the rows `chosen` of `gallery` in float64's order, and their squared distances.

    products, norms: of the chosen, with the query, and their squared norms. Those too close to a neighbour for the
    product's error, or to 0 for a distance right to a thousandth, are computed again as sums of squared differences,
    where nothing cancels.
    """
    squared = query_norm + norms - 2 * products.astype(np.float64)
    off = squared_error(error, norms)
    order = kernels.decide(squared, np.argsort(squared), off, readable(gallery), chosen, query)
    order = order[:top_k]
    return chosen[order], squared[order]
