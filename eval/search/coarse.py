"""Coarse search: exhaustive Hamming ranking of packed codes, equal distances in database order (kernels.py).

A stable order is what MATLAB's sort gave the authors.
"""

from functools import cached_property

import numpy as np

from basics.program import EvalError
from basics.rows import default_threads, map_blocks
from search import kernels

QUERIES_PER_TASK = 128
QUERIES_PER_TASK_OF_POOLS = 16
SAMPLE = 2048               # entries that a query's first radius is estimated from
QUERIES_FOR_GROUPS = 256    # so many pay for looking which codes repeat
REPEATED_SHARE = 0.5        # of the entries: with more distinct codes than that, comparing each entry is as fast
LISTED_SHARE = 0.5          # of the entries: longer lists are made without an estimate
ENTRIES_PER_PART = 1 << 18  # a thread's share of a single query: less is not worth a thread


class CodeIndex:
    """A database of packed codes, laid out for scanning: all that the rest of eval/ knows of comparing codes.

    db_codes: (N, words) unsigned integers as from `codes.pack`; N is `count`. Query codes (Q, words) must be packed
    alike: EvalError otherwise. Distances are uint8 up to 255 bits, uint16 beyond.

        search     the nearest entries of each query
        distances  all distances, in memory at once
        pools      the entries within a radius of each query
        layout     what the kernels that rank all entries scan (measures/whole_ranking.py)
    """

    def __init__(self, db_codes: np.ndarray):
        if len(db_codes) == 0:
            raise EvalError("the database holds no codes: extract features of at least one image")
        kernels.announce_compilation()
        self.count, self.words = db_codes.shape
        self.word_dtype = db_codes.dtype
        self.columns = kernels.columns_of(db_codes)
        self.levels = 8 * self.word_dtype.itemsize * self.words + 1     # distances are 0 to levels - 1
        self.distance_dtype = np.dtype(np.uint8 if self.levels <= 256 else np.uint16)
        sample = db_codes[::max(1, self.count // SAMPLE)]
        self.sample, self.sample_size = kernels.columns_of(sample), len(sample)

    @property
    def nbytes(self) -> int:
        """Memory that the index takes."""
        return self.columns.nbytes + self.sample.nbytes

    @cached_property
    def groups(self) -> tuple | None:
        """Entries by code where codes repeat: (columns of the distinct codes, starts (D + 1,), rows (N,), code of each
        entry (N,)), code d being that of rows[starts[d]:starts[d + 1]]. None where most codes are distinct."""
        codes, first = kernels.number_equal(self.columns, self.count)
        if len(first) > REPEATED_SHARE * self.count:
            return None
        distinct = kernels.columns_of(np.ascontiguousarray(self.columns[:, first].T))
        return distinct, *kernels.rows_of_groups(codes, len(first)), codes

    def layout(self, queries: int) -> tuple[np.ndarray, np.ndarray]:
        """(columns, code of each entry (N,)): of the distinct codes where they repeat, and there are many queries;
        else of all entries, and no codes."""
        groups = self.groups if queries >= QUERIES_FOR_GROUPS else None
        return (self.columns, np.empty(0, np.int32)) if groups is None else (groups[0], groups[3])

    def search(self, query_codes: np.ndarray, top_k: int, threads: int | None = None):
        """The `top_k` nearest database entries of each query, nearest first, ties in database order.

        Returns ids (Q, top_k) int32 and distances (Q, top_k). Raises EvalError if top_k is not in 1..N.
        """
        queries = self.query_words(query_codes)
        check_top_k(top_k, self.count)
        ids = np.empty((len(queries), top_k), np.int32)
        distances = np.empty((len(queries), top_k), self.distance_dtype)
        threads = threads or default_threads()
        if len(queries) < threads and self.count >= 2 * ENTRIES_PER_PART:
            for row, query in enumerate(queries):
                self._search_in_parts(query, ids[row], distances[row], threads)
        else:
            self._search_together(queries, ids, distances, threads)
        return ids, distances

    def load(self, query_codes: np.ndarray, top_k: int):
        """Have the loops of a search of many such queries compiled, or read from disk, before it is timed."""
        few = query_codes[:QUERIES_FOR_GROUPS]
        self.search(few, top_k)
        self.distances(few[:1])
        self.pools(few[:1], np.ones(1, int))

    def distances(self, query_codes: np.ndarray, threads: int | None = None) -> np.ndarray:
        """All distances of some queries: (Q, N), in memory at once."""
        queries = self.query_words(query_codes)
        result = np.empty((len(queries), self.columns.shape[1]), self.distance_dtype)
        map_blocks(lambda rows: kernels.distances_to_all(self.columns, queries[rows], result[rows]), len(queries),
                   QUERIES_PER_TASK, threads)
        return result[:, :self.count]

    def pools(self, query_codes: np.ndarray, radius: np.ndarray, threads: int | None = None) -> list[np.ndarray]:
        """The entries with a distance below radius (Q,) integers, for each query: ids int32, ascending."""
        queries = self.query_words(query_codes)
        last = np.clip(np.asarray(radius, np.int64) - 1, -1, self.levels - 1)
        scratch = np.empty(0, self.distance_dtype)

        def work(rows):
            ids, kept = kernels.ids_within(self.columns, self.count, queries[rows], last[rows], scratch)
            return [row[:size].copy() for row, size in zip(ids, kept)]

        return sum(map_blocks(work, len(queries), QUERIES_PER_TASK_OF_POOLS, threads), [])

    def query_words(self, query_codes: np.ndarray) -> np.ndarray:
        """Query codes as the kernels take them, (Q, words) uint64. EvalError unless packed like the database."""
        if query_codes.shape[1:] != (self.words,) or query_codes.dtype != self.word_dtype:
            raise EvalError(f"query codes of {query_codes.shape[1:]} {query_codes.dtype} words cannot be compared "
                            f"with database codes of ({self.words},) {self.word_dtype} words: "
                            "extract both with one net")
        return np.ascontiguousarray(kernels.columns_of(query_codes)[:, :len(query_codes)].T)

    def _search_together(self, queries, ids, distances, threads):
        """Equal queries are searched once; each thread takes some of the others."""
        places, sources = first_of_equal(queries)
        groups = self.groups if len(places) >= QUERIES_FOR_GROUPS else None
        misled = np.zeros(len(queries), bool)
        per_task = QUERIES_PER_TASK
        if len(places) * self.count >= threads * ENTRIES_PER_PART:      # worth a thread each
            per_task = min(per_task, -(-len(places) // threads))

        def search(places, sample_size, title=None):
            def work(rows):
                if groups is None:
                    kernels.search_all(self.columns, self.count, self.sample, sample_size, queries, places[rows],
                                       self.levels, ids, distances, misled)
                else:
                    kernels.search_distinct(*groups[:3], queries, places[rows], self.levels, ids, distances)

            map_blocks(work, len(places), per_task, threads, title)

        sample_size = self.sample_size if ids.shape[1] < LISTED_SHARE * self.count else 0
        search(places, sample_size, "coarse search" if len(places) > per_task else None)
        if misled.any():
            search(np.flatnonzero(misled), 0)
        if len(places) < len(queries):
            map_blocks(lambda rows: kernels.copy_repeated(rows.start, rows.stop, sources, ids, distances), len(queries),
                       QUERIES_PER_TASK, threads)

    def _search_in_parts(self, query, ids, distances, threads):
        """One query: each thread takes a part of the database."""
        top_k = len(ids)
        size = -(-self.count // min(threads, self.count // ENTRIES_PER_PART))
        size = -(-size // kernels.TILE) * kernels.TILE

        def within(radius):
            def work(rows):
                return kernels.search_part(self.columns, query, rows.start, rows.stop, radius, top_k, self.levels,
                                           distances)

            parts = map_blocks(work, self.count, size, threads)
            return [np.concatenate(arrays) for arrays in zip(*parts)]

        found, near = within(kernels.first_radius(self.sample, self.sample_size, query, top_k, self.count, self.levels,
                                                  distances))
        if len(found) < top_k:  # the sample misled
            found, near = within(self.levels - 1)
        kernels.write_sorted(found, near, len(found), np.empty(self.levels, np.int64), ids, distances)


def first_of_equal(queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the first of each kind of equal queries, that of each query's own kind), int64, of queries (Q, words)."""
    if len(queries) == 1:
        return np.zeros(1, np.int64), np.zeros(1, np.int64)
    numbers, first = kernels.number_equal(np.ascontiguousarray(queries.T), len(queries))
    places = first.astype(np.int64)
    return places, places[numbers]


def check_top_k(top_k: int, count: int):
    """EvalError unless lists of `top_k` can come from `count` entries."""
    if not 1 <= top_k <= count:
        raise EvalError(f"top_k = {top_k} does not fit a database of {count} entries: choose 1 to {count}")
