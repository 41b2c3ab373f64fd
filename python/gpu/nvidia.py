"""What the NVIDIA driver tells of the GPUs here, asked by nvidia-smi. Works before Caffe is built.

    python/gpu/nvidia.py    lists the GPUs; status 3 and the reason where there is none

Runs by itself with nothing but Python: make asks it before anything is installed.
"""
import csv
import os
import subprocess
import sys
from dataclasses import dataclass

# Known to drivers of the last ten years.
FIELDS = ("index", "uuid", "name", "driver_version", "memory.total", "memory.free")
NO_GPU = 3
PATIENCE_S = 120  # without the persistence daemon the driver starts with every question


@dataclass(frozen=True)
class Gpu:
    """A GPU by the number CUDA gives it. Memory in bytes, None where the driver does not tell (shared, MIG slices)."""
    index: int
    name: str
    driver: str
    total: int | None
    free: int | None

    def __str__(self) -> str:
        told = self.free is not None
        memory = f"{in_words(self.total)}, {in_words(self.free)} free" if told else "memory not told by the driver"
        return f"GPU {self.index}: {self.name}, {memory}"


def in_words(size: int) -> str:
    """Bytes in GiB."""
    return f"{size / 2**30:.1f} GiB"


def look() -> tuple[list[Gpu], str | None]:
    """([Gpu] as CUDA numbers them, None), or ([], why there is none)."""
    try:
        asked = subprocess.run(["nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"],
                               capture_output=True, text=True, timeout=PATIENCE_S)
    except FileNotFoundError:
        return [], "no NVIDIA driver is installed (there is no nvidia-smi)"
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], f"nvidia-smi gives no answer ({error})"
    rows = [row for row in csv.reader(asked.stdout.splitlines(), skipinitialspace=True) if len(row) == len(FIELDS)]
    if asked.returncode or not rows:
        words = (asked.stdout + asked.stderr).strip().splitlines() or [f"status {asked.returncode}"]
        return [], f"nvidia-smi lists no GPU: {words[0]}"
    gpus = visible(rows, os.environ.get("CUDA_VISIBLE_DEVICES"))
    return gpus, None if gpus else f"CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']} hides every GPU"


def visible(rows: list[list[str]], wanted: str | None) -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves, numbered as CUDA numbers them.

    As CUDA does, it stops at the first entry that names none. Indices mean nvidia-smi's order, since
    process/environment.py sets CUDA_DEVICE_ORDER so.
    """
    if wanted is None:
        return [_gpu(number, row) for number, row in enumerate(rows)]
    gpus = []
    for entry in (part.strip() for part in wanted.split(",")):
        if entry.startswith("MIG-"):
            gpus.append(Gpu(len(gpus), f"MIG slice {entry}", rows[0][3], None, None))
            continue
        found = [row for row in rows if entry == row[0] or (entry.startswith("GPU-") and row[1].startswith(entry))]
        if len(found) != 1:
            break
        gpus.append(_gpu(len(gpus), found[0]))
    return gpus


def _gpu(number: int, row: list[str]) -> Gpu:
    _, _, name, driver, total, free = row
    return Gpu(number, name, driver, _bytes(total), _bytes(free))


def _bytes(mebibytes: str) -> int | None:
    """None for "[N/A]" and the like, which some drivers say."""
    return int(mebibytes) << 20 if mebibytes.isdigit() else None


def main() -> int:
    """Lists the GPUs; returns the exit status."""
    gpus, absence = look()
    print("\n".join(map(str, gpus)) if gpus else absence)
    return 0 if gpus else NO_GPU


if __name__ == "__main__":
    sys.exit(main())
