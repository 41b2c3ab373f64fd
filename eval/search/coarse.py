"""Coarse search: exhaustive Hamming ranking of packed codes, equal distances in database order (nearest.py)."""

from collections.abc import Callable

import numpy as np

from basics.program import EvalError
from basics.rows import block_slices, map_blocks
from search.nearest import stable_nearest

QUERIES_PER_TASK = 256
QUERIES_AT_ONCE = 8      # share one pass of numpy calls: fewer calls, and their temporaries stay in cache


class CodeIndex:
    """A database of packed codes, laid out for scanning: all that the rest of eval/ knows of comparing codes.

    db_codes: (N, words) unsigned integers as from `codes.pack`; N is `count`. Query codes (Q, words) must be packed
    alike: EvalError otherwise. Distances are uint8 up to 255 bits, uint16 beyond.

        search     the nearest entries of each query
        distances  all distances, in memory at once
        visit      all distances, shown to a function part by part, on several threads
        scan       the same in this thread
    """

    def __init__(self, db_codes: np.ndarray):
        if len(db_codes) == 0:
            raise EvalError("the database holds no codes: extract features of at least one image")
        self.count, self.words = db_codes.shape
        self.word_dtype = db_codes.dtype
        self.columns = np.ascontiguousarray(db_codes.T)  # one contiguous run per word: XOR streams through it
        largest = 8 * self.word_dtype.itemsize * self.words
        self.distance_dtype = np.dtype(np.uint8 if largest < 256 else np.uint16)

    @property
    def nbytes(self) -> int:
        """Memory that the index takes."""
        return self.columns.nbytes

    def search(self, query_codes: np.ndarray, top_k: int, threads: int | None = None):
        """The `top_k` nearest database entries of each query, nearest first, ties in database order.

        Returns ids (Q, top_k) int32 and distances (Q, top_k). Raises EvalError if top_k is not in 1..N.
        """
        check_top_k(top_k, self.count)
        ids = np.empty((len(query_codes), top_k), np.int32)
        distances = np.empty((len(query_codes), top_k), self.distance_dtype)

        def keep(rows, scanned):
            ids[rows], distances[rows] = stable_nearest(scanned, top_k)

        self.visit(query_codes, keep, threads, "coarse search")
        return ids, distances

    def distances(self, query_codes: np.ndarray, threads: int | None = None) -> np.ndarray:
        """All distances of some queries: (Q, N), in memory at once."""
        result = np.empty((len(query_codes), self.count), self.distance_dtype)

        def keep(rows, scanned):
            result[rows] = scanned

        self.visit(query_codes, keep, threads)
        return result

    def visit(self, query_codes: np.ndarray, use: Callable, threads: int | None = None, title: str | None = None):
        """Call `use(rows, distances)` for a few queries at a time, from several threads at once, until all were seen.

        rows: slice of the queries; distances: (B, N), overwritten afterwards. `title` names the progress bar.
        """
        self._check_queries(query_codes)

        def work(task):
            self._scan(query_codes[task], lambda rows, scanned: use(
                slice(task.start + rows.start, task.start + rows.stop), scanned))

        map_blocks(work, len(query_codes), QUERIES_PER_TASK, threads, title)

    def scan(self, query_codes: np.ndarray, use: Callable):
        """`visit` in this thread."""
        self._check_queries(query_codes)
        self._scan(query_codes, use)

    def _check_queries(self, query_codes):
        if query_codes.shape[1:] != (self.words,) or query_codes.dtype != self.word_dtype:
            raise EvalError(f"query codes of {query_codes.shape[1:]} {query_codes.dtype} words cannot be compared "
                            f"with database codes of ({self.words},) {self.word_dtype} words: "
                            "extract both with one net")

    def _scan(self, query_codes, use):
        shape = (min(QUERIES_AT_ONCE, len(query_codes)), self.count)
        scratch = [np.empty(shape, kind) for kind in (self.distance_dtype, self.word_dtype, np.uint8)]
        for rows in block_slices(len(query_codes), QUERIES_AT_ONCE):
            buffers = [buffer[:rows.stop - rows.start] for buffer in scratch]
            self._fill(query_codes[rows], *buffers)
            use(rows, buffers[0])

    def _fill(self, query_codes, distances, difference, word_distance):
        """Distances of a few queries (B, words) to all entries, into `distances` (B, N).

        difference (B, N) words and word_distance (B, N) bytes are scratch.
        """
        np.bitwise_xor(self.columns[0], query_codes[:, :1], out=difference)
        np.bitwise_count(difference, out=distances)
        for word in range(1, self.words):
            np.bitwise_xor(self.columns[word], query_codes[:, word:word + 1], out=difference)
            np.bitwise_count(difference, out=word_distance)
            np.add(distances, word_distance, out=distances)


def check_top_k(top_k: int, count: int):
    """EvalError unless lists of `top_k` can come from `count` entries."""
    if not 1 <= top_k <= count:
        raise EvalError(f"top_k = {top_k} does not fit a database of {count} entries: choose 1 to {count}")
