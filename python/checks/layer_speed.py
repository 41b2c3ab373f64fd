"""The engines of Caffe's layers and PyTorch side by side, layer by layer, in turns within one run.

Each contender is a process of its own that times one round when asked; they are asked in turns, and of each layer the
best round counts: what else runs on the machine then touches all alike. Beside them stands the time that the layer's
multiplications take at the rate of the best matrix product measured in the same run. Last come rounds beside a process
that keeps one core busy; of whole iterations the median counts there.
"""
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from tqdm import tqdm

from checks.layer_worker import UPDATE, Times
from checks.options import LayerOptions
from process.errors import DriverError

PROGRAM = Path(__file__).resolve().parents[1] / "bench_layers.py"
SIDE = 2048  # of the matrix product
ITERATION = 3  # of what _sums gives
# Multiplications of an image's forward pass in millions: outputs x kernel x channels of a group.
CAFFENET = {"conv1": 105.4, "conv2": 223.9, "conv3": 149.5, "conv4": 112.1, "conv5": 74.8, "fc6": 37.7, "fc7": 16.8}
LENET = {"conv1": 0.288, "conv2": 1.6, "fc7": 0.4}
MULTIPLICATIONS = {"caffenet": CAFFENET, "lenet": LENET}


def bench(options: LayerOptions) -> None:
    """Prints the table. Without PyTorch (requirements-bench.txt) its column is left out, and it says so."""
    names = ["caffe", "onednn"] + ["torch"] * (importlib.util.find_spec("torch") is not None)
    if "torch" not in names:
        print("PyTorch is not installed (pip install -r requirements-bench.txt): its column is left out")
    measured = measure(options, names)
    print(f"{options.net}, batch {options.batch}, best of {options.rounds} rounds in turns; matrix product "
          f"{measured.gflops:.0f} GFLOP/s")
    print("\n".join(table(measured, options)))


@dataclass(frozen=True)
class Measured:
    """best: {contender: {layer: [forward, backward]}} in ms. busy: {contender: ms of an iteration beside a busy core}.

    gflops: GFLOP/s of the best matrix product.
    """
    best: dict[str, Times]
    busy: dict[str, float]
    gflops: float


def measure(options: LayerOptions, names: list[str]) -> Measured:
    """All rounds of all contenders: of the machine as it is, then beside a busy core."""
    best: dict[str, Times] = {name: {} for name in names}
    busy: dict[str, list[float]] = {name: [] for name in names}
    gflops = 0.0
    with ExitStack() as workers:
        processes = {name: workers.enter_context(_worker(name, options)) for name in names}
        for _ in tqdm(range(options.rounds), "rounds", delay=2):
            gflops = max(gflops, matrix_product())
            for name, process in processes.items():
                for layer, times in _ask(name, process).items():
                    best[name][layer] = [min(pair) for pair in zip(times, best[name].get(layer, times))]
        with busy_core():
            for _ in tqdm(range(options.rounds), "rounds beside a busy core", delay=2):
                for name, process in processes.items():
                    busy[name].append(_sums(_ask(name, process))[ITERATION])
        for process in processes.values():
            process.stdin.close()
    return Measured(best, {name: median(times) for name, times in busy.items()}, gflops)


@contextmanager
def busy_core() -> Iterator[subprocess.Popen]:
    """Another process computes all the time, in a session of its own as those of another user do."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
    try:
        yield other
    finally:
        other.kill()
        other.wait()


def _worker(name: str, options: LayerOptions) -> subprocess.Popen:
    environment = {**os.environ, "GLOG_minloglevel": "2"} | ({} if name == "torch" else {"CAFFE_ENGINE": name})
    return subprocess.Popen([sys.executable, PROGRAM, "--worker", name, "--net", options.net, "--batch",
                             str(options.batch)], env=environment, text=True, stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE)


def _ask(name: str, process: subprocess.Popen) -> Times:
    """One round of a contender. DriverError when it has ended."""
    try:
        process.stdin.write("\n")
        process.stdin.flush()
        answer = process.stdout.readline()
    except BrokenPipeError:
        answer = ""
    if not answer:
        raise DriverError(f"the process that times {name} has ended: what it said stands above")
    return json.loads(answer)


def matrix_product() -> float:
    """GFLOP/s of one product of square float32 matrices by numpy's BLAS."""
    left = np.ones((SIDE, SIDE), np.float32)
    started = time.perf_counter()
    left @ left
    return 2e-9 * SIDE ** 3 / (time.perf_counter() - started)


def table(measured: Measured, options: LayerOptions) -> list[str]:
    """The lines: forward / backward in ms of each contender and of the FLOPs, then sums and ratios."""
    best, busy, gflops = measured.best, measured.busy, measured.gflops
    names = list(best)
    lines = ["| layer | " + " | ".join(names) + " | FLOPs |", "|---" * (len(names) + 2) + "|"]
    wanted = MULTIPLICATIONS[options.net]
    flops = {layer: 2 * options.batch * millions / gflops for layer, millions in wanted.items()}  # ms
    for layer in best["caffe"]:
        cells = [_pair(best[name].get(layer)) for name in names]
        backward = 1 if layer == "conv1" else 2  # the images' gradient is not wanted
        cells.append(_pair([flops[layer], backward * flops[layer]]) if layer in flops else "-")
        lines.append(f"| {layer} | " + " | ".join(cells) + " |")
    sums = {name: _sums(best[name]) for name in names}
    for row, what in enumerate(("forward", "backward", "update", "iteration")):
        cells = [f"{sums[name][row]:.1f}" for name in names] + [f"{sum(flops.values()):.1f}" if row == 0 else "-"]
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    lines.append("| iteration beside a busy core | " + " | ".join(f"{busy[name]:.1f}" for name in names) + " | - |")
    for name in names:
        if name != "onednn":
            lines.append(f"onednn / {name}: forward {sums['onednn'][0] / sums[name][0]:.2f}, "
                         f"iteration {sums['onednn'][ITERATION] / sums[name][ITERATION]:.2f}, "
                         f"beside a busy core {busy['onednn'] / busy[name]:.2f}")
    lines.append(f"onednn / FLOPs at the matrix product's rate: forward {sums['onednn'][0] / sum(flops.values()):.2f}")
    return lines


def _pair(times: list[float] | None) -> str:
    return " / ".join(f"{value:.1f}" for value in times) if times else "-"


def _sums(times: Times) -> tuple[float, float, float, float]:
    """Forward, backward, update and the whole iteration of one contender, in ms."""
    layers = [pair for layer, pair in times.items() if layer != UPDATE]
    forward, backward, update = sum(f for f, _ in layers), sum(b for _, b in layers), sum(times[UPDATE])
    return forward, backward, update, forward + backward + update
