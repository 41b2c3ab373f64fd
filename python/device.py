"""Chooses the device Caffe runs on. Caffe aborts on a GPU it cannot use, so it is asked first, in a process of its own."""
import os
import shutil
import subprocess

import several_gpus
from driver_errors import DriverError


def gpus_present():
    """Indices of the NVIDIA GPUs the driver lists; [] without a driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True)
    return [int(line) for line in listed.stdout.split()] if listed.returncode == 0 else []


def caffe_tool(name):
    """Path of a tool (caffe, convert_imageset, ...) of the Caffe whose pycaffe is imported."""
    import caffe
    path = os.path.realpath(os.path.join(os.path.dirname(caffe.__file__), "..", "..", "build", "tools", name))
    if not os.path.exists(path):
        raise DriverError(f"{path} is missing: the Caffe in use has no tool {name}; run make caffe")
    return path


def refusal(gpu):
    """Why Caffe cannot use this GPU, or None when it can."""
    asked = subprocess.run([caffe_tool("caffe"), "device_query", "-gpu", str(gpu)], capture_output=True, text=True)
    if asked.returncode == 0:
        return None
    if "CPU-only" in asked.stderr or "CPU_ONLY" in asked.stderr:
        return "this Caffe was built for the CPU; build one with CUDA (make caffe CUDA=1), or say GPU=none"
    if not gpus_present():
        return "no NVIDIA GPU or driver is here (nvidia-smi lists none); say GPU=none for the CPU"
    words = [line.split("] ", 1)[-1] for line in asked.stderr.splitlines() if line.startswith(("F", "E"))]
    return words[0] if words else f"caffe device_query ended with status {asked.returncode}"


def choose(option):
    """List of GPU indices for --gpu auto|none|N[,N...]; [] means the CPU. DriverError when a GPU asked for is unusable."""
    if option == "none":
        return []
    if option == "auto":
        return [gpu for gpu in gpus_present()[:1] if refusal(gpu) is None]
    try:
        gpus = [int(part) for part in option.split(",")]
    except ValueError:
        raise DriverError(f"--gpu {option}: give auto, none, or indices like 0 or 0,1") from None
    for gpu in gpus:
        why = refusal(gpu)
        if why:
            raise DriverError(f"--gpu {option}: GPU {gpu} cannot be used: {why}")
    if len(set(gpus)) != len(gpus):
        raise DriverError(f"--gpu {option}: a GPU is given twice")
    if len(gpus) > 1:
        several_gpus.check_nccl()
    return gpus


def use(gpus):
    """Puts Caffe of this process on the CPU or on the first GPU given; returns a name for people."""
    import caffe
    if not gpus:
        caffe.set_mode_cpu()
        return "CPU"
    if len(gpus) > 1:
        several_gpus.become(0, gpus)
        return "GPUs " + ", ".join(map(str, gpus))
    caffe.set_device(gpus[0])
    caffe.set_mode_gpu()
    return f"GPU {gpus[0]}"
