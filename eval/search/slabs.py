"""The fine search over more rows than memory holds as float32: slab by slab, each query's nearest kept on the way.

Decisions are those of fine_block.py: nothing that float32 cannot tell from the nearest is dropped, and what is kept is
put in the order of float64 at the end.
"""

import numpy as np

from basics.rows import block_slices, map_blocks
from search.fine_block import error_margin, nearest_exactly, nearest_roughly, product_error, rank_block, squared_error

LARGE_BYTES = 1 << 30       # of float32 rows that are taken at once
SLAB_BYTES = 1 << 29        # of those of a slab
MOST_KEPT = 4               # times the list's length: more candidates of a query are decided before the next slab
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

    def offer(self, rows: np.ndarray, gallery: np.ndarray, mask: np.ndarray | None = None, some=slice(None),
              threads: int | None = None):
        """Take rows (n,) of the database, their activations (n, d) float32, for the queries `some`.

        mask (queries, n) bool: which of them are in each query's pool; None for all.
        """
        queries = self.queries[some]
        products = queries @ gallery.T
        self.error = max(self.error, product_error(queries, gallery, products))
        first = some.start or 0

        def work(part):
            for i in range(part.start, part.stop):
                self._take(first + i, rows, products[i], None if mask is None else mask[i])

        map_blocks(work, len(queries), QUERIES_PER_TASK, threads)

    def _take(self, query, rows, products, mask):
        half = self.half_norms[rows] - products
        near = half <= self.limits[query]
        near = np.flatnonzero(near if mask is None else near & mask)
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
        ids = np.zeros((len(self.queries), self.top_k), np.int32)
        euclidean = np.full(ids.shape, np.nan, np.float32)

        def work(part):
            for i in range(part.start, part.stop):
                if len(self.kept[i][0]):
                    order, squared = self._exactly(i, *self.kept[i])
                    ids[i, :len(order)], euclidean[i, :len(order)] = order, np.sqrt(np.maximum(squared, 0))

        map_blocks(work, len(self.queries), QUERIES_PER_TASK, threads)
        return ids, euclidean


def is_large(rows: int, units: int) -> bool:
    """Whether so many rows of float32 are too many to be taken at once."""
    return 4 * rows * units > LARGE_BYTES


def rank(queries: np.ndarray, query_norms: np.ndarray, index, mask: np.ndarray | None, top_k: int,
         threads: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """`rank_block`, in slabs where the block's pools cover too much of the database for memory."""
    units = queries.shape[1]
    if not is_large(len(index), units):
        return rank_block(queries, query_norms, index, mask, top_k, threads)
    columns = np.arange(len(index)) if mask is None else np.flatnonzero(mask.any(axis=0))
    if not is_large(len(columns), units):
        return rank_block(queries, query_norms, index, mask, top_k, threads)
    nearest = Nearest(queries, query_norms, index, top_k)
    for part in slabs(len(columns), units):
        rows = columns[part]
        nearest.offer(rows, index.rows(rows, threads), None if mask is None else mask[:, rows], threads=threads)
    pool = np.full(len(queries), len(index)) if mask is None else np.count_nonzero(mask, axis=1)
    return *nearest.ranked(threads), pool, nearest.off


def rank_all(queries: np.ndarray, query_norms: np.ndarray, index, top_k: int,
             threads: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ids, euclidean, off) of the whole database for many queries (B, d) float32: a slab comes to memory once."""
    nearest = Nearest(queries, query_norms, index, top_k)
    for slab in slabs(len(index), queries.shape[1]):
        gallery, rows = index.rows(slab), np.arange(slab.start, slab.stop)
        for some in block_slices(len(queries), QUERIES_PER_PRODUCT):
            nearest.offer(rows, gallery, some=some, threads=threads)
    return *nearest.ranked(threads), nearest.off
