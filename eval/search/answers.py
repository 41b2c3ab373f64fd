"""The two-stage answer of a run for new images."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from basics.files import read_json
from basics.program import EvalError
from search.coarse import CodeIndex
from search.feature_set import Split, holds_codes, load_split
from search.fine import Fc7Index, FineResult, hierarchical
from search.kernels import timed
from search.searches import POOL_WANTED, default_radius

TOP_K = 10


def load_queries(folder: Path) -> Split:
    """The Split of new images, from the folder itself or its test/."""
    if not any(holds_codes(place) for place in (folder, folder / "test")):
        raise EvalError(f"{folder} has no latent.npy: extract the features of the images into it first")
    return load_split(folder if holds_codes(folder) else folder / "test", labels_required=False)


def run_radius(features: Path) -> int | None:
    """The T that the run was evaluated with; None if it was not."""
    return results_radius(features.parent / "eval/results.json")


def results_radius(results: Path) -> int | None:
    """The T of a results.json; None without one, or without a two-stage search in it."""
    return read_json(results).get("two_stage", {}).get("radius")


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


class AskedDatabase:
    """A database that new images are compared with: its indexes are built once."""

    def __init__(self, database: Split):
        self.split = database
        self.code_index = CodeIndex(database.packed())

    @cached_property
    def fc7_index(self) -> Fc7Index | None:
        return None if self.split.fc7 is None else Fc7Index(self.split.fc7)

    def lists(self, query_codes: np.ndarray, query_fc7: np.ndarray | None, top_k: int, radius: int | None = None,
              threads: int | None = None) -> Lists:
        """Both stages for query_codes (Q, words) and query_fc7 (Q, d). radius None: the default of these queries.

        Without fc7 on both sides there is no second stage.
        """
        index, fc7_index = self.code_index, self.fc7_index if query_fc7 is not None else None
        nearest, coarse = timed(index.search, query_codes, min(max(top_k, POOL_WANTED), index.count), threads)
        radius = default_radius(nearest[1]) if radius is None else radius
        hamming, more = timed(index.distances, query_codes, threads) if len(query_codes) == 1 else (None, 0.0)
        if fc7_index is None:
            return Lists(nearest, radius, None, {"coarse": coarse + more}, hamming)
        fine, seconds = timed(hierarchical, query_fc7, fc7_index, top_k, index, query_codes, radius, nearest, threads,
                              hamming)
        return Lists(nearest, radius, fine, {"coarse": coarse + more, "fine": seconds}, hamming)


def answer(queries: Split, database: Split, top_k: int = TOP_K, radius: int | None = None,
           threads: int | None = None) -> list[dict]:
    """[{image, search, radius, pool, votes, results}], one entry a query, results nearest first.

    votes: [(class, results of that class), ...], most first, ties in the order in which they were found.
    Without fc7 on both sides the codes alone decide: `search` says which.
    """
    top_k = min(top_k, len(database))
    asked, query_codes = AskedDatabase(database), queries.packed()
    found = asked.lists(query_codes, queries.fc7, top_k, radius, threads)
    ids = found.nearest[0][:, :top_k] if found.fine is None else found.fine.ids
    answers = []
    for row, listed in enumerate(ids):
        hamming = asked.code_index.distances(query_codes[row:row + 1])[0]
        results = describe(database, listed, hamming[listed], None if found.fine is None else found.fine.euclidean[row])
        answers.append({"image": queries.image_id(row), "search": "bcs" if found.fine is None else "hdl",
                        "radius": found.radius, "pool": int(np.count_nonzero(hamming < found.radius)),
                        "results": results, "votes": votes(results)})
    return answers


def votes(results: list[dict]) -> list[tuple[str, int]]:
    """[(class, results of that class), ...], most first, ties in the order in which they were found."""
    return Counter(result["class"] for result in results).most_common()


def describe(database: Split, ids: np.ndarray, hamming: np.ndarray, euclidean: np.ndarray | None) -> list[dict]:
    """The results of one query, (k,) each; a euclidean distance is None where the image was not in the pool."""
    def known(rank):
        return euclidean is not None and not np.isnan(euclidean[rank])

    return [{"rank": rank + 1, "row": int(image), "id": database.image_id(image),
             "class": database.class_name(database.labels[image]), "hamming": int(hamming[rank]),
             "euclidean": float(euclidean[rank]) if known(rank) else None} for rank, image in enumerate(ids)]
