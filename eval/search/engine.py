"""Where a database is searched: one small interface, and this machine, which needs nothing else.

engines/ has the other one, several machines. Both give the same ids and distances: ties in database order, lists filled
in Hamming order, fc7 in the order of float64.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from search.coarse import CodeIndex
from search.fine import Fc7Index, FineResult, exhaustive, hierarchical
from search.kernels import timed

POOL_WANTED = 100
POOL_SHARE = 0.9


@dataclass(frozen=True, eq=False)
class Lists:
    """What was found for Q queries. nearest: ids (Q, n) and Hamming distances of the coarse search, n at least top_k.

    fine: FineResult of the second stage, None without fc7. seconds: {"coarse"}, and {"fine"} where there was one.
    hamming: all distances (1, N) of a single query, None for more.
    """

    nearest: tuple[np.ndarray, np.ndarray]
    radius: int
    fine: FineResult | None
    seconds: dict[str, float]
    hamming: np.ndarray | None = None


def default_radius(nearest_distances: np.ndarray) -> int:
    """The smallest radius T at which nine of ten queries have a pool of at least 100 images (or K, if less).

    nearest_distances: (Q, K) from the coarse search. Uses no labels, so it does not tune on the test set.
    """
    wanted = min(POOL_WANTED, nearest_distances.shape[1])
    return int(np.quantile(nearest_distances[:, wanted - 1], POOL_SHARE, method="inverted_cdf")) + 1


class Engine(ABC):
    """A database of `count` images whose codes, and fc7 where `has_fc7`, can be searched. Query codes are packed.

    levels: distances of codes are 0 to levels - 1.
    """

    count: int
    levels: int
    has_fc7: bool

    @abstractmethod
    def search(self, query_codes: np.ndarray, top_k: int, threads: int | None = None):
        """As CodeIndex.search: ids (Q, top_k) int32 and Hamming distances (Q, top_k)."""

    @abstractmethod
    def distances(self, query_codes: np.ndarray, threads: int | None = None) -> np.ndarray:
        """As CodeIndex.distances: (Q, count), in memory at once."""

    @abstractmethod
    def two_stage(self, query_codes: np.ndarray, query_fc7: np.ndarray, top_k: int, radius: int | np.ndarray,
                  nearest: tuple | None = None, threads: int | None = None,
                  hamming: np.ndarray | None = None) -> FineResult:
        """As fine.hierarchical. nearest, hamming: what `search` and `distances` gave, where they are known."""

    @abstractmethod
    def exhaustive(self, query_fc7: np.ndarray, top_k: int, threads: int | None = None) -> FineResult:
        """As fine.exhaustive."""

    @abstractmethod
    def describe(self) -> dict:
        """{engine, count, bits at most, fc7 (units or None), ...}: values of JSON, for a person."""

    def check(self) -> None:
        """EvalError when the engine will answer no more."""
        return None

    @abstractmethod
    def load(self, query_codes: np.ndarray, top_k: int, fine: bool):
        """Have everything ready that is no part of a search's time. fine: for a search with fc7."""

    def lists(self, query_codes: np.ndarray, query_fc7: np.ndarray | None, top_k: int, radius: int | None = None,
              threads: int | None = None) -> Lists:
        """Both stages for query_codes (Q, words) and query_fc7 (Q, d). radius None: the default of these queries.

        Without fc7 on both sides there is no second stage.
        """
        nearest, coarse = timed(self.search, query_codes, min(max(top_k, POOL_WANTED), self.count), threads)
        radius = default_radius(nearest[1]) if radius is None else radius
        hamming, more = timed(self.distances, query_codes, threads) if len(query_codes) == 1 else (None, 0.0)
        if query_fc7 is None or not self.has_fc7:
            return Lists(nearest, radius, None, {"coarse": coarse + more}, hamming)
        fine, seconds = timed(self.two_stage, query_codes, query_fc7, top_k, radius, nearest, threads, hamming)
        return Lists(nearest, radius, fine, {"coarse": coarse + more, "fine": seconds}, hamming)


class ThisMachine(Engine):
    """The database in this process. fc7_index: gives the Fc7Index when it is first needed; None without fc7."""

    def __init__(self, code_index: CodeIndex, fc7_index: Callable[[], Fc7Index] | None):
        self.code_index, self._fc7_index = code_index, fc7_index
        self.count, self.levels, self.has_fc7 = code_index.count, code_index.levels, fc7_index is not None

    def search(self, query_codes, top_k, threads=None):
        return self.code_index.search(query_codes, top_k, threads)

    def distances(self, query_codes, threads=None):
        return self.code_index.distances(query_codes, threads)

    def two_stage(self, query_codes, query_fc7, top_k, radius, nearest=None, threads=None, hamming=None):
        return hierarchical(query_fc7, self._fc7_index(), top_k, self.code_index, query_codes, radius, nearest, threads,
                            hamming)

    def exhaustive(self, query_fc7, top_k, threads=None):
        return exhaustive(query_fc7, self._fc7_index(), top_k, threads)

    def describe(self):
        return {"engine": "this machine", "count": self.count, "bits at most": self.levels - 1,
                "fc7": self._fc7_index().fc7.shape[1] if self.has_fc7 else None}

    def load(self, query_codes, top_k, fine):
        self.code_index.load(query_codes, top_k)
        if fine:
            self._fc7_index()
