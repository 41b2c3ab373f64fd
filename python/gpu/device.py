"""Chooses the device Caffe runs on. Caffe aborts on a GPU it cannot use: it is asked first, in a process of its own."""
import subprocess
from collections.abc import Callable, Sequence

import caffe

from gpu import nccl, nvidia
from process import abort_words
from process.errors import DriverError
from process.modules import run_module

PROBE_PATIENCE_S = 900  # a build without code for the very GPU lets the driver compile: minutes, once


def refusal(gpu: int) -> str | None:
    """Why Caffe cannot use this GPU, or None when it can."""
    try:
        asked = run_module("gpu.probe", gpu, timeout=PROBE_PATIENCE_S)
    except subprocess.TimeoutExpired:
        return f"a small net has not come back from it within {PROBE_PATIENCE_S} s"
    if asked.returncode == 0:
        return None
    last_line = (asked.stderr.strip().splitlines() or [f"status {asked.returncode}"])[-1]
    return _explained(abort_words.last_words(asked.stderr) or last_line, gpu)


def _explained(words: str, gpu: int) -> str:
    """Caffe's words made a sentence by what the driver tells.

    Without any driver, CUDA says error 35 (driver too old) as well.
    """
    if "CPU-only" in words:
        return abort_words.explain(words)
    gpus, absence = nvidia.look()
    if not gpus:
        return f"{absence}; say GPU=none for the CPU"
    if gpu not in range(len(gpus)):
        return f"there is no such GPU. Here are: {'; '.join(map(str, gpus))}"
    full = "its memory is full: nvidia-smi tells by whom"
    sentence = full if abort_words.out_of_memory(words) else abort_words.explain(words)
    return f"{gpus[gpu].name}, driver {gpus[gpu].driver}: {sentence} (Caffe: {words})" if sentence else words


def choose(option: str, say: Callable[[str], None] = print) -> tuple[int, ...]:
    """GPU indices for --gpu auto|none|N[,N...]; () means the CPU. DriverError when a GPU asked for is unusable.

    auto is the first GPU, where Caffe can use it, and the CPU otherwise.
    """
    if option == "none":
        return ()
    if option == "auto":
        return _first(say)
    try:
        gpus = tuple(int(part) for part in option.split(","))
    except ValueError:
        raise DriverError(f"--gpu {option}: give auto, none, or indices like 0 or 0,1") from None
    if len(set(gpus)) != len(gpus):
        raise DriverError(f"--gpu {option}: a GPU is given twice")
    for gpu in gpus:
        why = refusal(gpu)
        if why:
            raise DriverError(f"--gpu {option}: GPU {gpu} cannot be used: {why}")
    if len(gpus) > 1:
        nccl.check_nccl()
    return gpus


def _first(say: Callable[[str], None]) -> tuple[int, ...]:
    gpus, _ = nvidia.look()
    why = refusal(0) if gpus else None
    if why:
        say(f"GPU 0 is not used, the CPU is: {why}")
    return (0,) if gpus and not why else ()


def listed(gpus: Sequence[int]) -> list[nvidia.Gpu]:
    """The GPUs of these indices, as the driver tells of them now; those it does not tell of by their number alone."""
    known = dict(enumerate(nvidia.look()[0]))
    return [known.get(gpu) or nvidia.Gpu(gpu, "unknown", "unknown", None, None) for gpu in gpus]


def use(gpus: Sequence[int]) -> None:
    """Puts Caffe of this process on the CPU or on the first GPU given."""
    if not gpus:
        caffe.set_mode_cpu()
    elif len(gpus) > 1:
        nccl.become(0, gpus)
    else:
        caffe.set_device(gpus[0])
        caffe.set_mode_gpu()
