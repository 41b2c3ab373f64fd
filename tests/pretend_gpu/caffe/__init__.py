"""Caffe as on a machine with GPUs, for tests on one without.

First on PYTHONPATH it is the real pycaffe whose GPU calls go to the CPU. Beside it an nvidia-smi. Environment:

PRETEND_ABORT       words a CUDA build would abort with, when it is put on a GPU
PRETEND_FULL_AFTER  iterations after which a solver finds the GPU's memory full,
PRETEND_FULL_RANK   that of this rank only
"""
import os
import sys

_here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_real = next(os.path.join(path, "caffe") for path in sys.path
             if os.path.abspath(path) != _here and os.path.exists(os.path.join(path, "caffe", "_caffe.so")))
__path__ = [_real]
__file__ = os.path.join(_real, "__init__.py")
with open(__file__) as _source:
    exec(compile(_source.read(), __file__, "exec"))

from pretend_nccl import NCCL  # noqa: E402, F401

from caffe import _caffe  # noqa: E402


def _abort(words):
    os.write(2, f"F1124 02:12:26.123456  1234 common.cpp:152] Check failed: {words}\n"
                "*** Check failure stack trace: ***\n".encode())
    os.abort()


def set_device(gpu):
    if "PRETEND_ABORT" in os.environ:
        _abort(os.environ["PRETEND_ABORT"])


set_mode_gpu = set_mode_cpu  # noqa: F821 (the real package's)


def has_nccl():
    return True


_step, _add_callback, _after_backward = _caffe.Solver.step, _caffe.Solver.add_callback, _caffe.Net.after_backward


def _full_step(solver, iterations):
    full_after = int(os.environ.get("PRETEND_FULL_AFTER", 1 << 30))
    for _ in range(iterations):
        if solver.iter >= full_after and int(os.environ.get("PRETEND_FULL_RANK", 0)) == solver_rank():  # noqa: F821
            _abort("error == cudaSuccess (2 vs. 0)  out of memory")
        _step(solver, 1)


def _add_any_callback(solver, *callback):
    if isinstance(callback[0], NCCL):
        callback = (lambda: None, callback[0].average_gradients)
    _add_callback(solver, *callback)


def _after_any_backward(net, callback):
    if not isinstance(callback, NCCL):  # it averages all layers at once, when every gradient is there
        _after_backward(net, callback)


_caffe.Solver.step = _full_step
_caffe.Solver.add_callback = _add_any_callback
_caffe.Net.after_backward = _after_any_backward
