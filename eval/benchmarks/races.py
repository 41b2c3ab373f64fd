"""Races: things that do the same are timed in turn, and told as ratios. Best of several rounds varies less than one."""

import resource
import time
from collections.abc import Callable

import numpy as np

LOOK_S = 0.005
IDLE_SHARE = 0.1        # of a processor
SPIN_S = 2.0            # longer than OpenMP's threads wait in a loop for more work


def race(rounds: int, **contestants: Callable) -> dict[str, tuple[float, float]]:
    """{name: best (seconds by the clock, processor seconds of all threads and child processes)}, run in turn."""
    best = dict.fromkeys(contestants, (np.inf, np.inf))
    for _ in range(rounds):
        for name, work in contestants.items():
            wait_until_idle()
            started = time.perf_counter(), processor_seconds()
            work()
            took = time.perf_counter() - started[0], processor_seconds() - started[1]
            best[name] = tuple(map(min, best[name], took))
    return best


def processor_seconds() -> float:
    """Of this process's threads and of the child processes that have ended, so far."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def wait_until_idle():
    """Wait for threads that the last contestant left behind in a loop: they would take the next one's processors."""
    until = time.perf_counter() + SPIN_S
    while time.perf_counter() < until:
        before = time.process_time()
        time.sleep(LOOK_S)
        if time.process_time() - before < IDLE_SHARE * LOOK_S:
            return


def in_words(seconds: float) -> str:
    """A time with three or four digits and its unit."""
    if seconds >= 1:
        return f"{seconds:.3f} s"
    return f"{1e3 * seconds:.1f} ms" if seconds >= 0.01 else f"{1e6 * seconds:.0f} us"


def report_race(title: str, times: dict[str, tuple[float, float]], against: str) -> dict:
    """Print the times, and each as a multiple of `against`. Processor time suffers less from other programs.

    Returns {name: {seconds, ratio, processor_seconds, processor_ratio}}.
    """
    print(f"\n{title}\n{'':36}{'clock':>11}{'ratio':>9}  {'processor':>14}{'ratio':>9}")
    table = {}
    for name, (clock, processor) in times.items():
        ratios = clock / times[against][0], processor / times[against][1]
        table[name] = {"seconds": clock, "ratio": ratios[0],
                       "processor_seconds": processor, "processor_ratio": ratios[1]}
        print(f"  {name.replace('_', ' '):<34}{in_words(clock):>11}{ratios[0]:9.2f} x{in_words(processor):>14}"
              f"{ratios[1]:9.2f} x")
    return table
