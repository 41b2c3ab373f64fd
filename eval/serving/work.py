"""Searches on a few threads, with a queue that has an end."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from basics.rows import default_threads
from serving.faults import Fault

MOST_WAITING = 128


class Workers:
    """run(function, ...) on a thread, one search to a thread. Fault 503 where too many wait already."""

    def __init__(self, threads: int | None = None):
        self.executor = ThreadPoolExecutor(threads or default_threads(), thread_name_prefix="search")
        self.waiting = 0

    async def run(self, function: Callable, *arguments):
        if self.waiting >= MOST_WAITING:
            raise Fault(503, f"{self.waiting} requests wait already: try again in a moment.", retry_after=1)
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self.executor, function, *arguments)
        finally:
            self.waiting -= 1

    def close(self):
        self.executor.shutdown(wait=False, cancel_futures=True)
