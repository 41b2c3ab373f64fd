"""Single queries against a database so large that its fc7 stays on disk: latency and memory."""

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from basics.rows import block_slices
from benchmarks.made_up import synthetic
from search.coarse import CodeIndex
from search.codes import pack
from search.engine import default_radius
from search.fine import Fc7Index, exhaustive, hierarchical

TOP_K = 1000
FINE_TOP_K = 10
QUERIES = 200
EXHAUSTIVE_QUERIES = 30     # half a second each


def bench_large(count: int, dimension: int, bits: int, scratch: Path | None) -> dict:
    """Latency of single queries against `count` images with fc7 in a file below `scratch`, and the memory it takes.

    Returns {count, latency: {stage: {p50_ms, p99_ms, queries}}, pool_mean, resident_gib}.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / "fc7.npy"
        rng = np.random.default_rng(0)
        codes = write_database(path, count, dimension, bits, rng)
        fc7 = np.load(path, mmap_mode="r")
        code_index, index = CodeIndex(pack(codes)), Fc7Index(fc7)
        chosen = rng.integers(0, count, QUERIES)
        query_codes, query_fc7 = pack(codes[chosen]), np.asarray(fc7[chosen])
        radius = default_radius(code_index.search(query_codes, min(TOP_K, count))[1])
        seconds, pool_mean = time_queries(code_index, index, query_codes, query_fc7, radius)
    print(f"\nOne query, {count:,} images, {bits} bits, fc7 of {dimension:,} on disk "
          f"(T = {radius}, pool {pool_mean:,.0f} images)")
    table = {name: latency(name, times) for name, times in seconds.items()}
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** 20
    print(f"  codes and norms in memory {(code_index.nbytes + index.nbytes) / 2 ** 20:,.0f} MiB; "
          f"fc7 on disk {count * dimension * 4 / 2 ** 30:.1f} GiB; "
          f"largest resident size {resident:.1f} GiB (mapped pages included)")
    return {"count": count, "latency": table, "pool_mean": pool_mean, "resident_gib": resident}


def write_database(path: Path, count: int, dimension: int, bits: int, rng: np.random.Generator) -> np.ndarray:
    """fc7 of `count` images into a .npy file, 2,000 varied again and again. Returns codes (count, bits)."""
    base, _ = synthetic(2000, 1, bits, dimension)
    fc7 = np.lib.format.open_memmap(path, "w+", np.float32, (count, dimension))
    codes = np.empty((count, bits), bool)
    for rows in block_slices(count, len(base.codes)):
        size = rows.stop - rows.start
        fc7[rows] = base.fc7[:size] + rng.random((size, 1), np.float32)
        codes[rows] = base.codes[:size] ^ (rng.random((size, bits)) < 0.05)
    fc7.flush()
    return codes


def time_queries(code_index: CodeIndex, index: Fc7Index, query_codes: np.ndarray, query_fc7: np.ndarray,
                 radius: int) -> tuple[dict[str, list[float]], float]:
    """({stage: seconds of each query}, mean pool) of queries asked one at a time."""
    seconds = {"coarse": [], "fine": [], "exhaustive fc7": []}
    pools = []
    for row in range(len(query_codes)):
        one = slice(row, row + 1)
        nearest = clocked(seconds["coarse"], code_index.search, query_codes[one], min(TOP_K, code_index.count))
        found = clocked(seconds["fine"], hierarchical, query_fc7[one], index, FINE_TOP_K, code_index, query_codes[one],
                        radius, nearest)
        pools.append(int(found.pool[0]))
    for row in range(EXHAUSTIVE_QUERIES):
        clocked(seconds["exhaustive fc7"], exhaustive, query_fc7[row:row + 1], index, FINE_TOP_K)
    return seconds, float(np.mean(pools))


def clocked(seconds: list[float], function: Callable, *arguments):
    """The function's result; its time is appended to `seconds`."""
    started = time.perf_counter()
    result = function(*arguments)
    seconds.append(time.perf_counter() - started)
    return result


def latency(name: str, times: list[float]) -> dict:
    """{p50_ms, p99_ms, queries}, printed as a line."""
    row = {"p50_ms": 1000 * float(np.quantile(times, 0.5)), "p99_ms": 1000 * float(np.quantile(times, 0.99)),
           "queries": len(times)}
    print(f"  {name:<16}p50 {row['p50_ms']:10.1f} ms   p99 {row['p99_ms']:10.1f} ms   ({row['queries']} queries)")
    return row
