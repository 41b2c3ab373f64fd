"""The two-stage answer of a run for new images."""

from collections import Counter
from pathlib import Path

import numpy as np

from basics.files import read_json
from basics.program import EvalError
from search.coarse import CodeIndex
from search.feature_set import Split, holds_codes, load_split
from search.fine import Fc7Index, hierarchical
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


def answer(queries: Split, database: Split, top_k: int = TOP_K, radius: int | None = None,
           threads: int | None = None) -> list[dict]:
    """[{image, search, radius, pool, votes, results}], one entry a query, results nearest first.

    votes: [(class, results of that class), ...], most first, ties in the order in which they were found.
    Without fc7 on both sides the codes alone decide: `search` says which.
    """
    top_k = min(top_k, len(database))
    index, query_codes = CodeIndex(database.packed()), queries.packed()
    nearest = index.search(query_codes, min(max(top_k, POOL_WANTED), len(database)), threads)
    radius = default_radius(nearest[1]) if radius is None else radius
    ids, euclidean, name = nearest[0][:, :top_k], None, "bcs"
    if queries.fc7 is not None and database.fc7 is not None:
        found = hierarchical(queries.fc7, Fc7Index(database.fc7), top_k, index, query_codes, radius, nearest, threads)
        ids, euclidean, name = found.ids, found.euclidean, "hdl"
    answers = []
    for row, listed in enumerate(ids):
        hamming = index.distances(query_codes[row:row + 1])[0]
        results = describe(database, listed, hamming[listed], None if euclidean is None else euclidean[row])
        answers.append({"image": queries.image_id(row), "search": name, "radius": radius,
                        "pool": int(np.count_nonzero(hamming < radius)), "results": results,
                        "votes": Counter(result["class"] for result in results).most_common()})
    return answers


def describe(database: Split, ids: np.ndarray, hamming: np.ndarray, euclidean: np.ndarray | None) -> list[dict]:
    """The results of one query, (k,) each; a euclidean distance is None where the image was not in the pool."""
    def known(rank):
        return euclidean is not None and not np.isnan(euclidean[rank])

    return [{"rank": rank + 1, "row": int(image), "id": database.image_id(image),
             "class": database.class_name(database.labels[image]), "hamming": int(hamming[rank]),
             "euclidean": float(euclidean[rank]) if known(rank) else None} for rank, image in enumerate(ids)]
