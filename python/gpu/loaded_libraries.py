"""Versions of the CUDA libraries that Caffe has loaded into this process: asked of the libraries, not of file names."""
import ctypes
import re
from collections.abc import Callable
from pathlib import Path


def versions() -> dict[str, str]:
    """{"CUDA runtime": "13.0", "cuDNN": "9.24.0", ...}; {} for a Caffe built for the CPU."""
    maps = Path("/proc/self/maps").read_text()
    paths = set(re.findall(r"(/\S+/lib(?:cudart|cublas|cudnn|nccl|cuda)\.so\S*)", maps))
    found = {}
    for path in sorted(paths):
        name, ask = ASK[re.match(r"lib(\w+)", Path(path).name)[1]]
        found[name] = ask(ctypes.CDLL(path))
    return found


def _by_pointer(function: str, *dots: int) -> Callable[[ctypes.CDLL], str]:
    """Of libraries that fill an int, 13000 or 22703: its decimal parts, read off by the divisors given."""
    def ask(library: ctypes.CDLL) -> str:
        number = ctypes.c_int()
        getattr(library, function)(ctypes.byref(number))
        return dotted(number.value, *dots)
    return ask


def dotted(number: int, *divisors: int) -> str:
    """13020 by 1000, 10 is 13.2."""
    parts = []
    for divisor in divisors:
        parts.append(str(number // divisor))
        number %= divisor
    return ".".join(parts)


def _cudnn(library: ctypes.CDLL) -> str:
    library.cudnnGetVersion.restype = ctypes.c_size_t
    number = library.cudnnGetVersion()
    return dotted(number, 10_000, 100, 1) if number >= 90_000 else dotted(number, 1000, 100, 1)


def _cublas(library: ctypes.CDLL) -> str:
    parts = []
    for which in range(3):  # libraryPropertyType: major, minor, patch
        number = ctypes.c_int()
        library.cublasGetProperty(which, ctypes.byref(number))
        parts.append(str(number.value))
    return ".".join(parts)


ASK = {
    "cudart": ("CUDA runtime", _by_pointer("cudaRuntimeGetVersion", 1000, 10)),
    "cuda": ("CUDA of the driver", _by_pointer("cuDriverGetVersion", 1000, 10)),
    "cublas": ("cuBLAS", _cublas),
    "cudnn": ("cuDNN", _cudnn),
    "nccl": ("NCCL", _by_pointer("ncclGetVersion", 10_000, 100, 1)),
}
