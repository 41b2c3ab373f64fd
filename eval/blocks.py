"""Work on rows in blocks, on a few threads, with a progress bar when it takes more than two seconds.

numpy releases the interpreter's lock inside its loops, so plain threads share arrays without copies.
"""

import os
from concurrent.futures import ThreadPoolExecutor

from tqdm import tqdm


def default_threads():
    """Number of processors this process may use."""
    return len(os.sched_getaffinity(0))


def block_slices(count, block):
    """[slice(0, block), slice(block, 2 * block), ...] covering range(count); the last may be shorter."""
    return [slice(start, min(start + block, count)) for start in range(0, count, block)]


def map_blocks(work, count, block, threads=None, title=None):
    """[work(rows) for each slice of `block` rows out of `count`], in order, on `threads` threads.

    `work` must be safe to call from several threads at once. `title` names the progress bar (stderr).
    """
    slices = block_slices(count, block)
    with ThreadPoolExecutor(threads or default_threads()) as executor:
        results = executor.map(work, slices)
        return list(tqdm(results, total=len(slices), desc=title, unit="block", delay=2,
                         leave=False, disable=None if title else True))  # None: only on a terminal
