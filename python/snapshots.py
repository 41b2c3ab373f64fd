"""Snapshots that are whole or absent: <run>/snapshots/iter_N.{caffemodel,solverstate,json}, the json last.

Caffe writes model and solver state straight under their final names, so a kill in between would leave half a file.
Here it writes under a partial name, and the files are renamed when both are complete.
"""
import json
import os
import re
import shutil

import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf.message import DecodeError

from driver_errors import DriverError
from run_files import put_in_place, write_json
from weights import read_caffemodel

KEPT_STATES = 2  # solver states (as large as the weights) are only of use for going on; models are all kept


class Snapshots:
    """The snapshots folder of a run."""

    def __init__(self, run):
        self.folder = os.path.join(run, "snapshots")
        self.prefix = os.path.join(self.folder, "partial")
        os.makedirs(self.folder, exist_ok=True)

    def path(self, iteration, kind):
        return os.path.join(self.folder, f"iter_{iteration}.{kind}")

    def iterations(self):
        """Iterations of the whole snapshots, ascending (with their solver state: one can go on from them)."""
        found = [re.fullmatch(r"iter_(\d+)\.json", name) for name in os.listdir(self.folder)]
        return sorted(n for n in (int(match[1]) for match in found if match)
                      if all(os.path.exists(self.path(n, kind)) for kind in ("caffemodel", "solverstate")))

    def save(self, solver, progress):
        """Saves the solver and a dict of the driver's own progress; returns the model's path."""
        n = solver.iter
        self.check_space(solver.net)
        check_weights(solver.net, n)
        self.remove_partial()
        solver.snapshot()
        self._check_written(n)
        self._point_state_to(f"{self.prefix}_iter_{n}.solverstate", self.path(n, "caffemodel"))
        for kind in ("caffemodel", "solverstate"):
            put_in_place(f"{self.prefix}_iter_{n}.{kind}", self.path(n, kind))
        write_json(self.path(n, "json"), progress)
        for old in self.iterations()[:-KEPT_STATES]:
            os.remove(self.path(old, "solverstate"))
        return self.path(n, "caffemodel")

    def _check_written(self, iteration):
        """Caffe does not look whether the last bytes of a file reach the disk."""
        model, state = (f"{self.prefix}_iter_{iteration}.{kind}" for kind in ("caffemodel", "solverstate"))
        try:
            read_caffemodel(model)
            with open(state, "rb") as file:
                whole = caffe_pb2.SolverState.FromString(file.read()).iter == iteration
        except (DriverError, DecodeError):
            whole = False
        if not whole:
            raise DriverError(f"the snapshot of iteration {iteration} in {self.folder} could not be written whole (full disk?). Free some "
                              "space; the last whole snapshot is kept and the same command goes on from it")

    def check_space(self, net):
        """Caffe aborts on a full disk in the middle of a file: ask before. Weights, momentum and once more momentum (_point_state_to)."""
        needed = 3.2 * sum(blob.data.nbytes for blobs in net.params.values() for blob in blobs)
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise DriverError(f"{self.folder}: a snapshot needs {needed / 1e6:.0f} MB, the disk has {free / 1e6:.0f} MB free. "
                              "Free some space; the last whole snapshot is kept and the same command goes on from it")

    def remove_partial(self):
        for name in os.listdir(self.folder):
            if name.startswith("partial_iter_") or name.endswith(".partial"):
                os.remove(os.path.join(self.folder, name))

    def restore(self, solver, iteration):
        """Puts weights, momentum and iteration back; returns the driver's progress of that snapshot."""
        state = self.path(iteration, "solverstate")
        self._point_state_to(state, self.path(iteration, "caffemodel"))  # the run may have been moved
        solver.restore(state)
        with open(self.path(iteration, "json")) as file:
            return json.load(file)

    def _point_state_to(self, state_file, model_file):
        """A solver state names its model by path: the one it had when Caffe wrote it."""
        with open(state_file, "rb") as file:
            state = caffe_pb2.SolverState.FromString(file.read())
        if state.learned_net == model_file:
            return
        state.learned_net = model_file
        with open(state_file + ".partial", "wb") as file:
            file.write(state.SerializeToString())
        put_in_place(state_file + ".partial", state_file)


def check_weights(net, iteration):
    """A snapshot of NaN would be one that nobody can go on from."""
    for name, blobs in net.params.items():
        if not all(np.isfinite(blob.data.sum(dtype=np.float64)) for blob in blobs):
            raise DriverError(f"layer {name} has weights that are not finite after iteration {iteration}: training has diverged. Lower "
                              "base_lr (by 10, say). No snapshot was taken of it; earlier ones are kept")
