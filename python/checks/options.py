"""What gpu_check.py and bench_driver.py can be told. Imports nothing that loads Caffe."""
from dataclasses import dataclass
from pathlib import Path

WINDOW = 10  # iterations that a logged loss, or a measured time, is the mean of


@dataclass(frozen=True)
class CheckOptions:
    """Of gpu_check.py. devices: two of none or the index of a GPU. weights: a path, or "none" for noise and fillers."""
    setting: Path
    devices: list[str]
    weights: str
    seed: int
    iterations: int
    out: Path


@dataclass(frozen=True)
class BenchOptions:
    """Of bench_driver.py. setting: folders of prototxt; None: those whose databases exist."""
    setting: list[Path] | None
    lmdb: Path | None
    originals: Path | None
    iterations: int | None
    count: int | None
    rounds: int
    gpu: str


CONTENDERS = ("caffe", "onednn", "torch")


@dataclass(frozen=True)
class LayerOptions:
    """Of bench_layers.py. worker: the contender that this process is; None for the one that asks them in turns."""
    net: str
    batch: int
    rounds: int
    worker: str | None
    engine: str | None
    threads: int | None
