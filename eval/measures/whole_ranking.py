"""Measures by codes that follow from the ranking of the whole database, all from one scan.

How many entries, and how many relevant ones, lie at each distance of each query, and AP@K for any number of K up to
the whole ranking, ties in database order. No ranking is written down.
"""

from dataclasses import dataclass

import numpy as np

from basics.rows import map_blocks
from measures.distance_counts import DistanceCounts
from measures.relevance import Relevant, relevant_groups
from search import kernels
from search.coarse import CodeIndex
from search.protocols import Protocol
from search.retrieval import Retrieval, Retrievals

QUERIES_PER_TASK = 64


@dataclass(frozen=True)
class WholeRanking:
    """counts: DistanceCounts (Q, bits + 1); cutoffs (C,): the K of AP@K, ascending; precision_sums (Q, C) float64 and
    hits (Q, C): summed precision at the relevant entries among the first K, and how many those are.
    """

    counts: DistanceCounts
    cutoffs: np.ndarray
    precision_sums: np.ndarray
    hits: np.ndarray

    def ap(self, top_k: int, divisor: str = "hits") -> np.ndarray:
        """AP@K of each query (Q,), over the "hits" within K or over "all" relevant entries; 0 without any."""
        place = int(np.flatnonzero(self.cutoffs == top_k)[0])
        by = self.hits[:, place] if divisor == "hits" else self.counts.relevant.sum(axis=1)
        return np.divide(self.precision_sums[:, place], by, out=np.zeros(len(by)), where=by > 0)

    def of(self, rows: np.ndarray) -> "WholeRanking":
        """That of some of the queries."""
        counts = DistanceCounts(self.counts.total[rows], self.counts.relevant[rows])
        return WholeRanking(counts, self.cutoffs, self.precision_sums[rows], self.hits[rows])


def rank_whole(index: CodeIndex, query_codes: np.ndarray, query_labels: np.ndarray, db_labels: np.ndarray, bits: int,
               cutoffs: list[int] = (), threads: int | None = None) -> WholeRanking:
    """The WholeRanking of packed query codes (Q, words) of `bits` bits against an index."""
    queries, cutoffs = index.query_words(query_codes), np.unique(np.asarray(cutoffs, np.int64))
    columns, codes = index.layout(len(queries))
    total, relevant = (np.empty((len(queries), index.levels), np.int32) for _ in range(2))
    precision_sums, hits = np.empty((len(queries), len(cutoffs))), np.empty((len(queries), len(cutoffs)), np.int64)
    scratch = np.empty(0, index.distance_dtype)

    def work(rows, wanted: Relevant):
        kernels.measure(columns, index.count, codes, queries[rows], wanted.groups, wanted.starts, wanted.rows, cutoffs,
                        total[rows], relevant[rows], precision_sums[rows], hits[rows], scratch)

    if query_labels.ndim == 1:
        wanted = relevant_groups(query_labels, db_labels)
        map_blocks(lambda rows: work(rows, wanted.of(rows)), len(queries), QUERIES_PER_TASK, threads, "ranking")
    else:
        map_blocks(lambda rows: work(rows, relevant_groups(query_labels[rows], db_labels)), len(queries),
                   QUERIES_PER_TASK, threads, "ranking")
    return WholeRanking(DistanceCounts(total[:, :bits + 1], relevant[:, :bits + 1]), cutoffs, precision_sums, hits)


class CodeRankings:
    """The WholeRanking of each of some protocols: those that rank one database share one scan."""

    def __init__(self, retrievals: Retrievals, protocols: list[Protocol], threads: int | None = None):
        self._retrievals, self._protocols, self._threads = retrievals, protocols, threads
        self._ranked = {}

    def by(self, protocol: Protocol) -> tuple[Retrieval, WholeRanking]:
        """The Retrieval of a protocol, and its WholeRanking with the protocol's depth among the cutoffs."""
        retrieval = self._retrievals.by(protocol)
        key = id(retrieval.database)
        if key not in self._ranked:
            self._ranked[key] = self._rank(retrieval.database)
        rows, ranking = self._ranked[key]
        return retrieval, ranking.of(np.searchsorted(rows, retrieval.query_rows))

    def _rank(self, database):
        """(rows of the test split, WholeRanking) of all queries that some protocol asks this database."""
        sharing = [self._retrievals.by(protocol) for protocol in self._protocols]
        sharing, cutoffs = zip(*[(retrieval, protocol.depth(len(database))) for retrieval, protocol
                                 in zip(sharing, self._protocols) if retrieval.database is database])
        rows = np.unique(np.concatenate([retrieval.query_rows for retrieval in sharing]))
        queries = self._retrievals.queries
        return rows, rank_whole(database.code_index, self._retrievals.test_codes[rows], queries.labels[rows],
                                database.labels, queries.bits, cutoffs, self._threads)
