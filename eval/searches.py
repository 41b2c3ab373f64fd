"""The four searches of the paper.

    es-pretrained  fc7 of the net before fine-tuning, whole database
    es             fc7 of the fine-tuned net, whole database
    bcs            binary codes only
    hdl            codes, then fc7 within the pool (hierarchical)
"""

import time
from dataclasses import asdict, dataclass

import numpy as np

from coarse_search import CodeIndex
from fine_search import Fc7Index, exhaustive, hierarchical
from rankings import Ranking

SEARCHES = ("bcs", "hdl", "es", "es-pretrained")
POOL_WANTED = 100
POOL_SHARE = 0.9


@dataclass(frozen=True)
class Options:
    """What the searches were asked for. radius None: chosen by `default_radius`; pool_min: see `radii`."""

    top_k: int
    radius: int | None = None
    pool_min: int | None = None


def default_radius(nearest_distances):
    """The smallest radius T at which nine of ten queries have a pool of at least 100 images (or K, if less).

    nearest_distances: (Q, K) from the coarse search. Uses no labels, so it does not tune on the test set.
    """
    wanted = min(POOL_WANTED, nearest_distances.shape[1])
    return int(np.quantile(nearest_distances[:, wanted - 1], POOL_SHARE, method="inverted_cdf")) + 1


def radii(index, query_codes, radius, pool_min, threads=None):
    """Each query's radius (Q,): `radius`, or more where that leaves fewer than `pool_min` images in the pool."""
    if pool_min is None:
        return np.full(len(query_codes), radius)
    _, distances = index.search(query_codes, min(pool_min, index.count), threads)
    return np.maximum(radius, distances[:, -1].astype(int) + 1)


def run_searches(trial, names, options, pretrained=None, threads=None):
    """{name: Ranking} of the searches asked for. pretrained: the trial.Pretrained that es-pretrained ranks."""
    needs_codes = {"bcs", "hdl"} & set(names)
    index = CodeIndex(trial.db_codes)
    rankings, nearest = {}, None
    if needs_codes:
        nearest, seconds = timed(index.search, trial.query_codes, options.top_k, threads)
    if "bcs" in names:
        rankings["bcs"] = Ranking(*nearest, meta={"seconds": seconds})
    fc7_index = Fc7Index(trial.db_fc7) if {"es", "hdl"} & set(names) else None
    if "hdl" in names:
        rankings["hdl"] = search_hdl(trial, index, fc7_index, nearest, options, threads)
    if "es" in names:
        rankings["es"] = search_es(trial, trial.query_fc7, fc7_index, options, threads)
    if "es-pretrained" in names:
        rankings["es-pretrained"] = search_es(trial, pretrained.query_fc7, Fc7Index(pretrained.db_fc7), options, threads)
        rankings["es-pretrained"].meta["blob"] = pretrained.blob
    for name, ranking in rankings.items():
        ranking.meta |= {"search": name, "fingerprint": trial.fingerprint(), "options": asdict(options)}
    return rankings


def search_hdl(trial, index, fc7_index, nearest, options, threads=None):
    """Ranking of the two-stage search."""
    radius = default_radius(nearest[1]) if options.radius is None else options.radius
    started = time.perf_counter()
    each = radii(index, trial.query_codes, radius, options.pool_min, threads)
    found = hierarchical(trial.query_fc7, fc7_index, options.top_k, index, trial.query_codes, each, nearest, threads)
    meta = {"seconds": time.perf_counter() - started, "radius": radius, "radius_mean": float(each.mean())}
    return Ranking(found.ids, hamming_of(trial, found.ids), found.euclidean, found.pool, meta)


def search_es(trial, query_fc7, fc7_index, options, threads=None):
    """Ranking of an exhaustive search by fc7."""
    found, seconds = timed(exhaustive, query_fc7, fc7_index, options.top_k, threads)
    return Ranking(found.ids, hamming_of(trial, found.ids), found.euclidean, meta={"seconds": seconds})


def hamming_of(trial, ids):
    """Hamming distances (Q, k) uint16 of listed results."""
    return np.stack([np.bitwise_count(trial.db_codes[row] ^ code).sum(axis=1, dtype=np.uint16)
                     for row, code in zip(ids, trial.query_codes)])


def timed(function, *arguments):
    """(result, seconds)."""
    started = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - started
