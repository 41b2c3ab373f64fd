"""precision@10 against the time of a query, as ann-benchmarks draws it: a curve over T, other searches as points."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from basics.files import whole_file
from basics.rows import default_threads
from benchmarks.made_up import Side
from measures.average_precision import score_ranking
from measures.sweep import RADII
from search.coarse import CodeIndex
from search.codes import pack
from search.fine import Fc7Index, exhaustive, hierarchical

TOP_K = 10
HASH_BITS = 16           # of a code that faiss' hash table looks up
SAMPLE = 64              # queries that tell how large pools are
FLIPS = (0, 1, 2)        # of them that may differ
LARGEST_SHARE = 0.25     # of the database: a larger pool saves nothing over the exhaustive search


def bench_tradeoff(title: str, queries: Side, database: Side, picture: Path | None = None) -> list[dict]:
    """[{search, setting, ms_per_query, precision_at_10}], all queries at once, printed and drawn.

    Each is timed once after a run to warm up: what differs here differs by factors.
    """
    codes, query_codes = pack(database.codes), pack(queries.codes)
    index, fc7_index = CodeIndex(codes), Fc7Index(np.asarray(database.fc7))
    query_fc7 = np.asarray(queries.fc7)
    rows = [measured("bcs", "", lambda: index.search(query_codes, TOP_K)[0], queries, database),
            measured("es", "", lambda: exhaustive(query_fc7, fc7_index, TOP_K).ids, queries, database)]

    def two_stages(radius):
        return hierarchical(query_fc7, fc7_index, TOP_K, index, query_codes, radius)

    for radius in (radius for radius in RADII if radius <= queries.codes.shape[1]):
        rows.append(measured("hdl", f"T = {radius}", lambda T=radius: two_stages(T).ids, queries, database))
        if (index.distances(query_codes[:SAMPLE]) < radius).mean() > LARGEST_SHARE:
            break
    rows += [measured(name, setting, search, queries, database)
             for name, setting, search in faiss_indexes(queries.codes, database.codes)]
    print(f"\n{title}\n{'':36}{'ms a query':>12}{'P@10':>9}")
    for row in sorted(rows, key=lambda row: row["ms_per_query"]):
        print(f"  {row['search'] + ' ' + row['setting']:<34}{row['ms_per_query']:12.3f}{row['precision_at_10']:9.4f}")
    if picture:
        draw(picture, title, rows)
    return rows


def measured(name: str, setting: str, search: Callable, queries: Side, database: Side) -> dict:
    """One row: `search` gives ids (Q, k), -1 where it found fewer."""
    search()
    started = time.perf_counter()
    ids = search()
    seconds = time.perf_counter() - started
    relevant = score_ranking(np.maximum(ids, 0), queries.labels, database.labels)["precision_at_k"][TOP_K - 1]
    if (ids < 0).any():   # what was not found is no hit
        hits = (database.labels[np.maximum(ids, 0)] == queries.labels[:, None]) & (ids >= 0)
        relevant = hits.mean()
    return {"search": name, "setting": setting, "ms_per_query": 1000 * seconds / len(ids),
            "precision_at_10": float(relevant)}


def faiss_indexes(query_codes: np.ndarray, db_codes: np.ndarray) -> list[tuple[str, str, Callable]]:
    """[(name, setting, search)] of faiss' exact and of its hashed search of codes; [] without faiss."""
    try:
        import faiss  # not a requirement of this project
    except ImportError:
        return []
    faiss.omp_set_num_threads(default_threads())
    queries, database = (np.packbits(np.pad(codes, ((0, 0), (0, -codes.shape[1] % 8))), axis=1)
                         for codes in (query_codes, db_codes))
    bits = 8 * database.shape[1]
    flat = faiss.IndexBinaryFlat(bits)
    flat.add(database)
    found = [("faiss IndexBinaryFlat", "", lambda: flat.search(queries, TOP_K)[1])]
    hashed = faiss.IndexBinaryHash(bits, min(HASH_BITS, bits))
    hashed.add(database)

    def search(flips):
        hashed.nflip = flips
        return hashed.search(queries, TOP_K)[1]

    return found + [("faiss IndexBinaryHash", f"{flips} flips", lambda flips=flips: search(flips)) for flips in FLIPS]


def draw(path: Path, title: str, rows: list[dict]):
    """The picture, in the format of the file's name: a curve where a search has settings, else a point."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(row["search"] for row in rows):
        own = [row for row in rows if row["search"] == name]
        axes.plot([row["ms_per_query"] for row in own], [row["precision_at_10"] for row in own], "o-", markersize=4,
                  label=name)
    axes.set(xscale="log", xlabel="milliseconds a query, all queries at once", ylabel="precision of the first 10",
             title=title)
    axes.legend(fontsize=9)
    with whole_file(path) as file:
        figure.savefig(file, format=path.suffix.removeprefix(".") or "png", dpi=160)
