"""The four searches of the paper.

    es-pretrained  fc7 of the net before fine-tuning, whole database
    es             fc7 of the fine-tuned net, whole database
    bcs            binary codes only
    hdl            codes, then fc7 within the pool (hierarchical)
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from search.engine import Engine, default_radius
from search.fine import FineResult, exhaustive
from search.kernels import timed
from search.rankings import Ranking
from search.retrieval import Pretrained, Retrieval

SEARCHES = ("bcs", "hdl", "es", "es-pretrained")


@dataclass(frozen=True)
class SearchOptions:
    """What the searches were asked for. radius None: chosen by `default_radius`; pool_min: see `radii`."""

    top_k: int
    radius: int | None = None
    pool_min: int | None = None


def radii(engine: Engine, query_codes: np.ndarray, radius: int, pool_min: int | None,
          threads: int | None = None) -> np.ndarray:
    """Each query's radius (Q,): `radius`, or more where that leaves fewer than `pool_min` images in the pool."""
    if pool_min is None:
        return np.full(len(query_codes), radius)
    _, distances = engine.search(query_codes, min(pool_min, engine.count), threads)
    return np.maximum(radius, distances[:, -1].astype(int) + 1)


def made_from(name: str, retrieval: Retrieval, options: SearchOptions, pretrained: Pretrained | None = None) -> dict:
    """Everything that the lists of one search depend on, as kept in their file (made_from.py)."""
    entries = {"codes": retrieval.codes_digest, "top_k": options.top_k}   # codes: also for the Hamming distances kept
    if name in ("hdl", "es"):
        entries["fc7"] = retrieval.fc7_digest
    if name == "hdl":
        entries |= {"radius": options.radius, "pool_min": options.pool_min}
    if name == "es-pretrained":
        entries["pretrained fc7"] = pretrained.digest
    return entries


def run_searches(retrieval: Retrieval, names: Iterable[str], options: SearchOptions,
                 pretrained: Pretrained | None = None, threads: int | None = None) -> dict[str, Ranking]:
    """{name: Ranking} of the searches asked for. pretrained: what es-pretrained ranks."""
    return dict(each_search(retrieval, names, options, pretrained, threads))


def each_search(retrieval: Retrieval, names: Iterable[str], options: SearchOptions,
                pretrained: Pretrained | None = None, threads: int | None = None) -> Iterator[tuple[str, Ranking]]:
    """(name, Ranking), one search after the other: lists of a large evaluation need not be in memory together."""
    for name, ranking in _each(retrieval, names, options, pretrained, threads):
        ranking.meta |= {"search": name, "made_from": made_from(name, retrieval, options, pretrained)}
        yield name, ranking


def _each(retrieval, names, options, pretrained, threads):
    engine = retrieval.database.engine
    if {"bcs", "hdl"} & set(names):
        engine.load(retrieval.query_codes, options.top_k, fine="hdl" in names)
        nearest, seconds = timed(engine.search, retrieval.query_codes, options.top_k, threads)
    if "bcs" in names:
        yield "bcs", Ranking(*nearest, meta={"seconds": seconds})
    if "hdl" in names:
        yield "hdl", search_hdl(retrieval, nearest, options, threads)
    if "es" in names:
        engine.load(retrieval.query_codes, options.top_k, fine=True)   # building indexes is no part of a search's time
        yield "es", search_es(retrieval, lambda: engine.exhaustive(retrieval.query_fc7, options.top_k, threads))
    if "es-pretrained" in names:
        index = pretrained.fc7_index
        ranking = search_es(retrieval, lambda: exhaustive(pretrained.query_fc7, index, options.top_k, threads))
        ranking.meta["blob"] = pretrained.blob
        yield "es-pretrained", ranking


def search_hdl(retrieval: Retrieval, nearest: tuple, options: SearchOptions, threads: int | None = None) -> Ranking:
    """Ranking of the two-stage search."""
    engine = retrieval.database.engine
    radius = default_radius(nearest[1]) if options.radius is None else options.radius

    def search():
        each = radii(engine, retrieval.query_codes, radius, options.pool_min, threads)
        return each, engine.two_stage(retrieval.query_codes, retrieval.query_fc7, options.top_k, each, nearest, threads)

    (each, found), seconds = timed(search)
    meta = {"seconds": seconds, "radius": radius, "radius_mean": float(each.mean())}
    return Ranking(found.ids, hamming_of(retrieval, found.ids), found.euclidean, found.pool, meta)


def search_es(retrieval: Retrieval, search: Callable[[], FineResult]) -> Ranking:
    """Ranking of an exhaustive search by fc7."""
    found, seconds = timed(search)
    return Ranking(found.ids, hamming_of(retrieval, found.ids), found.euclidean, meta={"seconds": seconds})


def hamming_of(retrieval: Retrieval, ids: np.ndarray) -> np.ndarray:
    """Hamming distances (Q, k) uint16 of listed results."""
    codes = retrieval.database.codes
    return np.stack([np.bitwise_count(codes[row] ^ code).sum(axis=1, dtype=np.uint16)
                     for row, code in zip(ids, retrieval.query_codes)])
