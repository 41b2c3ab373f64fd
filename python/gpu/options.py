"""What device_activations.py can be told. Imports nothing that loads Caffe."""
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ActivationOptions:
    """Of one batch on one device. weights None: seeded noise."""
    setting: Path
    weights: Path | None
    seed: int
    gpu: str
    out: Path
