"""Snapshots that are whole or absent: <run>/snapshots/iter_N.{caffemodel,solverstate,json}, the json last.

Caffe writes model and solver state straight under their final names, so a kill in between would leave half a file.
Here it writes under a partial name, and the files are renamed when both are complete.
"""
import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Any

import caffe
from caffe.proto import caffe_pb2
from google.protobuf.message import DecodeError

from caffe_files.weights import layer_not_finite, read_caffemodel
from process.errors import DriverError
from process.files import PARTIAL, partial, put_in_place, whole_file, write_json
from process.identity import sha256
from process.readers import is_there, read_json, regular_file
from process.run_folder import RunFolder

KEPT_STATES = 2  # solver states (as large as the weights) are only of use for going on; models are all kept
CAFFES_PREFIX = PARTIAL.lstrip(".")  # Caffe puts _iter_N.<kind> behind it, so the word stands in front
PROGRESS_SCHEMA = {"type": "object", "required": ["losses", "first_loss", "elapsed_s"], "properties": {
    "losses": {"type": "array", "items": {"type": "number"}}, "first_loss": {"type": "number"},
    "elapsed_s": {"type": "number"}, "files": {"type": "object"}}}
GOING_ON = "the last whole snapshot is kept and the same command goes on from it"


class Snapshots:
    """The snapshots of a run, whose folder is made."""

    def __init__(self, run: RunFolder) -> None:
        self.folder, self.final_model = run.snapshots, run.final_model
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def prefix(self) -> str:
        """The solver's snapshot_prefix."""
        return str(self.folder / CAFFES_PREFIX)

    def path(self, iteration: int, kind: str) -> Path:
        """A file of a snapshot; kind: caffemodel, solverstate or json."""
        return self.folder / f"iter_{iteration}.{kind}"

    def _unfinished(self, iteration: int, kind: str) -> Path:
        return Path(f"{self.prefix}_iter_{iteration}.{kind}")

    def iterations(self) -> list[int]:
        """Iterations of the whole snapshots, ascending (with their solver state: one can go on from them).

        DriverError for one with a link that leads nowhere: what it led to may come back, a file removed by hand not.
        """
        found = [re.fullmatch(r"iter_(\d+)\.json", path.name) for path in self.folder.iterdir()]
        return sorted(n for n in (int(match[1]) for match in found if match)
                      if all(self._is_there(n, kind) for kind in ("caffemodel", "solverstate")))

    def _is_there(self, iteration: int, kind: str) -> bool:
        path = self.path(iteration, kind)
        return is_there(path) and bool(regular_file(path, "snapshot"))

    def last(self) -> int:
        """Iteration of the last whole snapshot, 0 when there is none."""
        return max(self.iterations(), default=0)

    def save(self, solver: caffe.SGDSolver, progress: dict[str, Any]) -> Path:
        """Saves the solver and a dict of the driver's own progress; returns the model's path."""
        n = solver.iter
        self.check_space(solver.net)
        _check_finite(solver.net, n)
        self.remove_partial()
        solver.snapshot()
        self._check_written(n)
        _point_state_to(self._unfinished(n, "solverstate"), self.path(n, "caffemodel"))
        for kind in ("caffemodel", "solverstate"):
            put_in_place(self._unfinished(n, kind), self.path(n, kind))
        write_json(self.path(n, "json"), {**progress, "files": self._digests(n)})
        for old in self.iterations()[:-KEPT_STATES]:
            self.path(old, "solverstate").unlink()
        return self.path(n, "caffemodel")

    def _check_written(self, iteration: int) -> None:
        """Caffe does not look whether the last bytes of a file reach the disk."""
        try:
            read_caffemodel(self._unfinished(iteration, "caffemodel"))
            whole = _read_state(self._unfinished(iteration, "solverstate")).iter == iteration
        except (DriverError, DecodeError):
            whole = False
        if not whole:
            raise DriverError(f"the snapshot of iteration {iteration} in {self.folder} could not be written whole "
                              f"(full disk?). Free some space; {GOING_ON}")

    def _digests(self, iteration: int) -> dict[str, dict[str, Any]]:
        """{kind: {"bytes", "sha256"}} of a snapshot's files; the state without its model's path, which may change."""
        model, state = self.path(iteration, "caffemodel"), _read_state(self.path(iteration, "solverstate"))
        state.ClearField("learned_net")
        content = state.SerializeToString(deterministic=True)
        return {"caffemodel": {"bytes": model.stat().st_size, "sha256": sha256(model)},
                "solverstate": {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}}

    def check_whole(self, iteration: int) -> None:
        """DriverError unless a snapshot's files are what was written; earlier versions', without digests, parse."""
        try:
            progress = read_json(self.path(iteration, "json"), PROGRESS_SCHEMA)
            read_caffemodel(self.path(iteration, "caffemodel"))
            found = self._digests(iteration)
        except DecodeError:
            raise self._damaged(iteration, "its solver state cannot be read") from None
        except DriverError as error:
            raise self._damaged(iteration, str(error)) from None
        if found != progress.get("files", found):
            raise self._damaged(iteration, "its length or SHA-256 is not the one written")

    def _damaged(self, iteration: int, why: str) -> DriverError:
        return DriverError(f"the snapshot {self.path(iteration, '*')} is damaged ({why}): remove its files, and the "
                           "same command goes on from the snapshot before it")

    def check_space(self, net: caffe.Net) -> None:
        """Caffe aborts on a full disk in the middle of a file: ask before.

        Needed are weights, momentum, and momentum once more (_point_state_to).
        """
        needed = 3.2 * sum(blob.data.nbytes for blobs in net.params.values() for blob in blobs)
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise DriverError(f"{self.folder}: a snapshot needs {needed / 1e6:.0f} MB, the disk has {free / 1e6:.0f} "
                              f"MB free. Free some space; {GOING_ON}")

    def remove_partial(self) -> None:
        """Removes what an interrupted save left."""
        for path in self.folder.iterdir():
            if path.name.startswith(f"{CAFFES_PREFIX}_iter_") or path.suffix == PARTIAL:
                path.unlink()

    def restore(self, solver: caffe.SGDSolver, iteration: int) -> dict[str, Any]:
        """Puts weights, momentum and iteration back; returns the driver's progress of that snapshot."""
        self.check_whole(iteration)
        state = self.path(iteration, "solverstate")
        _point_state_to(state, self.path(iteration, "caffemodel"))  # the run may have been moved
        solver.restore(str(state))
        return read_json(self.path(iteration, "json"), PROGRESS_SCHEMA)

    def make_final(self, iteration: int) -> Path:
        """<run>/final.caffemodel becomes the snapshot of that iteration (a hard link where there are any), at once.

        DriverError when the snapshot is damaged.
        """
        self.check_whole(iteration)
        model, final = self.path(iteration, "caffemodel"), self.final_model
        if final.exists() and final.samefile(model):
            return final
        beside = partial(final)
        beside.unlink(missing_ok=True)
        try:
            os.link(model, beside)
        except OSError:
            shutil.copyfile(model, beside)
        put_in_place(beside, final)
        return final


def _read_state(path: Path) -> caffe_pb2.SolverState:
    return caffe_pb2.SolverState.FromString(path.read_bytes())


def _point_state_to(state_file: Path, model_file: Path) -> None:
    """A solver state names its model by path: the one it had when Caffe wrote it."""
    state = _read_state(state_file)
    if state.learned_net == str(model_file):
        return
    state.learned_net = str(model_file)
    with whole_file(state_file) as file:
        file.write(state.SerializeToString())


def _check_finite(net: caffe.Net, iteration: int) -> None:
    """A snapshot of NaN would be one that nobody can go on from."""
    broken = layer_not_finite(net)
    if broken:
        raise DriverError(f"layer {broken} has weights that are not finite after iteration {iteration}: training has "
                          "diverged. Lower base_lr (by 10, say). No snapshot was taken of it; earlier ones are kept")
