"""The folder of a run: where each of its files lies. The one place that spells them out."""
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from process.errors import DriverError
from process.identity import sha256
from process.readers import read_json

_FILE = {"type": "object", "required": ["file", "sha256"], "properties": {
    "file": {"type": ["string", "null"]}, "sha256": {"type": ["string", "null"]}}}
SETTINGS_SCHEMA = {"type": "object", "required": ["weights"], "properties": {
    "weights": _FILE, "iterations": {"type": "integer"}, "schedule": {"type": "number"},
    "train_data": {"type": "object"}, "test_data": {"type": "object"}}}


@dataclass(frozen=True)
class RunFolder:
    """runs/<run>. Its files need not exist."""
    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def settings(self) -> Path:
        """run.json: what the training was started with."""
        return self.path / "run.json"

    @property
    def solver(self) -> Path:
        """The solver that Caffe is given."""
        return self.path / "solver.prototxt"

    @property
    def train_val(self) -> Path:
        """The net that is trained and tested."""
        return self.path / "train_val.prototxt"

    @property
    def deploy(self) -> Path:
        """The net for extraction."""
        return self.path / "deploy.prototxt"

    @property
    def final_model(self) -> Path:
        """The weights at the end of training."""
        return self.path / "final.caffemodel"

    @property
    def snapshots(self) -> Path:
        """Folder of the snapshots."""
        return self.path / "snapshots"

    @property
    def train_log(self) -> Path:
        """Losses, speed and test accuracy as CSV."""
        return self.path / "train_log.csv"

    @property
    def curves(self) -> Path:
        """The log as a picture."""
        return self.path / "curves.png"

    @property
    def features(self) -> Path:
        """Folder of the features of both splits."""
        return self.path / "features"

    @property
    def evaluation(self) -> Path:
        """Folder of what eval/ makes of them."""
        return self.path / "eval"

    @property
    def standstill(self) -> Path:
        """What shows that the training stood still at its last test, and the likely causes; not there if it did not."""
        return self.path / "standstill.json"

    @property
    def caffe_log(self) -> Path:
        """What Caffe itself logs, of every program that worked on the run."""
        return self.path / "caffe.log"

    def refuse_other_folder(self) -> None:
        """DriverError when the folder is there and holds things, but none that tells a run: its log would go there."""
        if not self.path.exists() or any(path.exists() for path in (self.caffe_log, self.settings, self.train_val)):
            return
        found = sorted(path.name for path in self.path.iterdir()) if self.path.is_dir() else ["not a folder"]
        if found:
            raise DriverError(f"{self.path} ({found[0]}) is there and is no run (it has no {self.settings.name}): it "
                              "is left alone. Choose another --run")

    def read_settings(self) -> dict[str, Any]:
        """The content of run.json. FileNotFoundError when the folder has none."""
        return read_json(self.settings, SETTINGS_SCHEMA)

    def initial_weights(self) -> Path:
        """The weight file that the training started from. DriverError unless it is there and still that file."""
        if not self.settings.exists():
            raise DriverError(f"{self.settings} is missing, so nothing tells what {self} started from: name it with "
                              "--weights")
        start = self.read_settings()["weights"]
        if not start["file"]:
            raise DriverError(f"{self} started from the fillers: there is no net before fine-tuning")
        weights = Path(start["file"])
        if not weights.is_file():
            raise DriverError(f"{self} started from {weights}, which is not there: name its place with --weights")
        if sha256(weights) != start["sha256"]:
            raise DriverError(f"{weights} is not what {self} started from (SHA-256 {start['sha256']}): name that "
                              "with --weights")
        return weights
