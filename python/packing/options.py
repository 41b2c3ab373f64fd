"""What package.py can be told. Imports nothing that loads Caffe."""
from dataclasses import dataclass
from pathlib import Path

from process.run_folder import RunFolder


@dataclass(frozen=True)
class PackageOptions:
    """further: arrays of the database to take along, names of FURTHER. licence: of the weights, an identifier."""
    run: RunFolder
    out: Path
    further: tuple[str, ...]
    licence: str | None
