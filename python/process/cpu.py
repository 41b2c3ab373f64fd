"""How Caffe computes on the CPU: which engine, on how many threads. Settled before its libraries load: they look once.

Engines: `onednn` (oneDNN and OpenMP; third_party/caffe/README.md) and `caffe` (BVLC Caffe's own layers, bit for bit).
They differ by rounding. The number of threads changes no bit with onednn; with caffe it can, by BLAS.
"""
import argparse
import math
import os
from pathlib import Path

from process.errors import DriverError

ENGINES = ("caffe", "onednn")
CPUINFO = Path("/proc/cpuinfo")
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def add_cpu_options(parser: argparse.ArgumentParser) -> None:
    """--engine and --threads, for use_cpu()."""
    parser.add_argument("--engine", choices=ENGINES,
                        help="of layers on the CPU (default: onednn where Caffe was built with it)")
    parser.add_argument("--threads", type=int, metavar="N",
                        help="on the CPU (default: the processors this process may use)")


def processor(cpuinfo: Path = CPUINFO) -> str:
    """The processor's name, as the kernel tells it; "" where it tells none."""
    names = (line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines()
             if line.startswith("model name"))
    return next(names, "")


def processors(quota: Path = QUOTA) -> int:
    """Processors this process may use: those of its affinity, or fewer where its control group has a quota."""
    allowed = len(os.sched_getaffinity(0))
    try:
        granted, period = quota.read_text().split()
        return allowed if granted == "max" else max(1, min(allowed, math.ceil(int(granted) / int(period))))
    except (OSError, ValueError):  # no control group of version 2
        return allowed


def use_cpu(engine: str | None, threads: int | None) -> None:
    """Sets what libcaffe, OpenMP and BLAS read when they load. None: as the environment says, else the default.

    DriverError for more threads than processors. A thread that waits sleeps (OMP_WAIT_POLICY): one that spins takes
    the processor from whatever else runs here.
    """
    allowed = processors()
    if threads is not None and not 1 <= threads <= allowed:
        raise DriverError(f"--threads {threads} (THREADS=): give 1 to {allowed}, the processors this process may use")
    if threads or "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = str(threads or allowed)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if engine:
        os.environ["CAFFE_ENGINE"] = engine


def threads_in_use() -> int:
    """Threads that libraries loaded after use_cpu() have."""
    return int(os.environ["OMP_NUM_THREADS"])
