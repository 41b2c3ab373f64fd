"""Fine search: rank images by Euclidean distance between fc7 activations, nearest first.

`exhaustive` ranks the whole database (the paper's ES); `hierarchical` ranks the pool of images whose code is
within a Hamming radius, then fills up in Hamming order if the pool is smaller than the list asked for (HDL).

The order is that of float64 arithmetic, equal distances keep database order (fine_block.py).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from basics.program import EvalError
from basics.rows import block_slices, evenly, gather, map_blocks, release, release_sometimes
from search.coarse import CodeIndex, check_top_k
from search.fine_block import rows_of
from search.products import ROWS_PER_TASK
from search.screen import alike, choose_screen
from search.slabs import is_large, rank, rank_all

BLOCK_BYTES = 1 << 27       # of float32 products held at once
QUERIES_PER_BLOCK = 1024
AS_THEY_ARE = (np.dtype(np.float16), np.dtype(np.float32))  # what compiled loops read
QUERIES_PER_PASS = 16384    # over a database that is larger than memory
FIRST_QUERIES = 32          # whose pools are looked at to judge how many of them memory allows
PAIRS_PER_BLOCK = 1 << 22   # of queries and members of their pools: each takes some 40 bytes
QUERIES_PER_GROUP = 500     # with like codes, searched together so that their pools overlap


@dataclass
class FineResult:
    """Ranked lists of a search with fc7.

    ids (Q, k) int32; euclidean (Q, k) float32, NaN where the list was filled from outside the pool;
    pool (Q,) images in each query's pool; off (Q,) float64, what the squared distances may be wrong by where they come
    from products in float32: lists of several parts of a database are put together by it.
    """

    ids: np.ndarray
    euclidean: np.ndarray
    pool: np.ndarray
    off: np.ndarray

    @property
    def filled(self) -> int:
        """Queries whose pool was smaller than the list."""
        return int(np.count_nonzero(self.pool < self.ids.shape[1]))


class Fc7Index:
    """A database of fc7 activations (N, d) float32 or float16, in memory or memory-mapped, with its norms.

    Other types and byte orders are taken as float32, in memory.

    norms: those of `squared_norms`, where they are kept.
    """

    def __init__(self, db_fc7: np.ndarray, norms: np.ndarray | None = None):
        self.fc7 = db_fc7 if db_fc7.dtype in AS_THEY_ARE else np.asarray(db_fc7, np.float32)
        self.norms = squared_norms(self.fc7, "database fc7") if norms is None else norms

    @property
    def nbytes(self) -> int:
        """Memory that the index takes beside fc7 itself."""
        return self.norms.nbytes

    def __len__(self):
        return len(self.fc7)

    def sample(self, most: int) -> "Fc7Index":
        """An index of at most `most` rows, evenly taken."""
        return Fc7Index(self.rows(evenly(len(self), most)))

    def rows(self, wanted: slice | np.ndarray, threads: int | None = None) -> np.ndarray:
        """float32 activations of some rows; `slice(None)` gives all, without a copy where possible."""
        if isinstance(wanted, slice):
            return np.asarray(self.fc7[wanted], np.float32)
        gathered = np.empty((len(wanted), self.fc7.shape[1]), np.float32)

        def work(part):
            gather(self.fc7, wanted[part], gathered[part])

        map_blocks(work, len(wanted), ROWS_PER_TASK, threads)
        return gathered


def squared_norms(fc7: np.ndarray, what: str) -> np.ndarray:
    """Squared Euclidean norms (N,) float64. Raises EvalError on NaN or infinity."""
    def work(rows):
        block = np.asarray(fc7[rows], np.float32)
        squares = np.einsum("nd,nd->n", block, block, dtype=np.float64)
        release_sometimes(fc7, rows.start)
        return squares

    norms = np.concatenate(map_blocks(work, len(fc7), 1024, title=f"norms of {what}"))
    release(fc7)
    if not np.isfinite(norms).all():
        bad = np.flatnonzero(~np.isfinite(norms))
        raise EvalError(f"{what}: {len(bad)} rows hold NaN or infinity (first: row {bad[0]}): "
                        "extract the features again")
    return norms


def exhaustive(query_fc7: np.ndarray, index: Fc7Index, top_k: int, threads: int | None = None,
               choose: Callable = choose_screen) -> FineResult:
    """The `top_k` nearest of the whole database for each query (FineResult).

    choose: gives the screen (screen.py) that leaves entries out first, or None. It changes the time, not the result.
    """
    check_search(query_fc7, index, top_k)
    alike_blocks = alike(query_fc7, len(index))
    screen = choose(query_fc7, alike_blocks, index, top_k, threads)
    if screen is None and is_large(*index.fc7.shape):
        return _search_large(query_fc7, index, top_k, threads)
    if screen is None:
        blocks = ((rows, None) for rows in block_slices(len(query_fc7), query_block(len(index))))
        return _search(query_fc7, index, top_k, threads, "exhaustive fc7 search", blocks)

    def candidates(rows):
        return rows_of(screen.candidates(np.asarray(query_fc7[rows], np.float32), top_k, threads), threads)

    result = _search(query_fc7, index, top_k, threads, "exhaustive fc7 search",
                     ((rows, candidates(rows)) for rows in alike_blocks))
    result.pool[:] = len(index)
    return result


def hierarchical(query_fc7: np.ndarray, index: Fc7Index, top_k: int, code_index: CodeIndex, query_codes: np.ndarray,
                 radius: int | np.ndarray, nearest: tuple | None = None, threads: int | None = None,
                 hamming: np.ndarray | None = None) -> FineResult:
    """Two-stage search: pool = database entries with Hamming distance < radius, ranked by fc7.

    radius: one number, or (Q,) one for each query. nearest: (ids, distances) of the coarse search with at
    least `top_k` columns, for filling; searched here if None. hamming: all distances (Q, N), where they are known.
    """
    ids, _ = nearest or code_index.search(query_codes, top_k, threads)
    radius = np.broadcast_to(np.asarray(radius), len(query_codes))

    def pools(rows):
        if hamming is None:
            return code_index.pools(query_codes[rows], radius[rows], threads)
        return [np.flatnonzero(known < limit) for known, limit in zip(hamming[rows], radius[rows])]

    blocks = with_pools(like_queries(query_codes), pools)
    result = _search(query_fc7, index, top_k, threads, "two-stage search", blocks)
    fill(result, ids[:, :top_k])
    return result


def fill(result: FineResult, nearest_ids: np.ndarray):
    """Fill lists whose pool is smaller than top_k in Hamming order, in place.

    Such a pool is exactly the first `pool` entries of the coarse ranking, so the entries after those follow.
    """
    outside = np.arange(result.ids.shape[1]) >= result.pool[:, None]
    result.ids[outside] = nearest_ids[outside]


def query_block(database: int) -> int:
    """Queries whose products with the whole database fit the memory of a block."""
    return max(1, min(QUERIES_PER_BLOCK, BLOCK_BYTES // (4 * database)))


def like_queries(query_codes: np.ndarray) -> list[np.ndarray]:
    """Groups (index arrays) of queries with like codes: their pools overlap, so their union is small.

    Queries are grouped by the nearest of a few codes taken evenly from among them.
    """
    groups = -(-len(query_codes) // QUERIES_PER_GROUP)
    pivots = CodeIndex(query_codes[evenly(len(query_codes), groups)])
    group = pivots.search(query_codes, 1)[0][:, 0]
    members = [np.flatnonzero(group == g) for g in range(pivots.count)]
    return [rows for rows in members if len(rows)]


def with_pools(groups: list[np.ndarray], pools: Callable) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """(rows, pools(rows)) of the queries of each group, as many at once as memory allows.

    Judged by the pools of a few of the same group: another group's may be a thousand times as large.
    """
    for group in groups:
        size = FIRST_QUERIES
        while len(group):
            rows, group = group[:size], group[size:]
            found = pools(rows)
            yield rows, found
            mean = sum(map(len, found)) / len(found)
            size = int(np.clip(PAIRS_PER_BLOCK / max(1.0, mean), 1, QUERIES_PER_GROUP))


def check_search(query_fc7: np.ndarray, index: Fc7Index, top_k: int):
    """EvalError unless these queries can be compared with the index, and so many results be found."""
    if query_fc7.shape[1] != index.fc7.shape[1]:
        raise EvalError(f"query fc7 has {query_fc7.shape[1]} units but the database's has {index.fc7.shape[1]}: "
                        "extract both with one net")
    check_top_k(top_k, len(index))


def _search_large(query_fc7, index, top_k, threads):
    """The exhaustive search over a database whose rows are read anew for each of a few passes."""
    norms = squared_norms(query_fc7, "query fc7")
    passes = [rank_all(np.asarray(query_fc7[rows], np.float32), norms[rows], index, top_k, threads)
              for rows in tqdm(block_slices(len(query_fc7), QUERIES_PER_PASS), desc="exhaustive fc7 search",
                               unit="pass", delay=2, leave=False, disable=None)]
    ids, euclidean, off = map(np.concatenate, zip(*passes))
    return FineResult(ids, euclidean, np.full(len(query_fc7), len(index)), off)


def _search(query_fc7, index, top_k, threads, title, blocks):
    """Rank block by block. blocks: (rows, the candidates of each query, ascending ids, or None for all)."""
    check_search(query_fc7, index, top_k)
    count = len(query_fc7)
    result = FineResult(np.zeros((count, top_k), np.int32), np.full((count, top_k), np.nan, np.float32),
                        np.full(count, len(index)), np.zeros(count))
    query_norms = squared_norms(query_fc7, "query fc7")
    with tqdm(total=count, desc=title, unit="query", delay=2, leave=False, disable=None) as bar:
        for rows, pools in blocks:
            queries = np.asarray(query_fc7[rows], np.float32)
            found = rank(queries, query_norms[rows], index, pools, top_k, threads)
            for kept, ranked in zip((result.ids, result.euclidean, result.pool, result.off), found):
                kept[rows] = ranked
            release(index.fc7)
            release(query_fc7)
            bar.update(len(queries))
    return result
