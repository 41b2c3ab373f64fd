"""A run's features held in memory, and the answer of both stages to one query."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from basics.files import read_json
from basics.program import EvalError
from search.answers import AskedDatabase, describe, results_radius, votes
from search.codes import binarise, pack
from search.engine import Engine, Lists
from search.feature_set import Split, check_pair, load_split
from search.kernels import count_by_distance
from search.protocols import LIST_LENGTH
from serving.faults import Fault
from serving.place import Place

SEARCHES = ("both", "bcs", "hdl")
SPLITS = ("train", "test")
SHOWN_CLASSES = 12      # of the pool's mix
WATCHED = ("latent.npy", "codes.npy", "fc7.npy", "labels.npy", "predictions.npy", "thumbs.npy", "ids.txt", "meta.json")


@dataclass(frozen=True, eq=False)
class Query:
    """What is asked. code (1, words) packed, bits (h,) bool, fc7 (1, d) or None, label None where it is not known."""

    of: str
    name: str
    code: np.ndarray
    bits: np.ndarray
    fc7: np.ndarray | None
    label: np.ndarray | None = None
    told: dict = field(default_factory=dict)

    def again(self) -> "Query":
        """The same query without the times of the net, which is not asked again."""
        return replace(self, told={name: value for name, value in self.told.items() if name != "seconds"})


@dataclass(frozen=True)
class Wish:
    """k results, T (None: the run's default), which searches, and whether histogram and classes are wanted."""

    top_k: int
    radius: int | None
    search: str
    pool: bool = True


class Collection:
    """The features of a run. Indexes and norms are made here, once; nothing in it changes afterwards.

    make_engine: gives what searches the database, None for this machine.
    """

    def __init__(self, place: Place, make_engine: Callable[[Split], Engine] | None = None):
        self.place = place
        self.signature = signature(place)
        self.splits = {name: load_split(folder) for name, folder in place.splits.items()}
        if "test" in self.splits:
            check_pair(self.splits["test"], self.database)
        self.asked = AskedDatabase(self.database, make_engine and make_engine(self.database))
        self.has_fc7 = self.asked.engine.has_fc7
        self.default_radius = results_radius(place.results)
        self.results = read_json(place.results)
        self.answer(self.query_of_row("train", 0), Wish(1, None, "both"))   # kernels are loaded before somebody waits

    @property
    def database(self) -> Split:
        return self.splits["train"]

    @cached_property
    def rows_of_ids(self) -> dict[str, str]:
        """{id: "train/row"}; an id that both splits have is the database's."""
        return {name: f"{split}/{row}" for split in reversed(SPLITS) if split in self.splits
                for row, name in enumerate(self.splits[split].ids or ())}

    def split(self, name: str) -> Split:
        if name not in self.splits:
            raise Fault(404, f"This run has no images named {name}: it has {' and '.join(self.splits)}.")
        return self.splits[name]

    def row(self, name: str, row: int) -> int:
        """The row, if there is such an image."""
        count = len(self.split(name))
        if not 0 <= row < count:
            raise Fault(404, f"There is no image {row:,} in {name}: rows go from 0 to {count - 1:,}.")
        return row

    def query_of_row(self, name: str, row: int) -> Query:
        """The query that an image of the run is: its features are the stored ones."""
        split, row = self.split(name), self.row(name, row)
        bits = split.codes_of(slice(row, row + 1))
        return Query(f"{name}/{row}", split.image_id(row), pack(bits), bits[0],
                     None if split.fc7 is None else np.asarray(split.fc7[row:row + 1]), split.labels[row])

    def query_of_features(self, of: str, name: str, latent: np.ndarray, fc7: np.ndarray | None, told: dict) -> Query:
        """The query that a new image is: latent (h,), fc7 (d,) or None."""
        try:
            bits = binarise(latent[None])
        except EvalError as error:
            raise Fault(500, f"The net gave no code: {error}.") from None
        return Query(of, name, pack(bits), bits[0], None if fc7 is None else fc7[None], None, told)

    def checked(self, wish: Wish) -> Wish:
        """Fault 400 for a wish that this run cannot fulfil."""
        most = min(len(self.database), LIST_LENGTH)
        if not 1 <= wish.top_k <= most:
            raise Fault(400, f"k = {wish.top_k}: give 1 to {most:,}; the database holds {len(self.database):,} images.")
        if wish.radius is not None and not 1 <= wish.radius <= self.database.bits:
            raise Fault(400, f"T = {wish.radius}: give 1 to {self.database.bits}, the number of bits. "
                             "The pool holds the images with Hamming distance below T.")
        if wish.search not in SEARCHES:
            raise Fault(400, f"search = {wish.search}: give {', '.join(SEARCHES)}.")
        if wish.search == "hdl" and not self.has_fc7:
            raise Fault(400, "This run has no fc7, so there is no second stage: ask with search=bcs.")
        return wish

    def answer(self, query: Query, wish: Wish) -> dict:
        """What /api/search returns (eval/README.md lists it). Lists are those of query.py and evaluate.py."""
        started = time.perf_counter()
        fine_wanted = wish.search != "bcs" and self.has_fc7 and query.fc7 is not None
        radius = self.default_radius if wish.radius is None else wish.radius
        found = self.asked.lists(query.code, query.fc7 if fine_wanted else None, wish.top_k, radius, threads=1)
        hamming = found.hamming[0]
        pool, searches = np.flatnonzero(hamming < found.radius), {}
        if wish.search != "hdl":
            searches["bcs"] = self._coarse_list(query, found.nearest[0][0, :wish.top_k], hamming)
        if found.fine is not None:
            searches["hdl"] = self._fine_list(query, found, hamming, pool)
        told = self._told(query) | {
            "k": wish.top_k, "T": found.radius, "default_T": self.default_radius, "bits": self.database.bits,
            "database": len(self.database), "pool": len(pool), "searches": searches}
        if wish.pool:
            told |= self._pool(query, hamming, pool)
        told["seconds"] = query.told.get("seconds", {}) | found.seconds | {"server": time.perf_counter() - started}
        return told

    def _told(self, query: Query) -> dict:
        """What the answer says of the query itself."""
        about = {"of": query.of, "id": query.name, "code": packed_hex(query.bits),
                 "class": None if query.label is None else self.database.class_name(query.label)}
        return {"query": about | {name: value for name, value in query.told.items() if name != "seconds"}}

    def _coarse_list(self, query: Query, ids: np.ndarray, hamming: np.ndarray) -> dict:
        results = describe(self.database, ids, hamming[ids], None)
        if query.fc7 is not None and self.has_fc7:   # shown beside the ranking, not used by it
            away = np.asarray(self.database.fc7[ids], np.float64) - query.fc7[0].astype(np.float64)
            for result, distance in zip(results, np.sqrt(np.einsum("kd,kd->k", away, away))):
                result["fc7"] = float(distance)
        return {"results": self._judged(query, results), "votes": votes(results)}

    def _fine_list(self, query: Query, found: Lists, hamming: np.ndarray, pool: np.ndarray) -> dict:
        ids = found.fine.ids[0]
        results = describe(self.database, ids, hamming[ids], found.fine.euclidean[0])
        for result, rank in zip(results, coarse_ranks(ids, hamming, pool, found.nearest[0][0])):
            result["rank_by_codes"] = rank
        return {"results": self._judged(query, results), "votes": votes(results)}

    def _judged(self, query: Query, results: list[dict]) -> list[dict]:
        """With each result's code and, where the query's class is known, whether it shares it."""
        codes = self.database.codes_of([result["row"] for result in results])
        for result, bits in zip(results, codes):
            result["code"] = packed_hex(bits)
            result["right"] = None if query.label is None else self._alike(query, result["row"])
        return results

    def _alike(self, query: Query, row: int) -> bool:
        """Whether an image has the query's label, or one of its labels."""
        label = self.database.labels[row]
        return bool((label & query.label).any() if np.ndim(label) else label == query.label)

    def _pool(self, query: Query, hamming: np.ndarray, pool: np.ndarray) -> dict:
        """Histogram of distances 0..bits, that of the query's own class where it is known, the pool's classes."""
        labels, label = self.database.labels, query.label
        if label is not None and labels.ndim == 2:      # several labels: alike is what shares one
            labels, label = (labels & label).any(axis=1), True
        counts = np.zeros((2, self.asked.engine.levels), np.int64)
        count_by_distance(hamming, labels if labels.ndim == 1 else hamming, 0 if label is None else label, counts)
        every, same = counts[:, :self.database.bits + 1].tolist()
        return {"histogram": every, "histogram_same": None if label is None else same,
                "pool_classes": self._mix(pool)}

    def _mix(self, rows: np.ndarray) -> list[tuple[str, int]]:
        """[(class, images)] of some rows, most first, the rest together as "others"."""
        labels = self.database.labels[rows]
        if labels.ndim == 2:
            numbers, counts = np.arange(labels.shape[1]), labels.sum(axis=0)
        else:
            numbers, counts = np.unique(labels, return_counts=True)
        order = [i for i in np.argsort(-counts, kind="stable") if counts[i]]
        names = self.database.meta.get("classes") or []
        mix = [(str(names[numbers[i]]) if 0 <= numbers[i] < len(names) else str(numbers[i]), int(counts[i]))
               for i in order[:SHOWN_CLASSES]]
        rest = int(counts[order[SHOWN_CLASSES:]].sum())
        return mix + [("others", rest)] * (rest > 0)


def coarse_ranks(ids: np.ndarray, hamming: np.ndarray, pool: np.ndarray, nearest: np.ndarray) -> list[int]:
    """The places (from 1) that results of the second stage have by codes alone: by distance, then row.

    hamming: (N,) distances; pool: its rows, ascending. A result outside the pool fills the list in Hamming order, so it
    is among the nearest.
    """
    near = hamming[pool]
    places = {int(row): place for place, row in enumerate(nearest, start=1)}

    def rank(row):
        before = np.searchsorted(pool, row)
        if before == len(pool) or pool[before] != row:
            return places[int(row)]
        return 1 + int(np.count_nonzero(near < hamming[row]) + np.count_nonzero(near[:before] == hamming[row]))

    return [rank(row) for row in ids]


def packed_hex(bits: np.ndarray) -> str:
    """Bits (h,) as hexadecimal, the first bit first, padded with zeros to whole bytes."""
    return np.packbits(bits).tobytes().hex()


def signature(place: Place) -> tuple:
    """Tells the files of one run from those that replace them: inode, length and time of each."""
    def told(path):
        try:
            found = path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    folders = [folder for folder in (place.database, place.test) if folder]
    return tuple(map(told, [folder / name for folder in folders for name in WATCHED] + [place.results]))
