"""Work on rows in blocks, on a few threads, with a progress bar when it takes more than two seconds.

numpy releases the interpreter's lock inside its loops, so plain threads share arrays without copies.
"""

import mmap
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

LARGE_FILE = 1 << 30     # bytes
RELEASED_ROWS = 1 << 16
GATHERED_ROWS = 64       # between two releases: rows that lie apart


def default_threads() -> int:
    """Number of processors this process may use."""
    return len(os.sched_getaffinity(0))


def evenly(count: int, most: int) -> np.ndarray:
    """At most `most` of the rows 0..count-1, evenly taken, first and last among them; ascending (n,) integers."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))


def block_slices(count: int, block: int) -> list[slice]:
    """[slice(0, block), slice(block, 2 * block), ...] covering range(count); the last may be shorter."""
    return [slice(start, min(start + block, count)) for start in range(0, count, block)]


def release(array: np.ndarray):
    """Give the pages of a large memory-mapped array back that were read so far; they are read again when needed.

    Pages of a file count as this process's memory until then, and a file may be larger than the memory. Reading one
    row may map 2 MiB around it. Nothing is done for small files and other arrays.
    """
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and len(mapped) >= LARGE_FILE and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def release_sometimes(array: np.ndarray, row: int):
    """`release` for a loop over all rows in blocks, at `row`: after every RELEASED_ROWS of them."""
    if row % RELEASED_ROWS == 0:
        release(array)


def gather(array: np.ndarray, wanted: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """array[wanted], or into `out`: of a large file in parts, each `release`d, since rows that lie apart map much."""
    out = np.empty((len(wanted), *array.shape[1:]), array.dtype) if out is None else out
    for part in block_slices(len(wanted), GATHERED_ROWS):
        out[part] = array[wanted[part]]
        release(array)
    return out


def map_blocks(work: Callable, count: int, block: int, threads: int | None = None, title: str | None = None) -> list:
    """[work(rows) for each slice of `block` rows out of `count`], in order, on `threads` threads.

    `work` must be safe to call from several threads at once. `title` names the progress bar (stderr).
    """
    slices = block_slices(count, block)

    def told(results):
        if title is None:       # a bar that is never shown takes longer to make than a small search
            return list(results)
        return list(tqdm(results, total=len(slices), desc=title, unit="block", delay=2, leave=False,
                         disable=None))      # None: only on a terminal

    threads = min(threads or default_threads(), len(slices))
    if threads <= 1:    # a thread would take longer to start than a single query's work
        return told(map(work, slices))
    executor = ThreadPoolExecutor(threads)
    try:
        return told(executor.map(work, slices))
    finally:
        executor.shutdown(cancel_futures=True)   # after Ctrl-C or an error the blocks not begun are left out
