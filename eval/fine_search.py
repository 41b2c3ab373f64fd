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
from eval_errors import EvalError

BLOCK_BYTES = 1 << 27       # of float32 distances held at once
ROWS_PER_TASK = 16
GATHER_SHARE = 0.5          # a block whose pools cover less of the database multiplies only the covered rows


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

    def rows(self, wanted):
        """float32 activations of some rows; `slice(None)` gives all, without a copy where possible."""
        return np.asarray(self.fc7[wanted], np.float32)


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
    return _search(query_fc7, index, top_k, threads, "exhaustive fc7 search",
                   lambda rows: None)


def hierarchical(query_fc7, index, top_k, code_index, query_codes, radius, nearest=None, threads=None):
    """Two-stage search: pool = database entries with Hamming distance < radius, ranked by fc7.

    radius: one number, or (Q,) one for each query. nearest: (ids, distances) of the coarse search with at
    least `top_k` columns, for filling; searched here if None. Returns a FineResult.
    """
    ids, _ = nearest or code_index.search(query_codes, top_k, threads)
    radius = np.broadcast_to(np.asarray(radius), len(query_codes))

    def pools(rows):
        return code_index.distances(query_codes[rows]) < radius[rows, None]

    result = _search(query_fc7, index, top_k, threads, "two-stage search", pools)
    fill(result, ids[:, :top_k])
    return result


def fill(result, nearest_ids):
    """Fill lists whose pool is smaller than top_k in Hamming order, in place.

    Such a pool is exactly the first `pool` entries of the coarse ranking, so the entries after those follow.
    """
    position = np.arange(result.ids.shape[1])
    outside = position >= result.pool[:, None]
    result.ids[outside] = nearest_ids[outside]


def _search(query_fc7, index, top_k, threads, title, pools):
    """Rank in blocks of queries; `pools(rows)` gives the (B, N) bool mask of candidates, or None for all."""
    if query_fc7.shape[1] != index.fc7.shape[1]:
        raise EvalError(f"query fc7 has {query_fc7.shape[1]} units but the database's has {index.fc7.shape[1]}: "
                        "extract both with one net")
    if not 1 <= top_k <= len(index):
        raise EvalError(f"top_k = {top_k} does not fit a database of {len(index)} entries: choose 1 to {len(index)}")
    count = len(query_fc7)
    result = FineResult(np.zeros((count, top_k), np.int32), np.full((count, top_k), np.nan, np.float32),
                        np.full(count, len(index)))
    query_norms = squared_norms(query_fc7, "query fc7")
    block = max(1, min(1024, BLOCK_BYTES // (4 * len(index))))
    for rows in tqdm(block_slices(count, block), desc=title, unit="block", delay=2, leave=False):
        _rank_block(result, rows, query_fc7, query_norms[rows], index, pools(rows), threads)
    return result


def _rank_block(result, rows, query_fc7, query_norms, index, mask, threads):
    """Fill `rows` of the result: one matrix product, then each query's selection on its own thread."""
    queries = np.asarray(query_fc7[rows], np.float32)
    columns = slice(None)
    if mask is not None:
        result.pool[rows] = mask.sum(axis=1)
        covered = mask.any(axis=0)
        if covered.mean() < GATHER_SHARE:
            columns = np.flatnonzero(covered)
            mask = mask[:, columns]
    gallery, gallery_norms = index.rows(columns), index.norms[columns]
    if len(gallery) == 0:
        return  # every pool of this block is empty
    products = queries @ gallery.T
    errors = product_error(query_norms, gallery_norms.max(), queries.shape[1])
    half_norms = (gallery_norms / 2).astype(np.float32)
    top_k = result.ids.shape[1]

    def work(part):
        for i in range(part.start, part.stop):
            candidates = None if mask is None else np.flatnonzero(mask[i])
            if candidates is not None and len(candidates) == 0:
                continue  # the whole list is filled from outside the pool
            row = products[i] if candidates is None else products[i, candidates]
            # |x|^2 / 2 - q.x orders like the distance
            half = (half_norms if candidates is None else half_norms[candidates]) - row
            order, distances = exact_nearest(half, top_k, errors[i], queries[i], query_norms[i], gallery, candidates)
            found = order if candidates is None else candidates[order]
            target = rows.start + i
            result.ids[target, :len(found)] = found if isinstance(columns, slice) else columns[found]
            result.euclidean[target, :len(found)] = np.sqrt(np.maximum(distances, 0))

    map_blocks(work, len(queries), ROWS_PER_TASK, threads)


def product_error(query_norms, largest_norm, dimension):
    """Bound on the float32 rounding error of |x|^2 / 2 - q.x, for each query (Q,).

    A sum of d products is off by about sqrt(d) roundings of its largest partial sum |q| |x| (Higham and Mary,
    2019, whose probabilistic bound has a factor that we take as 4), and |x|^2 / 2 by one rounding more.
    """
    unit = np.finfo(np.float32).eps / 2
    return unit * (4 * np.sqrt(dimension) * np.sqrt(query_norms * largest_norm) + largest_norm)


def exact_nearest(values, top_k, error, query, query_norm, gallery, candidates):
    """Indices of the `top_k` nearest in the order that float64 gives, and their squared distances.

    values (n,) float32: |x|^2 / 2 - q.x, each within `error` of the truth; those too close to a
    neighbour or to 0 are computed again, as sums of squared differences, so that nothing cancels.
    """
    top_k = min(top_k, len(values))
    if top_k == len(values):
        chosen = np.arange(len(values))
    else:
        limit = np.partition(values, top_k - 1)[top_k - 1]
        chosen = np.flatnonzero(values <= limit + 2 * error)
    kept = 2 * values[chosen].astype(np.float64) + query_norm
    order = np.argsort(kept, kind="stable")
    close = np.diff(kept[order]) <= 4 * error
    cancelled = kept[order] < 1000 * error  # the order may be right, the distance is not to a thousandth
    doubtful = order[np.append(close, False) | np.append(False, close) | cancelled]
    if len(doubtful):
        at = chosen[doubtful] if candidates is None else candidates[chosen[doubtful]]
        difference = gallery[at].astype(np.float64) - query
        kept[doubtful] = np.einsum("nd,nd->n", difference, difference)
        order = np.argsort(kept, kind="stable")
    order = order[:top_k]
    return chosen[order], kept[order]
