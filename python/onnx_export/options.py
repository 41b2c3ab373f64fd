"""What export.py can be told. Imports nothing that loads Caffe."""
from dataclasses import dataclass
from pathlib import Path

from process.run_folder import RunFolder


@dataclass(frozen=True)
class ExportOptions:
    """run, or weights with or without their net."""
    run: RunFolder | None
    net: Path | None
    weights: Path | None
    out: Path
    latent_blob: str
    feature_blob: str
    trust_net: bool

    def beside(self, ending: str) -> Path:
        """A file that goes with the one written: model.onnx, model.deploy.prototxt."""
        return self.out.with_suffix(f".{ending}")
