"""A package, a run to hand on: one folder whose SHA256SUMS tells whether it is whole."""
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from process.errors import DriverError
from process.identity import sha256
from process.readers import read_json

SUMS = "SHA256SUMS"
SUM = re.compile(r"([0-9a-f]{64}) [ *]([^/\\]+)")  # a line, as sha256sum writes it
# Arrays of the database that a package may have beside its codes.
FURTHER = ("fc7", "thumbs")
# Whatever a package may hold: one with anything else in it is not replaced.
NAMES = ("README.md", "deploy.prototxt", "model.caffemodel", "model.onnx", "mean.binaryproto", "mean.npy", "codes.npy",
         "labels.npy", "ids.txt", "meta.json", "results.json", *(f"{name}.npy" for name in FURTHER), SUMS)
ADVICE = "get the package again, or make it anew with make package"


@dataclass(frozen=True)
class PackageFolder:
    """<package>/. Its files need not exist until check() has seen them."""
    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def file(self, name: str) -> Path:
        """One of its files, by a name of NAMES."""
        return self.path / name

    @property
    def deploy(self) -> Path:
        """The net."""
        return self.file("deploy.prototxt")

    @property
    def weights(self) -> Path:
        """Its weights."""
        return self.file("model.caffemodel")

    @cached_property
    def meta(self) -> dict[str, Any]:
        """What made its codes: meta.json, as extract.py writes it."""
        return read_json(self.file("meta.json"))

    @property
    def mean(self) -> Path | None:
        """Its mean image; None for a net without one."""
        return self.file(Path(self.meta["mean"]["file"]).name) if self.meta.get("mean") else None

    def check(self) -> None:
        """DriverError unless every file is there, with the content that it was packed with, and none came later."""
        sums = self._sums()
        for name, packed in sums.items():
            if not self.file(name).is_file():
                raise DriverError(f"{self} is not whole: {name} is missing; {ADVICE}")
            if sha256(self.file(name)) != packed:
                raise DriverError(f"{self.file(name)} is not what was packed: its SHA-256 is not the one of {SUMS}; "
                                  f"{ADVICE}")
        added = [name for name in NAMES if name not in sums and name != SUMS and self.file(name).exists()]
        if added:
            raise DriverError(f"{self.file(added[0])} was not packed: {SUMS} does not list it. Take it out, or "
                              f"{ADVICE}")

    def _sums(self) -> dict[str, str]:
        """{name: SHA-256} of the packed files."""
        file = self.file(SUMS)
        if not file.is_file():
            raise DriverError(f"{self} is no package: it has no {SUMS}. make package RUN= OUT= makes one")
        found = [SUM.fullmatch(line) for line in file.read_text(errors="replace").splitlines()]
        if not all(found) or not {"deploy.prototxt", "model.caffemodel", "meta.json"} <= {sum_[2] for sum_ in found}:
            raise DriverError(f"{file} is damaged: {ADVICE}")
        return {sum_[2]: sum_[1] for sum_ in found}
