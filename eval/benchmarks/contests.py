"""What is raced: search and mAP by codes beside faiss and the usual loops, the fine search beside a bare product."""

from collections.abc import Callable
from functools import partial

import numpy as np

from basics.rows import block_slices, default_threads, map_blocks
from benchmarks.made_up import Side, defeating
from benchmarks.races import race, report_race
from measures.average_precision import score_ranking
from measures.cost import measure_cost
from search.coarse import CodeIndex
from search.codes import pack
from search.engine import default_radius
from search.fine import Fc7Index, exhaustive, hierarchical, query_block

TOP_K = 1000
MANY = 100
LOOP_QUERIES = 100          # the slow loops are timed on so many queries, and scaled up


def bench_codes(title: str, queries: Side, database: Side, rounds: int) -> dict:
    """mAP@1000 by codes beside faiss and the two loops commonly used (report_race)."""
    packed = pack(queries.codes), pack(database.codes)
    top_k = min(TOP_K, len(database.codes))

    def ours():
        ids, _ = CodeIndex(packed[1]).search(packed[0], top_k)
        return score_ranking(ids, queries.labels, database.labels)["map"]

    part = queries.codes[:LOOP_QUERIES]
    signs = [np.where(codes, np.float32(1), np.float32(-1)) for codes in (part, database.codes)]
    scale = len(queries.codes) / len(part)
    times = race(rounds, ours_mAP=ours, **faiss_searches(queries.codes, database.codes, top_k))
    loops = race(1, count_nonzero_and_argsort=lambda: [np.argsort(np.count_nonzero(database.codes != query, axis=1))
                                                       for query in part],
                 dot_product_and_argsort=lambda: [np.argsort(-(signs[1] @ query)) for query in signs[0]])
    scaled = {name: (scale * clock, scale * processor) for name, (clock, processor) in loops.items()}
    return report_race(title, times | scaled, "ours_mAP")


def read_once(columns):
    """Reads columns (words, N) once from memory, on as many threads as a search has."""
    count = columns.shape[1]
    map_blocks(lambda part: np.bitwise_or.reduce(columns[:, part], axis=1), count, -(-count // default_threads()))


def bench_sizes(bits: int, sizes: list[int], rounds: int) -> dict:
    """Search alone for one query and for a hundred against databases of several sizes, beside faiss and bare reading.

    Reading: the codes once from memory, by as many threads. {size: {one, hundred: report_race}}.
    """
    rng, found = np.random.default_rng(0), {}
    for count in sizes:
        database, queries = rng.random((count, bits)) < 0.5, rng.random((MANY, bits)) < 0.5
        index = CodeIndex(pack(database))
        top_k = min(TOP_K, count)

        found[str(count)] = {}
        for name, asked in (("one", queries[:1]), ("hundred", queries)):
            packed = pack(asked)
            times = race(rounds * max(1, min(20, 10 ** 6 // count)), ours=partial(index.search, packed, top_k),
                         **faiss_searches(asked, database, top_k), reading_the_codes=partial(read_once, index.columns))
            title = f"search, {name} of {bits} bits against {count:,} codes, top {top_k}"
            found[str(count)][name] = report_race(title, times, "ours")
    return found


def faiss_searches(query_codes: np.ndarray, db_codes: np.ndarray, top_k: int) -> dict[str, Callable]:
    """The two algorithms of faiss's IndexBinaryFlat, search only; {} without faiss. Codes: (N, bits) bool."""
    try:
        import faiss  # not a requirement of this project
    except ImportError:
        print("faiss is not installed: `pip install faiss-cpu` compares with it")
        return {}
    faiss.omp_set_num_threads(default_threads())
    queries, database = (np.packbits(np.pad(codes, ((0, 0), (0, -codes.shape[1] % 8))), axis=1)
                         for codes in (query_codes, db_codes))

    def search_with(heap):
        index = faiss.IndexBinaryFlat(8 * database.shape[1])
        index.use_heap = heap
        index.add(database)
        return lambda: index.search(queries, top_k)

    return {"faiss_search_counting": search_with(False), "faiss_search_heap": search_with(True)}


def faiss_flat(query_fc7: np.ndarray, db_fc7: np.ndarray, top_k: int) -> dict[str, Callable]:
    """faiss's exhaustive search of float32 vectors; {} without faiss."""
    try:
        import faiss  # not a requirement of this project
    except ImportError:
        return {}
    faiss.omp_set_num_threads(default_threads())
    index = faiss.IndexFlatL2(db_fc7.shape[1])
    index.add(db_fc7)
    return {"faiss_IndexFlatL2": lambda: index.search(query_fc7, top_k)}


def bench_defeat(title: str, queries: int, database: int, dimension: int, rounds: int) -> dict:
    """es beside a bare product on fc7 that no screen helps with: what the choice of a screen costs (report_race)."""
    query_fc7, db_fc7 = (defeating(count, dimension, seed) for seed, count in enumerate((queries, database)))
    index, top_k = Fc7Index(db_fc7), min(TOP_K, database)
    times = race(rounds, bare_product=lambda: bare_product(query_fc7, db_fc7),
                 es_without_a_screen=lambda: exhaustive(query_fc7, index, top_k, choose=lambda *_: None),
                 es=lambda: exhaustive(query_fc7, index, top_k))
    return report_race(title, times, "es_without_a_screen")


def bare_product(query_fc7: np.ndarray, db_fc7: np.ndarray):
    """All products of queries and database, in the blocks of a search without a screen."""
    for rows in block_slices(len(query_fc7), query_block(len(db_fc7))):
        query_fc7[rows] @ db_fc7.T


def bench_fine(title: str, queries: Side, database: Side, rounds: int) -> dict:
    """es and hdl beside the bare matrix product of the same size, and faiss (report_race)."""
    query_fc7, db_fc7 = np.asarray(queries.fc7), np.asarray(database.fc7)
    top_k = min(TOP_K, len(db_fc7))
    index, code_index, query_codes = Fc7Index(db_fc7), CodeIndex(pack(database.codes)), pack(queries.codes)
    radius = default_radius(code_index.search(query_codes, top_k)[1])
    pools = []

    def hdl():
        pools.append(hierarchical(query_fc7, index, top_k, code_index, query_codes, radius).pool.mean())

    times = race(rounds, bare_product=lambda: bare_product(query_fc7, db_fc7),
                 es=lambda: exhaustive(query_fc7, index, top_k), hdl_both_stages=hdl,
                 **faiss_flat(query_fc7, db_fc7, top_k))
    return report_race(f"{title} (hdl: T = {radius}, pool {pools[0]:,.0f} images)", times, "bare_product")


def bench_cost(queries: Side, database: Side) -> dict:
    """The paper's cost table (measures/cost.py), printed beside the authors' figures."""
    cost = measure_cost(pack(queries.codes), pack(database.codes), queries.codes.shape[1], queries.fc7, database.fc7)
    theirs = cost["published"]
    print(f"\nOne pair: Hamming ({cost['bits']} bits) {cost['hamming'] * 1e12:,.0f} ps; "
          f"Euclidean ({cost['dimension']:,} units) {cost['euclidean'] * 1e6:.2f} us query by query, "
          f"{cost['euclidean_blocked'] * 1e6:.3f} us in blocks (authors, their machine: "
          f"{theirs['hamming'] * 1e12:.1f} ps for 64 bits, {theirs['euclidean'] * 1e6:.1f} us)")
    return cost
