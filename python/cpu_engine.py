"""How Caffe computes on the CPU: which engine, on how many threads. Settled before its libraries load, which read it once.

Engines: `onednn` (oneDNN and OpenMP; see third_party/caffe) and `caffe` (BVLC Caffe's own layers, bit for bit). They differ by
rounding. The number of threads changes no bit with either.
"""
import math
import os

from driver_errors import DriverError

ENGINES = ("caffe", "onednn")


def add_options(parser):
    parser.add_argument("--engine", choices=ENGINES, help="of layers on the CPU (default: onednn where Caffe was built with it)")
    parser.add_argument("--threads", type=int, metavar="N", help="on the CPU (default: the processors this process may use)")


def processors():
    """Processors this process may use: those of its affinity, or fewer where its control group has a quota."""
    allowed = len(os.sched_getaffinity(0))
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        return allowed if quota == "max" else max(1, min(allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return allowed


def prepare(engine=None, threads=None):
    """Sets the environment that libcaffe, OpenMP and BLAS read when they load. DriverError for a number of threads that is none.

    A thread that waits sleeps (OMP_WAIT_POLICY): one that spins takes the processor from whatever else runs here.
    """
    allowed = processors()
    if threads is not None and not 1 <= threads <= allowed:
        raise DriverError(f"--threads {threads} (THREADS=): this process may use 1 to {allowed} processors")
    os.environ["OMP_NUM_THREADS"] = str(threads or min(allowed, int(os.environ.get("OMP_NUM_THREADS") or allowed)))
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if engine:
        os.environ["CAFFE_ENGINE"] = engine


def in_use():
    """The engine that computes; DriverError when the environment asks for one that this build of Caffe lacks."""
    import caffe  # loads the libraries: not before prepare()
    built = getattr(caffe, "has_onednn", lambda: False)()
    asked = os.environ.get("CAFFE_ENGINE") or ("onednn" if built else "caffe")
    if asked not in ENGINES:
        raise DriverError(f"CAFFE_ENGINE={asked}: no such engine; {' or '.join(ENGINES)}")
    if asked == "onednn" and not built:
        raise DriverError("this build of Caffe is without oneDNN: build it with `make caffe ONEDNN=1`, or use ENGINE=caffe")
    return asked


def threads():
    return int(os.environ["OMP_NUM_THREADS"])
