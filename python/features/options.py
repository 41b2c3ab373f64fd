"""What extract.py can be told. Imports nothing that loads Caffe."""
from dataclasses import dataclass
from pathlib import Path

from process.package_folder import PackageFolder
from process.run_folder import RunFolder

PROTOCOLS = ("authors", "caffe")  # of pre-processing: features/preprocess.py
SPLITS = ("train", "test")


@dataclass(frozen=True)
class ExtractOptions:
    """Exactly one of lmdb, images and databases is given. None elsewhere: as the run, the deploy net or the images say.

    mean: a path, or "none" for a net trained without a mean image.
    """
    run: RunFolder | None
    package: PackageFolder | None  # checked
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
    trust_net: bool

    @property
    def folders(self) -> list[Path]:
        """The folders of features to write: one, or with databases one for each split."""
        return [self.out / split for split in SPLITS] if self.databases else [self.out]

    @property
    def inputs(self) -> list[Path | None]:
        """Every file and folder that is read, as far as the options name it."""
        mean = Path(self.mean) if self.mean and self.mean != "none" else None
        of_run = [self.run.deploy, self.run.train_val, self.run.final_model, self.run.snapshots] if self.run else []
        images = [*self.split_databases(), *map(Path, self.images or [])]
        package = self.package.path if self.package else None
        return [self.net, self.weights, mean, self.lmdb, package, *images, *of_run]

    def split_databases(self) -> list[Path]:
        """Those of --databases that may be read, there or not. The folder around them may hold outputs too."""
        kinds = ("originals_lmdb", "lmdb")
        return [self.databases / f"{split}_{kind}" for split in SPLITS for kind in kinds] if self.databases else []

    @property
    def caffe_log(self) -> Path:
        """Where Caffe's own log goes: into the run's, or beside the features."""
        if self.run:
            return self.run.caffe_log
        return (self.out if self.databases else self.out.parent) / "caffe.log"
