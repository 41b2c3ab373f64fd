"""Coarse search: exhaustive Hamming ranking of packed codes, equal distances in database order.

A stable order is what MATLAB's sort gave the authors. It costs little here: a
stable sort of the entries within a radius that holds at least K of them, of which the first K are taken.
"""

import numpy as np

from blocks import block_slices, map_blocks
from eval_errors import EvalError

QUERIES_PER_TASK = 256
QUERIES_AT_ONCE = 8      # share one pass of numpy calls: fewer calls, and their temporaries stay in cache
WHOLE_SHARE = 0.25       # of the database: longer lists are cut from a sort of everything
SAMPLE = 2048            # distances of a query that its first radius is estimated from


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

    def scan(self, query_codes, distances, difference, word_distance):
        """Distances of a few queries (B, words) to all entries, into `distances` (B, N).

        difference (B, N) words and word_distance (B, N) bytes are scratch.
        """
        np.bitwise_xor(self.columns[0], query_codes[:, :1], out=difference)
        np.bitwise_count(difference, out=distances)
        for word in range(1, self.words):
            np.bitwise_xor(self.columns[word], query_codes[:, word:word + 1], out=difference)
            np.bitwise_count(difference, out=word_distance)
            np.add(distances, word_distance, out=distances)

    def scan_in_parts(self, query_codes, use):
        """Scan a few queries at a time; `use(rows, distances)` sees (B, N) distances that the next part overwrites."""
        parts = block_slices(len(query_codes), QUERIES_AT_ONCE)
        shape = (min(QUERIES_AT_ONCE, len(query_codes)), self.count)
        scratch = [np.empty(shape, kind) for kind in (self.distance_dtype, self.word_dtype, np.uint8)]
        for rows in parts:
            buffers = [buffer[:rows.stop - rows.start] for buffer in scratch]
            self.scan(query_codes[rows], *buffers)
            use(rows, buffers[0])

    def distances(self, query_codes, threads=None):
        """All distances of some queries: (Q, N), in memory at once."""
        self.check_queries(query_codes)
        result = np.empty((len(query_codes), self.count), self.distance_dtype)

        def work(task):
            def keep(rows, distances):
                result[task][rows] = distances
            self.scan_in_parts(query_codes[task], keep)

        map_blocks(work, len(query_codes), QUERIES_PER_TASK, threads)
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

        def work(task):
            def keep(rows, scanned):
                ids[task][rows], distances[task][rows] = stable_nearest(scanned, top_k)
            self.scan_in_parts(query_codes[task], keep)

        map_blocks(work, len(query_codes), QUERIES_PER_TASK, threads, "coarse search")
        return ids, distances


def stable_nearest(distances, top_k):
    """Columns of the `top_k` smallest integers of each row, ties in column order, and those integers.

    distances (B, N). Everything within a radius that holds at least `top_k` entries of its row is sorted.
    """
    queries, count = distances.shape
    if top_k > WHOLE_SHARE * count:
        ids = np.argsort(distances, axis=1, kind="stable")[:, :top_k]
        return ids, np.take_along_axis(distances, ids, axis=1)
    radius = sampled_radius(distances, top_k)
    found, starts = entries_within(distances, radius)
    short = np.diff(starts) < top_k
    if short.any():  # the sample misled: partition those rows
        radius[short] = np.partition(distances[short], top_k - 1, axis=1)[:, top_k - 1]
        found, starts = entries_within(distances, radius)
    near = distances.reshape(-1)[found]
    # one stable sort of all rows, by (row, distance): 16-bit keys get a radix sort
    row_key = np.arange(queries, dtype=np.uint16) * np.uint16(int(radius.max()) + 1)
    order = np.argsort(np.repeat(row_key, np.diff(starts)) + near, kind="stable")
    first = order[starts[:-1, None] + np.arange(top_k)]
    return found[first] - np.arange(queries)[:, None] * count, near[first]


def sampled_radius(distances, top_k):
    """For each row a radius that very likely holds `top_k` entries, and not many more: (B,)."""
    count = distances.shape[1]
    sample = distances[:, ::max(1, count // SAMPLE)]
    size = sample.shape[1]
    expected = top_k * size / count
    rank = int(np.ceil(expected + 2.5 * np.sqrt(expected))) if size < count else top_k
    if rank > size:
        return distances.max(axis=1)
    # a histogram of all rows in one count; a partition of so many equal bytes is slower
    levels = np.iinfo(distances.dtype).max + 1 if distances.itemsize == 1 else int(sample.max()) + 1
    row_start = np.arange(len(distances))[:, None] * levels
    histogram = np.bincount((sample + row_start).reshape(-1), minlength=len(distances) * levels)
    within = np.cumsum(histogram.reshape(-1, levels), axis=1)
    return np.argmax(within >= rank, axis=1).astype(distances.dtype)


def entries_within(distances, radius):
    """Flat positions of the entries at most `radius` away, and where each row of them starts, (B + 1,)."""
    queries, count = distances.shape
    found = true_positions((distances <= radius[:, None]).reshape(-1))
    return found, np.searchsorted(found, np.arange(queries + 1) * count)


def true_positions(mask):
    """np.flatnonzero of a sparse (n,) bool mask, by way of the groups of eight that hold a True.

    One entry in forty is True but one group in five, and numpy has no branches to mispredict from one in ten on.
    """
    whole = len(mask) // 8 * 8
    words = mask[:whole].view(np.uint64)
    groups = np.flatnonzero(words != 0)
    places = np.flatnonzero(words[groups].view(bool))
    found = groups[places >> 3] * 8 + (places & 7)
    return np.append(found, whole + np.flatnonzero(mask[whole:])) if whole < len(mask) else found
