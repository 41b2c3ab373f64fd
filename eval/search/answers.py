"""The two-stage answer of a run for new images."""

from collections import Counter
from functools import cached_property
from pathlib import Path

import numpy as np

from basics.files import read_json
from basics.program import EvalError
from search.coarse import CodeIndex
from search.engine import Engine, ThisMachine
from search.feature_set import Split, holds_codes, load_split
from search.fine import Fc7Index

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


class AskedDatabase:
    """A database that new images are compared with, by an engine; on this machine its indexes are built once."""

    def __init__(self, database: Split, engine: Engine | None = None):
        self.split = database
        self.engine = engine or ThisMachine(CodeIndex(database.packed()),
                                            None if database.fc7 is None else lambda: self.fc7_index)
        self.lists = self.engine.lists

    @cached_property
    def fc7_index(self) -> Fc7Index:
        return Fc7Index(self.split.fc7)


def answer(queries: Split, database: Split, top_k: int = TOP_K, radius: int | None = None,
           threads: int | None = None, engine: Engine | None = None) -> list[dict]:
    """[{image, search, radius, pool, votes, results}], one entry a query, results nearest first.

    engine: where the database is searched, None for this machine.

    votes: [(class, results of that class), ...], most first, ties in the order in which they were found.
    Without fc7 on both sides the codes alone decide: `search` says which.
    """
    top_k = min(top_k, len(database))
    asked, query_codes = AskedDatabase(database, engine), queries.packed()
    found = asked.lists(query_codes, queries.fc7, top_k, radius, threads)
    ids = found.nearest[0][:, :top_k] if found.fine is None else found.fine.ids
    answers = []
    for row, listed in enumerate(ids):
        hamming = asked.engine.distances(query_codes[row:row + 1])[0]
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
