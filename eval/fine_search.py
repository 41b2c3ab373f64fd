"""Fine search: rank images by Euclidean distance between fc7 activations, nearest first.

`exhaustive` ranks the whole database (the paper's ES); `hierarchical` ranks the pool of images whose code is
within a Hamming radius, then fills up in Hamming order if the pool is smaller than the list asked for (HDL).

Distances come from blocked float32 matrix products, |q - x|^2 = |q|^2 - 2 q.x + |x|^2. Where two of them are
closer than the product's rounding error, they are computed again in float64, so the order is that of float64
arithmetic; equal distances keep database order.
"""

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from blocks import block_slices, map_blocks
from coarse_search import CodeIndex
from eval_errors import EvalError

BLOCK_BYTES = 1 << 27       # of float32 products held at once
QUERIES_PER_BLOCK = 1024
ROWS_PER_TASK = 32
GATHER_SHARE = 0.4          # a block whose pools cover less of the database multiplies only the covered rows
QUERIES_PER_GROUP = 500     # with like codes, searched together so that their pools overlap
ERROR_PAIRS = 64            # products of a block that are compared with float64
ERROR_SIGMAS = 8            # of the error found there: no difference beyond that is taken for rounding


@dataclass
class FineResult:
    """Ranked lists of a search with fc7.

    ids (Q, k) int32; euclidean (Q, k) float32, NaN where the list was filled from outside the pool;
    pool (Q,) images in each query's pool.
    """

    ids: np.ndarray
    euclidean: np.ndarray
    pool: np.ndarray

    @property
    def filled(self):
        """Queries whose pool was smaller than the list."""
        return int(np.count_nonzero(self.pool < self.ids.shape[1]))


class Fc7Index:
    """A database of fc7 activations (N, d) float32 or float16, in memory or memory-mapped, with its norms."""

    def __init__(self, db_fc7):
        self.fc7 = db_fc7
        self.norms = squared_norms(db_fc7, "database fc7")

    def __len__(self):
        return len(self.fc7)

    def rows(self, wanted, threads=None):
        """float32 activations of some rows; `slice(None)` gives all, without a copy where possible."""
        if isinstance(wanted, slice):
            return np.asarray(self.fc7[wanted], np.float32)
        gathered = np.empty((len(wanted), self.fc7.shape[1]), np.float32)

        def work(part):
            gathered[part] = self.fc7[wanted[part]]

        map_blocks(work, len(wanted), ROWS_PER_TASK, threads)
        return gathered


def squared_norms(fc7, what):
    """Squared Euclidean norms (N,) float64. Raises EvalError on NaN or infinity."""
    def work(rows):
        block = np.asarray(fc7[rows], np.float32)
        return np.einsum("nd,nd->n", block, block, dtype=np.float64)

    norms = np.concatenate(map_blocks(work, len(fc7), 1024, title=f"norms of {what}"))
    if not np.isfinite(norms).all():
        bad = np.flatnonzero(~np.isfinite(norms))
        raise EvalError(f"{what}: {len(bad)} rows hold NaN or infinity (first: row {bad[0]}): extract the features again")
    return norms


def exhaustive(query_fc7, index, top_k, threads=None):
    """The `top_k` nearest of the whole database for each query (FineResult)."""
    blocks = block_slices(len(query_fc7), query_block(len(index)))
    return _search(query_fc7, index, top_k, threads, "exhaustive fc7 search", blocks, lambda rows: None)


def hierarchical(query_fc7, index, top_k, code_index, query_codes, radius, nearest=None, threads=None):
    """Two-stage search: pool = database entries with Hamming distance < radius, ranked by fc7.

    radius: one number, or (Q,) one for each query. nearest: (ids, distances) of the coarse search with at
    least `top_k` columns, for filling; searched here if None. Returns a FineResult.
    """
    ids, _ = nearest or code_index.search(query_codes, top_k, threads)
    radius = np.broadcast_to(np.asarray(radius), len(query_codes))

    def pools(rows):
        return code_index.distances(query_codes[rows], threads) < radius[rows, None]

    blocks = like_queries(query_codes, query_block(len(index)))
    result = _search(query_fc7, index, top_k, threads, "two-stage search", blocks, pools)
    fill(result, ids[:, :top_k])
    return result


def fill(result, nearest_ids):
    """Fill lists whose pool is smaller than top_k in Hamming order, in place.

    Such a pool is exactly the first `pool` entries of the coarse ranking, so the entries after those follow.
    """
    outside = np.arange(result.ids.shape[1]) >= result.pool[:, None]
    result.ids[outside] = nearest_ids[outside]


def query_block(database):
    """Queries whose products with the whole database fit the memory of a block."""
    return max(1, min(QUERIES_PER_BLOCK, BLOCK_BYTES // (4 * database)))


def like_queries(query_codes, most):
    """Blocks (index arrays) of at most `most` queries with like codes: their pools overlap, so their union is small.

    Queries are grouped by the nearest of a few codes taken evenly from among them.
    """
    count = len(query_codes)
    groups = -(-count // QUERIES_PER_GROUP)
    pivots = CodeIndex(query_codes[np.linspace(0, count - 1, groups).astype(int)])
    group = pivots.search(query_codes, 1)[0][:, 0]
    members = [np.flatnonzero(group == g) for g in range(pivots.count)]
    return [rows[part] for rows in members for part in block_slices(len(rows), most)]


def _search(query_fc7, index, top_k, threads, title, blocks, pools):
    """Rank block by block; `pools(rows)` gives the (B, N) bool mask of candidates, or None for all."""
    if query_fc7.shape[1] != index.fc7.shape[1]:
        raise EvalError(f"query fc7 has {query_fc7.shape[1]} units but the database's has {index.fc7.shape[1]}: "
                        "extract both with one net")
    if not 1 <= top_k <= len(index):
        raise EvalError(f"top_k = {top_k} does not fit a database of {len(index)} entries: choose 1 to {len(index)}")
    count = len(query_fc7)
    result = FineResult(np.zeros((count, top_k), np.int32), np.full((count, top_k), np.nan, np.float32),
                        np.full(count, len(index)))
    query_norms = squared_norms(query_fc7, "query fc7")
    for rows in tqdm(blocks, desc=title, unit="block", delay=2, leave=False, disable=None):
        queries = np.asarray(query_fc7[rows], np.float32)
        found = _rank_block(queries, query_norms[rows], index, pools(rows), top_k, threads)
        for kept, ranked in zip((result.ids, result.euclidean, result.pool), found):
            kept[rows] = ranked
    return result


def _rank_block(queries, query_norms, index, mask, top_k, threads):
    """(ids, euclidean, pool) of a block: one matrix product, then each query's selection, on threads."""
    ids = np.zeros((len(queries), top_k), np.int32)
    euclidean = np.full((len(queries), top_k), np.nan, np.float32)
    pool = np.full(len(queries), len(index))
    columns = slice(None)
    if mask is not None:
        pool = np.array([np.count_nonzero(row) for row in mask])
        covered = mask.any(axis=0)
        if np.count_nonzero(covered) < GATHER_SHARE * len(index):
            columns = np.flatnonzero(covered)
            mask = mask[:, columns]
    gallery, norms = index.rows(columns, threads), index.norms[columns]
    if len(gallery) == 0:
        return ids, euclidean, pool  # every pool of this block is empty
    products = queries @ gallery.T
    errors = product_error(queries, gallery, products) * np.sqrt(query_norms)
    half_norms = (norms / 2).astype(np.float32)

    def work(part):
        for i in range(part.start, part.stop):
            candidates = None if mask is None else np.flatnonzero(mask[i])
            if pool[i] == 0:
                continue  # the whole list is filled from outside the pool
            chosen = _nearest_roughly(products[i], half_norms, norms, candidates, top_k, errors[i])
            order, squared = _nearest_exactly(products[i], norms, chosen, top_k, errors[i], queries[i], query_norms[i], gallery)
            ids[i, :len(order)] = order if isinstance(columns, slice) else columns[order]
            euclidean[i, :len(order)] = np.sqrt(np.maximum(squared, 0))

    map_blocks(work, len(queries), ROWS_PER_TASK, threads)
    return ids, euclidean, pool


def product_error(queries, gallery, products):
    """Largest rounding error to reckon with in `products`, as a share of |q| |x|.

    Measured, since it depends on the BLAS: some products are computed again in float64, and errors of a
    random walk of roundings are normal, so none in 10^14 exceeds 8 times their root mean square.
    """
    rng = np.random.default_rng(0)
    i, j = rng.integers(0, len(queries), ERROR_PAIRS), rng.integers(0, len(gallery), ERROR_PAIRS)
    q, x = queries[i].astype(np.float64), gallery[j].astype(np.float64)
    scale = np.sqrt(np.einsum("nd,nd->n", q, q) * np.einsum("nd,nd->n", x, x))
    relative = np.divide(products[i, j] - np.einsum("nd,nd->n", q, x), scale, out=np.zeros(ERROR_PAIRS), where=scale > 0)
    return ERROR_SIGMAS * np.sqrt(np.mean(relative ** 2)) + np.finfo(np.float64).eps


def _nearest_roughly(products, half_norms, norms, candidates, top_k, error):
    """Columns that may be among the `top_k` nearest, in database order. error: of the products, over |x|."""
    half = half_norms - products if candidates is None else half_norms[candidates] - products[candidates]
    if top_k >= len(half):
        return np.arange(len(half)) if candidates is None else candidates
    largest = norms.max()
    # both a limit and the values may be off by the product's error and by the rounding of half a norm
    margin = 2 * (error * np.sqrt(largest) + np.finfo(np.float32).eps * largest)
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


def _nearest_exactly(products, norms, chosen, top_k, error, query, query_norm, gallery):
    """The `top_k` nearest of the columns `chosen` in the order that float64 gives, and their squared distances.

    Those too close to a neighbour for the product's error, or to 0 for a distance right to a thousandth, are
    computed again as sums of squared differences, where nothing cancels.
    """
    kept_norms = norms[chosen]
    squared = query_norm + kept_norms - 2 * products[chosen].astype(np.float64)
    off = 2 * error * np.sqrt(kept_norms.max())
    order = np.argsort(squared, kind="stable")
    ranked = squared[order]
    close = np.diff(ranked) <= 2 * off
    doubtful = order[np.append(close, False) | np.append(False, close) | (ranked < 1000 * off)]
    if len(doubtful):
        difference = gallery[chosen[doubtful]].astype(np.float64)
        difference -= query
        squared[doubtful] = np.einsum("nd,nd->n", difference, difference)
        order = np.argsort(squared, kind="stable")
    order = order[:top_k]
    return chosen[order], squared[order]
