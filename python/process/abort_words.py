"""Caffe's last words before an abort, and what to do about those that a GPU is the cause of.

Numbers are cudaError_t of CUDA 10 to 13. Written after CUDA's documentation and the messages Caffe's users report;
never met on a GPU here.
"""
import re

FATAL = re.compile(r"^F\d{4,8} .*?\] (.*)$", re.MULTILINE)
CUDA = re.compile(r"error == cudaSuccess \((\d+) vs\. 0\)")
# cuBLAS and cuDNN have names of their own for it, cuDNN 9 longer ones than 8
HOST_MEMORY = re.compile(r"host allocation of size (\d+) failed")
OUT_OF_MEMORY = re.compile(r"cudaSuccess \(2 vs\. 0\)|_(ALLOC|ALLOCATION)_FAILED|ncclSystemError.*memory")

REBUILD = ("rebuild Caffe for it (make caffe CUDA=1 CUDA_ARCH=...; nvidia-smi --query-gpu=compute_cap tells the "
           "architecture)")
NO_CODE = f"this Caffe has no code for the GPU's architecture: {REBUILD}"
OLD_DRIVER = ("the NVIDIA driver is older than the CUDA that Caffe was built with: update the driver, or rebuild Caffe "
              "with an older CUDA toolkit (make caffe CUDA=1 CUDA_HOME=...)")
CUDA_ERRORS = {
    34: "Caffe found the stub of the driver's library, libcuda.so, not the driver's own: take CUDA's lib64/stubs out "
        "of LD_LIBRARY_PATH",
    35: OLD_DRIVER,
    46: "the GPU is busy or reserved for another process (compute mode EXCLUSIVE_PROCESS): nvidia-smi tells whose; "
        "wait, or take another",
    98: NO_CODE,
    100: "CUDA finds no GPU, though nvidia-smi does: in a container, start it with the GPUs (docker run --gpus all); "
         "else restart",
    101: "CUDA knows no GPU of this number",
    209: NO_CODE,
    214: "the GPU's memory has an error that cannot be corrected (ECC): restart, or take another GPU",
    222: OLD_DRIVER,
    802: "the GPUs' fabric manager is not running, or not ready: start nvidia-fabricmanager",
    803: "the driver's library and its kernel module are of different versions: restart the machine",
    804: "the installed CUDA compatibility package does not serve this GPU: remove it, or update the driver",
}


def last_words(log: str) -> str | None:
    """What Caffe said when it aborted, by its log; None when it did not."""
    fatal = FATAL.findall(log)
    return fatal[-1] if fatal else None


def out_of_memory(words: str) -> bool:
    """Whether Caffe's words tell of a full GPU, in the words of any of its libraries."""
    return bool(OUT_OF_MEMORY.search(words))


def explain(words: str) -> str | None:
    """A sentence on what to do; None for words of which nothing is known."""
    if "CPU-only" in words:
        return "this Caffe was built for the CPU; build one with CUDA (make caffe CUDA=1), or say GPU=none"
    if out_of_memory(words):
        return ("the GPU's memory is full (nvidia-smi tells by whom): train with smaller batches (--iter-size 2, or "
                "more; ITER_SIZE=2), extract with smaller ones (--batch), or say GPU=none")
    if HOST_MEMORY.search(words):
        return "the net needs more memory than the machine has: take a smaller net or smaller batches"
    found = CUDA.search(words)
    return CUDA_ERRORS.get(int(found[1])) if found else None
