"""Chooses the device Caffe runs on. Caffe aborts on a GPU it cannot use, so it is asked first, in a process of its own."""
import os
import subprocess
import sys

import abort_words
import nvidia
import several_gpus
from driver_errors import DriverError

PROBE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gpu_probe.py")
PROBE_PATIENCE_S = 900  # a build without code for the very GPU lets the driver compile: minutes, once


def caffe_tool(name):
    """Path of a tool (caffe, convert_imageset, ...) of the Caffe whose pycaffe is imported."""
    import caffe
    path = os.path.realpath(os.path.join(os.path.dirname(caffe.__file__), "..", "..", "build", "tools", name))
    if not os.path.exists(path):
        raise DriverError(f"{path} is missing: the Caffe in use has no tool {name}; run make caffe")
    return path


def refusal(gpu):
    """Why Caffe cannot use this GPU, or None when it can."""
    try:
        asked = subprocess.run([sys.executable, PROBE, str(gpu)], capture_output=True, text=True, timeout=PROBE_PATIENCE_S)
    except subprocess.TimeoutExpired:
        return f"a small net has not come back from it within {PROBE_PATIENCE_S} s"
    if asked.returncode == 0:
        return None
    words = abort_words.last_words(asked.stderr) or (asked.stderr.strip().splitlines() or [f"status {asked.returncode}"])[-1]
    return _explained(words, gpu)


def _explained(words, gpu):
    """Caffe's words made a sentence by what the driver tells: without any, error 35 (driver too old) is what CUDA says as well."""
    if "CPU-only" in words:
        return abort_words.explain(words)
    gpus, absence = nvidia.look()
    if not gpus:
        return f"{absence}; say GPU=none for the CPU"
    if gpu not in range(len(gpus)):
        return f"there is no such GPU. Here are: {'; '.join(map(str, gpus))}"
    sentence = "its memory is full: nvidia-smi tells by whom" if abort_words.out_of_memory(words) else abort_words.explain(words)
    return f"{gpus[gpu].name}, driver {gpus[gpu].driver}: {sentence} (Caffe: {words})" if sentence else words


def choose(option, say=print):
    """List of GPU indices for --gpu auto|none|N[,N...]; [] means the CPU. DriverError when a GPU asked for is unusable.

    auto is the first GPU, where Caffe can use it, and the CPU otherwise.
    """
    if option == "none":
        return []
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # CUDA's own order is the fastest first: GPU 1 would not be nvidia-smi's
    if option == "auto":
        return _first(say)
    try:
        gpus = [int(part) for part in option.split(",")]
    except ValueError:
        raise DriverError(f"--gpu {option}: give auto, none, or indices like 0 or 0,1") from None
    if len(set(gpus)) != len(gpus):
        raise DriverError(f"--gpu {option}: a GPU is given twice")
    for gpu in gpus:
        why = refusal(gpu)
        if why:
            raise DriverError(f"--gpu {option}: GPU {gpu} cannot be used: {why}")
    if len(gpus) > 1:
        several_gpus.check_nccl()
    return gpus


def _first(say):
    gpus, _ = nvidia.look()
    why = refusal(0) if gpus else None
    if why:
        say(f"GPU 0 is not used, the CPU is: {why}")
    return [0] if gpus and not why else []


def listed(gpus):
    """[Gpu] of the indices given, as the driver tells of them now; those it does not tell of by their number alone."""
    known = dict(enumerate(nvidia.look()[0]))
    return [known.get(gpu) or nvidia.Gpu(gpu, "unknown", "unknown", None, None) for gpu in gpus]


def use(gpus):
    """Puts Caffe of this process on the CPU or on the first GPU given."""
    import caffe
    if not gpus:
        caffe.set_mode_cpu()
    elif len(gpus) > 1:
        several_gpus.become(0, gpus)
    else:
        caffe.set_device(gpus[0])
        caffe.set_mode_gpu()
