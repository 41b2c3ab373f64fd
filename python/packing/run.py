"""One call of package.py, from its options to the folder. Behind the guard's fork."""
import os
import shlex
import shutil
from pathlib import Path
from typing import TextIO

import numpy as np

from caffe_files.mean_image import read_mean
from nets.blobs import OWN
from onnx_export.options import ExportOptions
from onnx_export.run import export
from packing.card import Card
from packing.finished import Finished, finished_run
from packing.options import PackageOptions
from process.errors import DriverError
from process.files import lock_folder, partial, refuse_existing, write_json
from process.identity import sha256
from process.outputs import refuse_foreign_folder, refuse_inputs_as_outputs
from process.package_folder import NAMES, SUMS, PackageFolder


def package(options: PackageOptions, console: TextIO) -> None:
    """Writes the package whole or not at all: it has its name once the last checksum is written."""
    refuse_existing(options.out)
    refuse_inputs_as_outputs([options.out], [options.run.path])
    run = finished_run(options.run)
    beside = _new_folder(options.out)
    made = PackageFolder(beside)
    _copy(run, made, options.further)
    _copy_mean(run, made)
    np.save(made.file("codes.npy"), run.packed_codes())
    write_json(made.file("meta.json"), _meta(run, made))
    export(ExportOptions(None, made.deploy, made.weights, made.file("model.onnx"), OWN, run.meta["blobs"]["fc7"],
                         trust_net=False), console)
    names = frozenset({path.name for path in beside.iterdir()} | {SUMS})
    made.file("README.md").write_text(Card(run, options.licence, names).text(), "utf-8", "backslashreplace")
    _write_sums(made)
    beside.rename(options.out)
    print(f"{options.out}: {run.meta['count']:,} codes of {run.meta['bits']} bits, "
          f"{sum(path.stat().st_size for path in options.out.iterdir()) / 1e6:,.1f} MB; README.md is its model card, "
          f"make query PACKAGE={shlex.quote(str(options.out))} IMAGE=photo.jpg asks it", file=console)


def _new_folder(out: Path) -> Path:
    """<out>.partial, empty: what a stopped call left there goes."""
    beside = partial(out)
    refuse_foreign_folder(beside, {*NAMES, *(partial(Path(name)).name for name in NAMES)}, "a package")
    beside.mkdir(parents=True, exist_ok=True)
    lock_folder(beside)
    for path in beside.iterdir():
        path.unlink()
    return beside


def _copy(run: Finished, made: PackageFolder, further: tuple[str, ...]) -> None:
    """The files that are taken as they are."""
    files = {made.deploy: run.folder.deploy, made.weights: run.folder.final_model,
             made.file("results.json"): run.results_file}
    for name in ("labels.npy", "ids.txt", *(f"{array}.npy" for array in further)):
        files[made.file(name)] = run.database / name
    for target, source in files.items():
        if not source.is_file():
            raise DriverError(f"{source} is missing, so it cannot go into the package: leave it out of --with, or "
                              "extract it")
        shutil.copyfile(source, target)


def _copy_mean(run: Finished, made: PackageFolder) -> None:
    """The mean image to the letter, for Caffe, and as an array for those who have none."""
    if not run.mean:
        return
    if run.mean.suffix != ".npy":
        shutil.copyfile(run.mean, made.file("mean.binaryproto"))
        np.save(made.file("mean.npy"), read_mean(run.mean))
    else:
        shutil.copyfile(run.mean, made.file("mean.npy"))


def _meta(run: Finished, made: PackageFolder) -> dict:
    """meta.json of the database with the package's own names; where things lay on this machine goes nobody any more."""
    mean = {"file": "mean.npy" if run.mean and run.mean.suffix == ".npy" else "mean.binaryproto",
            "sha256": (run.meta["mean"] or {}).get("sha256")}
    return {**run.meta, "weights": {**run.meta["weights"], "file": made.weights.name},
            "net": {**run.meta["net"], "file": made.deploy.name}, "mean": mean if run.mean else None,
            "data": {**run.meta["data"], "path": Path(run.meta["data"]["path"]).name}, "run": run.folder.path.name}


def _write_sums(made: PackageFolder) -> None:
    """SHA256SUMS, which `sha256sum -c` reads. Everything is on the disk before."""
    lines = []
    for path in sorted(made.path.iterdir()):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        lines.append(f"{sha256(path)}  {path.name}\n")
    made.file(SUMS).write_text("".join(lines))
