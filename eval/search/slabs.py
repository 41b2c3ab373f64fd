"""The fine search over more rows than memory holds as float32: slab by slab, each query's nearest kept on the way.

Decisions are those of fine_block.py: nothing that float32 cannot tell from the nearest is dropped, and what is kept is
put in the order of float64 at the end.
"""

import numpy as np

from basics.rows import block_slices, map_blocks, release
from search.fine_block import (
    error_margin,
    lists_of,
    nearest_exactly,
    nearest_roughly,
    pool_sizes,
    rank_block,
    rank_pairs,
    squared_error,
    union_of,
)
from search.products import product_error

LARGE_BYTES = 1 << 30       # of float32 rows that are taken at once
SLAB_BYTES = 1 << 29        # of those of a slab
MOST_KEPT = 4               # times the list's length: more candidates of a query are decided before the next slab
PAIRS_SHARE = 0.25          # of a block's products: with fewer wanted, a product of matrices makes too many others
FEW_QUERIES = 3             # gathering rows for a product of matrices takes longer than their own products
QUERIES_PER_TASK = 32
QUERIES_PER_PRODUCT = 1024


def slabs(count: int, units: int) -> list[slice]:
    """Consecutive rows, as many as a slab holds."""
    rows = max(1, SLAB_BYTES // (4 * units))
    return [slice(start, min(start + rows, count)) for start in range(0, count, rows)]


class Nearest:
    """The nearest rows of some queries among those offered so far.

    queries (B, d) float32 with their squared norms (B,); index: Fc7Index. Rows are offered in database order.
    """

    def __init__(self, queries: np.ndarray, query_norms: np.ndarray, index, top_k: int):
        self.queries, self.query_norms, self.index, self.top_k = queries, query_norms, index, top_k
        self.half_norms = (index.norms / 2).astype(np.float32)
        self.error = 0.0         # of a product, as a share of both lengths: the largest seen
        self.kept = [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries)   # (ids, products) of each query
        self.limits = np.full(len(queries), np.inf, np.float32)    # of half a distance: beyond it no row is of use

    def offer(self, rows: np.ndarray, gallery: np.ndarray, pools: list[np.ndarray] | None = None, some=slice(None),
              threads: int | None = None):
        """Take rows (n,) of the database, ascending, their activations (n, d) float32, for the queries `some`.

        pools: each query's candidates in the whole database, ascending ids; None for all.
        """
        queries = self.queries[some]
        products = queries @ gallery.T
        self.error = max(self.error, product_error(queries, gallery, products))
        first = some.start or 0

        def work(part):
            for i in range(part.start, part.stop):
                places = slice(None) if pools is None else places_in(rows, pools[i])
                self._take(first + i, rows[places], products[i, places])

        map_blocks(work, len(queries), QUERIES_PER_TASK, threads)

    def _take(self, query, rows, products):
        near = np.flatnonzero(self.half_norms[rows] - products <= self.limits[query])
        ids, kept = self.kept[query]
        ids, kept = np.concatenate([ids, rows[near]]), np.concatenate([kept, products[near]])
        chosen = self._roughly(query, ids, kept)
        if len(chosen) > MOST_KEPT * self.top_k:
            chosen = np.sort(self._exactly(query, ids[chosen], kept[chosen])[0])
            chosen = np.searchsorted(ids, chosen)
        self.kept[query] = ids[chosen], kept[chosen]
        if len(chosen) >= self.top_k:
            half = self.half_norms[ids[chosen]] - kept[chosen]
            margin = error_margin(self._error_of(query), self.index.norms[ids[chosen]].max())
            self.limits[query] = np.partition(half, self.top_k - 1)[self.top_k - 1] + margin

    def _error_of(self, query):
        return self.error * np.sqrt(self.query_norms[query])

    def _roughly(self, query, ids, products):
        if len(ids) <= self.top_k:
            return np.arange(len(ids))
        return nearest_roughly(products, self.half_norms[ids], self.index.norms[ids], None, self.top_k,
                               self._error_of(query))

    def _exactly(self, query, ids, products):
        """(ids, squared distances) of the `top_k` nearest, in their order."""
        return nearest_exactly(products, self.index.norms[ids], ids, self.top_k, self._error_of(query),
                               self.queries[query], self.query_norms[query], self.index.fc7)

    @property
    def off(self) -> np.ndarray:
        """(B,) what the squared distances may be off by."""
        return squared_error(self._error_of(slice(None)), self.index.norms)

    def ranked(self, threads: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(ids (B, top_k) int32, euclidean (B, top_k) float32) of what was offered; 0 and NaN behind a pool's end."""
        sizes = pool_sizes([ids for ids, _ in self.kept], len(self.queries), len(self.index))
        return lists_of(lambda i: self._exactly(i, *self.kept[i]), sizes, self.top_k, threads)[:2]


def places_in(rows: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Where the members of `pool` from the first of `rows` to the last stand in it; both ascending."""
    first, last = np.searchsorted(pool, (rows[0], rows[-1] + 1))
    return np.searchsorted(rows, pool[first:last])


def is_large(rows: int, units: int) -> bool:
    """Whether so many rows of float32 are too many to be taken at once."""
    return 4 * rows * units > LARGE_BYTES


def rank(queries: np.ndarray, query_norms: np.ndarray, index, pools: list[np.ndarray] | None, top_k: int,
         threads: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(ids, euclidean, pool, off) of a block, by whichever way is fast: `rank_block`, `rank_pairs`, or in slabs.

    In slabs where the pools share many entries, and together cover too much of the database for memory.
    """
    columns = None if pools is None else union_of(pools, len(index))
    sizes = pool_sizes(pools, len(queries), len(index))
    if not sizes.any():      # nothing to be ranked: all lists are filled from outside the pool
        return lists_of(None, sizes, top_k)
    few = len(queries) <= FEW_QUERIES
    if pools is not None and (few or sizes.sum() <= PAIRS_SHARE * len(queries) * len(columns)):
        return rank_pairs(queries, query_norms, index, pools, top_k, threads)
    if not is_large(len(index) if columns is None else len(columns), queries.shape[1]):
        return rank_block(queries, query_norms, index, pools, columns, top_k, threads)
    columns = np.arange(len(index)) if columns is None else columns
    nearest = Nearest(queries, query_norms, index, top_k)
    for part in slabs(len(columns), queries.shape[1]):
        nearest.offer(columns[part], index.rows(columns[part], threads), pools, threads=threads)
    return *nearest.ranked(threads), sizes, nearest.off


def rank_all(queries: np.ndarray, query_norms: np.ndarray, index, top_k: int,
             threads: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ids, euclidean, off) of the whole database for many queries (B, d) float32: a slab comes to memory once."""
    nearest = Nearest(queries, query_norms, index, top_k)
    for slab in slabs(len(index), queries.shape[1]):
        gallery, rows = index.rows(slab), np.arange(slab.start, slab.stop)
        for some in block_slices(len(queries), QUERIES_PER_PRODUCT):
            nearest.offer(rows, gallery, some=some, threads=threads)
        release(index.fc7)
    return *nearest.ranked(threads), nearest.off
