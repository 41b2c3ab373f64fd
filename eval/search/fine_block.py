"""One block of the fine search: a float32 matrix product, then each query's selection in the order of float64.

|q - x|^2 = |q|^2 - 2 q.x + |x|^2. Where two distances are closer than the product's rounding error, they are computed
again in float64, so the order is that of float64 arithmetic; equal distances keep database order.
"""

import numpy as np

from basics.rows import block_slices, map_blocks

ROWS_PER_TASK = 32
GATHER_SHARE = 0.4          # a block whose pools cover less of the database multiplies only the covered rows
EXACT_ROWS = 4096           # whose differences are held at once
ERROR_PAIRS = 64            # products of a block that are compared with float64
ERROR_SIGMAS = 8            # of the error found there: no difference beyond that is taken for rounding


def rank_block(queries, query_norms, index, mask, top_k, threads):
    """(ids, euclidean, pool, off) of a block: one matrix product, then each query's selection, on threads.

    queries (B, d) float32 with their squared norms (B,); index: Fc7Index; mask (B, N) bool of candidates, None for all.
    The results are as in FineResult, but lists end where the pool does.
    """
    ids = np.zeros((len(queries), top_k), np.int32)
    euclidean = np.full((len(queries), top_k), np.nan, np.float32)
    pool = np.full(len(queries), len(index)) if mask is None else np.array([np.count_nonzero(row) for row in mask])
    columns, mask = _covered_columns(mask, len(index))
    gallery, norms = index.rows(columns, threads), index.norms[columns]
    if len(gallery) == 0:
        return ids, euclidean, pool, np.zeros(len(queries))  # every pool of this block is empty
    products = queries @ gallery.T
    errors = product_error(queries, gallery, products) * np.sqrt(query_norms)
    half_norms = (norms / 2).astype(np.float32)

    def work(part):
        for i in range(part.start, part.stop):
            candidates = None if mask is None else np.flatnonzero(mask[i])
            if pool[i] == 0:
                continue  # the whole list is filled from outside the pool
            chosen = nearest_roughly(products[i], half_norms, norms, candidates, top_k, errors[i])
            order, squared = nearest_exactly(products[i][chosen], norms[chosen], chosen, top_k, errors[i], queries[i],
                                             query_norms[i], gallery)
            ids[i, :len(order)] = order if isinstance(columns, slice) else columns[order]
            euclidean[i, :len(order)] = np.sqrt(np.maximum(squared, 0))

    map_blocks(work, len(queries), ROWS_PER_TASK, threads)
    return ids, euclidean, pool, squared_error(errors, norms)


def _covered_columns(mask, count):
    """(columns, mask of those): all columns, or only those in some query's pool where they are few."""
    if mask is None:
        return slice(None), None
    covered = mask.any(axis=0)
    if np.count_nonzero(covered) >= GATHER_SHARE * count:
        return slice(None), mask
    columns = np.flatnonzero(covered)
    return columns, mask[:, columns]


def product_error(queries, gallery, products):
    """Largest rounding error to reckon with in `products`, as a share of |q| |x|.

    Measured, since it depends on the BLAS: some products are computed again in float64, and errors of a
    random walk of roundings are normal, so none in 10^14 exceeds 8 times their root mean square.
    """
    rng = np.random.default_rng(0)
    i, j = rng.integers(0, len(queries), ERROR_PAIRS), rng.integers(0, len(gallery), ERROR_PAIRS)
    q, x = queries[i].astype(np.float64), gallery[j].astype(np.float64)
    scale = np.sqrt(np.einsum("nd,nd->n", q, q) * np.einsum("nd,nd->n", x, x))
    relative = np.divide(products[i, j] - np.einsum("nd,nd->n", q, x), scale, out=np.zeros(ERROR_PAIRS),
                         where=scale > 0)
    return ERROR_SIGMAS * np.sqrt(np.mean(relative ** 2)) + np.finfo(np.float64).eps


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
    off = squared_error(error, norms)
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
