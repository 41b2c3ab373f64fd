"""Races: things that do the same are timed in turn, and told as ratios. Best of several rounds varies less than one."""

import time
from collections.abc import Callable

import numpy as np


def race(rounds: int, **contestants: Callable) -> dict[str, tuple[float, float]]:
    """{name: best (seconds by the clock, processor seconds of all threads)}, the contestants run in turn."""
    best = dict.fromkeys(contestants, (np.inf, np.inf))
    for _ in range(rounds):
        for name, work in contestants.items():
            started = time.perf_counter(), time.process_time()
            work()
            took = time.perf_counter() - started[0], time.process_time() - started[1]
            best[name] = tuple(map(min, best[name], took))
    return best


def report_race(title: str, times: dict[str, tuple[float, float]], against: str) -> dict:
    """Print the times, and each as a multiple of `against`. Processor time suffers less from other programs.

    Returns {name: {seconds, ratio, processor_seconds, processor_ratio}}.
    """
    print(f"\n{title}\n{'':36}{'clock':>9}{'ratio':>12}{'processor':>14}{'ratio':>12}")
    table = {}
    for name, (clock, processor) in times.items():
        ratios = clock / times[against][0], processor / times[against][1]
        table[name] = {"seconds": clock, "ratio": ratios[0],
                       "processor_seconds": processor, "processor_ratio": ratios[1]}
        print(f"  {name.replace('_', ' '):<34}{clock:9.3f} s{ratios[0]:9.2f} x{processor:12.3f} s{ratios[1]:9.2f} x")
    return table
