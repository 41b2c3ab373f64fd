"""What extract.py can be told. Imports nothing that loads Caffe."""
from dataclasses import dataclass
from pathlib import Path

from process.run_folder import RunFolder

PROTOCOLS = ("authors", "caffe")  # of pre-processing: features/preprocess.py
SPLITS = ("train", "test")


@dataclass(frozen=True)
class ExtractOptions:
    """Exactly one of lmdb, images and databases is given. None elsewhere: as the run, the deploy net or the images say.

    mean: a path, or "none" for a net trained without a mean image.
    """
    run: RunFolder | None
    initial: bool
    net: Path | None
    weights: Path | None
    lmdb: Path | None
    images: list[str] | None
    databases: Path | None
    root: Path
    out: Path
    protocol: str
    mean: str | None
    scale: float | None
    resize: int | None
    latent_blob: str
    feature_blob: str
    batch: int | None
    thumbs: int | None
    gpu: str
    engine: str | None   # of the CPU: process/cpu.py
    threads: int | None
    any_memory: bool

    @property
    def caffe_log(self) -> Path:
        """Where Caffe's own log goes: into the run's, or beside the features."""
        if self.run:
            return self.run.caffe_log
        return (self.out if self.databases else self.out.parent) / "caffe.log"
