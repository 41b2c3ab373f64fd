"""Coarse search: exhaustive Hamming ranking of packed codes, equal distances in database order.

A stable order is what MATLAB's sort gave the authors. It costs nothing here: a stable sort
of the entries within a radius that holds at least K of them, of which the first K are taken.
"""

import numpy as np

from blocks import map_blocks
from eval_errors import EvalError

QUERIES_PER_TASK = 64


class CodeIndex:
    """A database of packed codes, laid out for scanning.

    db_codes: (N, words) as from `codes.pack`. Distances are uint8 up to 255 bits, uint16 beyond.
    """

    def __init__(self, db_codes):
        if len(db_codes) == 0:
            raise EvalError("the database holds no codes: extract features of at least one image")
        self.count, self.words = db_codes.shape
        self.word_dtype = db_codes.dtype
        self.columns = np.ascontiguousarray(db_codes.T)  # one contiguous run per word: XOR streams through it
        self.max_distance = 8 * self.word_dtype.itemsize * self.words
        self.distance_dtype = np.dtype(np.uint8 if self.max_distance < 256 else np.uint16)

    def check_queries(self, query_codes):
        """Raise EvalError unless the queries are packed like the database."""
        if query_codes.shape[1:] != (self.words,) or query_codes.dtype != self.word_dtype:
            raise EvalError(f"query codes of {query_codes.shape[1:]} {query_codes.dtype} words cannot be compared "
                            f"with database codes of ({self.words},) {self.word_dtype} words: extract both with one net")

    def scanner(self):
        """A function query_code (words,) -> (N,) distances, valid until its next call; one per thread."""
        difference = np.empty(self.count, self.word_dtype)
        word_distance = np.empty(self.count, np.uint8)
        distances = np.empty(self.count, self.distance_dtype)

        def scan(query_code):
            np.bitwise_xor(self.columns[0], query_code[0], out=difference)
            np.bitwise_count(difference, out=distances)
            for column, word in zip(self.columns[1:], query_code[1:]):
                np.bitwise_xor(column, word, out=difference)
                np.bitwise_count(difference, out=word_distance)
                np.add(distances, word_distance, out=distances)
            return distances

        return scan

    def distances(self, query_codes):
        """All distances of some queries: (Q, N), in memory at once."""
        self.check_queries(query_codes)
        scan = self.scanner()
        result = np.empty((len(query_codes), self.count), self.distance_dtype)
        for row, query_code in zip(result, query_codes):
            row[:] = scan(query_code)
        return result

    def search(self, query_codes, top_k, threads=None):
        """The `top_k` nearest database entries of each query, nearest first, ties in database order.

        Returns ids (Q, top_k) int32 and distances (Q, top_k). Raises EvalError if top_k is not in 1..N.
        """
        self.check_queries(query_codes)
        if not 1 <= top_k <= self.count:
            raise EvalError(f"top_k = {top_k} does not fit a database of {self.count} entries: choose 1 to {self.count}")
        ids = np.empty((len(query_codes), top_k), np.int32)
        distances = np.empty((len(query_codes), top_k), self.distance_dtype)

        def work(rows):
            scan, radius = self.scanner(), 0
            for row in range(rows.start, rows.stop):
                ids[row], distances[row], radius = stable_nearest(scan(query_codes[row]), top_k, radius)

        map_blocks(work, len(query_codes), QUERIES_PER_TASK, threads, "coarse search")
        return ids, distances


def stable_nearest(distances, top_k, guess):
    """Ids of the `top_k` smallest integer distances, ties in index order, their distances, and the next guess.

    Everything within some radius that holds at least `top_k` entries is sorted, stably. Any such radius will do:
    the walk starts at `guess`, the last query's, and each step is one comparison and one count of bytes.
    """
    radius, within = guess, np.count_nonzero(distances <= guess)
    while within < top_k:
        radius += 1
        within = np.count_nonzero(distances <= radius)
    while within > 2 * top_k and radius > 0:
        fewer = np.count_nonzero(distances <= radius - 1)
        if fewer < top_k:
            break
        radius, within = radius - 1, fewer
    candidates = np.flatnonzero(distances <= radius)
    candidate_distances = distances[candidates]
    order = np.argsort(candidate_distances, kind="stable")[:top_k]  # a radix sort for bytes
    return candidates[order], candidate_distances[order], radius
