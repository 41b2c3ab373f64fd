"""The effect of the pool's radius T: pool size, precision and time of the two-stage search for each T."""

import time

import numpy as np

from basics.rows import evenly
from measures.average_precision import score_ranking
from search.retrieval import Retrieval

RADII = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24)
QUERIES = 1000
TOP_K = 100
LARGEST_SHARE = 0.25    # of the database: a larger pool saves nothing over the exhaustive search


def sweep_radius(retrieval: Retrieval, threads: int | None = None) -> list[dict]:
    """[{radius, pool_mean, pool_short, precision_at_10, precision_at_100, ms_per_query}] on evenly taken queries.

    pool_short: share of queries with fewer than 100 images in the pool. Time: coarse and fine search of all
    these queries together, by the clock.
    """
    rows = evenly(len(retrieval), QUERIES)
    codes, labels = retrieval.query_codes[rows], retrieval.query_labels[rows]
    fc7, database = np.asarray(retrieval.query_fc7[rows]), retrieval.database
    engine = database.engine
    engine.load(codes, min(TOP_K, engine.count), fine=True)
    top_k = min(TOP_K, engine.count)
    table = []
    for radius in (r for r in RADII if r <= retrieval.bits):
        started = time.perf_counter()
        found = engine.two_stage(codes, fc7, top_k, radius, threads=threads)
        seconds = time.perf_counter() - started
        precision = score_ranking(found.ids, labels, database.labels, threads)["precision_at_k"]
        table.append({"radius": radius, "pool_mean": float(found.pool.mean()), "pool_short": found.filled / len(rows),
                      "precision_at_10": float(precision[min(10, top_k) - 1]),
                      "precision_at_100": float(precision[top_k - 1]), "ms_per_query": 1000 * seconds / len(rows)})
        if found.pool.mean() > LARGEST_SHARE * engine.count:
            break
    return table
