"""What train.py can be told. Imports nothing that loads Caffe."""
from dataclasses import dataclass
from pathlib import Path

from process.run_folder import RunFolder


@dataclass(frozen=True)
class TrainOptions:
    """None: as the solver says; weights None: from the fillers."""
    solver: Path
    run: RunFolder
    weights: Path | None
    iterations: int | None
    schedule: float      # the part of the solver's schedule that is trained
    seed: int | None
    gpu: str
    engine: str | None   # of the CPU: process/cpu.py
    threads: int | None
    iter_size: int | None
    share_batch: bool
    any_memory: bool
    trust_net: bool
    snapshot_every: int | None
    test_every: int | None  # 0: never
