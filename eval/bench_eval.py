"""How fast the evaluation is, as ratios within one run.

    .venv/bin/python eval/bench_eval.py                    codes and fc7 of the size of CIFAR-10
    .venv/bin/python eval/bench_eval.py --large 1000000    also one query against a million images, fc7 on disk

Times on a shared machine vary; ratios of things timed in turn, best of several rounds, vary less.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from blocks import block_slices, default_threads
from codes import pack
from coarse_search import CodeIndex
from cost import measure_cost
from eval_errors import EvalError, run_main
from eval_files import write_json
from feature_set import load_features
from fine_search import Fc7Index, exhaustive, hierarchical, query_block
from measures import score_ranking
from searches import default_radius

TOP_K = 1000
LOOP_QUERIES = 100          # the slow loops are timed on so many queries, and scaled up
EXHAUSTIVE_QUERIES = 30     # half a second each
CLASSES = 10


def synthetic(queries, database, bits, dimension, seed=0):
    """Labels, latent signs and fc7 of ten classes: fc7 a ReLU of a few dozen factors, as in a trained net."""
    rng = np.random.default_rng(seed)
    factors = 64
    class_factor = rng.normal(0, 1.5, (CLASSES, factors))
    to_bits, to_fc7 = rng.normal(size=(factors, bits)), rng.normal(size=(factors, dimension)).astype(np.float32)
    sides = []
    for count in (queries, database):
        labels = rng.integers(0, CLASSES, count)
        latent = class_factor[labels] + rng.normal(size=(count, factors))
        fc7 = latent.astype(np.float32) @ to_fc7 if dimension else None
        sides.append(SimpleNamespace(labels=labels, codes=latent @ to_bits >= 0, fc7=fc7 if fc7 is None else np.maximum(fc7, 0, out=fc7)))
    return sides


def race(rounds, **contestants):
    """{name: best (seconds by the clock, processor seconds of all threads)}, the contestants run in turn."""
    best = dict.fromkeys(contestants, (np.inf, np.inf))
    for _ in range(rounds):
        for name, work in contestants.items():
            started = time.perf_counter(), time.process_time()
            work()
            took = time.perf_counter() - started[0], time.process_time() - started[1]
            best[name] = tuple(map(min, best[name], took))
    return best


def report_race(title, times, against):
    """Print the times, and each as a multiple of `against`. Processor time suffers less from other programs."""
    print(f"\n{title}\n{'':36}{'clock':>9}{'ratio':>12}{'processor':>14}{'ratio':>12}")
    table = {}
    for name, (clock, processor) in times.items():
        ratios = clock / times[against][0], processor / times[against][1]
        table[name] = {"seconds": clock, "ratio": ratios[0], "processor_seconds": processor, "processor_ratio": ratios[1]}
        print(f"  {name.replace('_', ' '):<34}{clock:9.3f} s{ratios[0]:9.2f} x{processor:12.3f} s{ratios[1]:9.2f} x")
    return table


def bench_codes(title, queries, database, rounds):
    """mAP@1000 by codes beside faiss and the two loops commonly used."""
    packed = pack(queries.codes), pack(database.codes)
    top_k = min(TOP_K, len(database.codes))

    def ours():
        ids, _ = CodeIndex(packed[1]).search(packed[0], top_k)
        return score_ranking(ids, queries.labels, database.labels)["map"]

    part = queries.codes[:LOOP_QUERIES]
    signs = np.where(part, np.float32(1), np.float32(-1)), np.where(database.codes, np.float32(1), np.float32(-1))
    scale = len(queries.codes) / len(part)
    times = race(rounds, ours_mAP=ours, **faiss_searches(queries.codes, database.codes, top_k))
    loops = race(1, count_nonzero_and_argsort=lambda: [np.argsort(np.count_nonzero(database.codes != q, axis=1)) for q in part],
                 dot_product_and_argsort=lambda: [np.argsort(-(signs[1] @ q)) for q in signs[0]])
    scaled = {name: (scale * clock, scale * processor) for name, (clock, processor) in loops.items()}
    return report_race(title, times | scaled, "ours_mAP")


def faiss_searches(query_codes, db_codes, top_k):
    """The two algorithms of faiss's IndexBinaryFlat, search only; {} without faiss."""
    try:
        import faiss
    except ImportError:
        print("faiss is not installed: `pip install faiss-cpu` compares with it")
        return {}
    faiss.omp_set_num_threads(default_threads())

    def search_with(heap):
        padded = [np.pad(codes, ((0, 0), (0, -codes.shape[1] % 8))) for codes in (query_codes, db_codes)]
        index = faiss.IndexBinaryFlat(padded[0].shape[1])
        index.use_heap = heap
        index.add(np.packbits(padded[1], axis=1))
        queries = np.packbits(padded[0], axis=1)
        return lambda: index.search(queries, top_k)

    return {"faiss_search_counting": search_with(False), "faiss_search_heap": search_with(True)}


def bench_fine(title, queries, database, rounds):
    """es and hdl beside the bare matrix product of the same size."""
    query_fc7, db_fc7 = np.asarray(queries.fc7), np.asarray(database.fc7)
    top_k = min(TOP_K, len(db_fc7))
    index, code_index, query_codes = Fc7Index(db_fc7), CodeIndex(pack(database.codes)), pack(queries.codes)
    radius = default_radius(code_index.search(query_codes, top_k)[1])
    pool = []

    def product():
        for rows in block_slices(len(query_fc7), query_block(len(db_fc7))):
            query_fc7[rows] @ db_fc7.T

    def hdl():
        pool[:] = [hierarchical(query_fc7, index, top_k, code_index, query_codes, radius).pool.mean()]

    times = race(rounds, bare_product=product, es=lambda: exhaustive(query_fc7, index, top_k), hdl_both_stages=hdl)
    return report_race(f"{title} (hdl: T = {radius}, pool {pool[0]:,.0f} images)", times, "bare_product")


def bench_large(count, dimension, bits, scratch):
    """Latency of single queries against `count` images whose fc7 lies on disk, and the memory that takes."""
    rng = np.random.default_rng(0)
    base, _ = synthetic(2000, 1, bits, dimension)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / "fc7.npy"
        fc7 = np.lib.format.open_memmap(path, "w+", np.float32, (count, dimension))
        codes = np.empty((count, bits), bool)
        for rows in block_slices(count, len(base.codes)):
            size = rows.stop - rows.start
            fc7[rows] = base.fc7[:size] + rng.random((size, 1), np.float32)
            codes[rows] = base.codes[:size] ^ (rng.random((size, bits)) < 0.05)
        fc7.flush()
        del fc7
        fc7 = np.load(path, mmap_mode="r")
        code_index, index = CodeIndex(pack(codes)), Fc7Index(fc7)
        chosen = rng.integers(0, count, 200)
        query_codes, query_fc7 = pack(codes[chosen]), np.asarray(fc7[chosen])
        radius = default_radius(code_index.search(query_codes, TOP_K)[1])
        coarse, fine, whole, pools = [], [], [], []
        for q in range(len(chosen)):
            one = slice(q, q + 1)
            started = time.perf_counter()
            nearest = code_index.search(query_codes[one], TOP_K)
            coarse.append(time.perf_counter() - started)
            started = time.perf_counter()
            pools.append(int(hierarchical(query_fc7[one], index, 10, code_index, query_codes[one], radius, nearest).pool[0]))
            fine.append(time.perf_counter() - started)
        for q in range(EXHAUSTIVE_QUERIES):
            started = time.perf_counter()
            exhaustive(query_fc7[q:q + 1], index, 10)
            whole.append(time.perf_counter() - started)
    table = {name: {"p50_ms": 1000 * float(np.quantile(times, 0.5)), "p99_ms": 1000 * float(np.quantile(times, 0.99)), "queries": len(times)}
             for name, times in (("coarse", coarse), ("fine", fine), ("exhaustive fc7", whole))}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** 20
    print(f"\nOne query, {count:,} images, {bits} bits, fc7 of {dimension:,} on disk (T = {radius}, pool {np.mean(pools):,.0f} images)")
    for name, row in table.items():
        print(f"  {name:<16}p50 {row['p50_ms']:10.1f} ms   p99 {row['p99_ms']:10.1f} ms   ({row['queries']} queries)")
    print(f"  codes and norms in memory {(code_index.columns.nbytes + index.norms.nbytes) / 2 ** 20:,.0f} MiB; "
          f"fc7 on disk {count * dimension * 4 / 2 ** 30:.1f} GiB; largest resident size {memory:.1f} GiB (mapped pages included)")
    return {"count": count, "latency": table, "pool_mean": float(np.mean(pools)), "resident_gib": memory}


def report_cost(queries, database, bits):
    """The paper's cost table."""
    trial = SimpleNamespace(query_codes=pack(queries.codes), db_codes=pack(database.codes), query_fc7=queries.fc7,
                            db_fc7=database.fc7, bits=bits)
    cost = measure_cost(trial)
    print(f"\nOne pair: Hamming ({bits} bits) {cost['hamming'] * 1e12:,.0f} ps; Euclidean ({cost['dimension']:,} units) "
          f"{cost['euclidean'] * 1e6:.2f} us query by query, {cost['euclidean_blocked'] * 1e6:.3f} us in blocks "
          "(authors, their machine: 23.0 ps for 64 bits, 22.6 us)")
    return cost


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--queries", type=int, default=10000, help="default: %(default)s")
    add("--database", type=int, default=50000, help="default: %(default)s")
    add("--dimension", type=int, default=4096, help="units of fc7 (default: %(default)s)")
    add("--bits", type=int, nargs="+", default=[48, 128], help="default: 48 128")
    add("--features", type=Path, help="time a run's own codes and fc7 as well")
    add("--rounds", type=int, default=3, help="best of so many (default: %(default)s)")
    add("--only", nargs="*", choices=("codes", "fine", "cost"), default=["codes", "fine", "cost"], help="default: all")
    add("--large", type=int, default=0, metavar="IMAGES", help="single queries against so many; needs 4 bytes a unit on disk")
    add("--scratch", type=Path, help="where --large writes (default: the system's)")
    add("--out", type=Path, help="JSON file for the figures")
    return parser.parse_args(argv)


def main(argv=None):
    arguments = parse_arguments(argv)
    if min(arguments.queries, arguments.database, arguments.rounds, *arguments.bits) < 1:
        raise EvalError("--queries, --database, --rounds and --bits must be at least 1")
    figures = {"threads": default_threads()}
    rng = np.random.default_rng(0)
    size = f"{arguments.queries:,} x {arguments.database:,}"
    for bits in arguments.bits if "codes" in arguments.only else ():
        sides = [SimpleNamespace(codes=rng.random((count, bits)) < 0.5, labels=rng.integers(0, CLASSES, count))
                 for count in (arguments.queries, arguments.database)]
        figures[f"codes_{bits}"] = bench_codes(f"mAP@{TOP_K}, {size} uniform codes of {bits} bits", *sides, arguments.rounds)
    if {"fine", "cost"} & set(arguments.only):
        sides = synthetic(arguments.queries, arguments.database, arguments.bits[0], arguments.dimension)
        if "fine" in arguments.only:
            figures["fine"] = bench_fine(f"fc7, {size} x {arguments.dimension:,}", *sides, arguments.rounds)
        if "cost" in arguments.only:
            figures["cost"] = report_cost(*sides, arguments.bits[0])
        del sides
    if arguments.features:
        figures["features"] = bench_features(arguments)
    if arguments.large:
        figures["large"] = bench_large(arguments.large, arguments.dimension, arguments.bits[0], arguments.scratch)
    if arguments.out:
        write_json(arguments.out, figures)
    return 0


def bench_features(arguments):
    """The same races on a run's own features."""
    sides = [SimpleNamespace(codes=split.codes(), labels=split.labels, fc7=split.fc7) for split in load_features(arguments.features)]
    size = f"{len(sides[0].codes):,} x {len(sides[1].codes):,}, {sides[0].codes.shape[1]} bits of {arguments.features}"
    found = {"codes": bench_codes(f"mAP@{TOP_K}, {size}", *sides, arguments.rounds)}
    if "fine" in arguments.only and all(side.fc7 is not None for side in sides):
        found["fine"] = bench_fine(f"fc7, {size}", *sides, arguments.rounds)
    return found


if __name__ == "__main__":
    run_main(main)
