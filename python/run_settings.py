"""The settings of a run, kept in <run>/run.json, and the nets and solver resolved from them, as Caffe gets them."""
import json
import os
import shutil
import subprocess
import time

from caffe.proto import caffe_pb2

from data_checks import check_data_layer
from driver_errors import DriverError
from prototxt_files import copy_net, data_layer, loss_bottoms, message_text, read_net, read_solver, write_net
from run_files import write_json
from weights import sha256

# What may differ when a run goes on: how long it trains, and where things lie.
MAY_CHANGE = ("iterations", "started", "commit", "solver_file")
LATER_ONES = ("iter_size", "devices")  # not in run.json of earlier versions


def commit():
    """Short commit of the checkout this file is in, with + when it has changes; None outside git."""
    here = os.path.dirname(os.path.abspath(__file__))
    described = subprocess.run(["git", "-C", here, "describe", "--always", "--dirty=+", "--exclude=*"],
                               capture_output=True, text=True)
    return described.stdout.strip() or None


class Problem:
    """What the solver file asks for, checked: nets, databases, mean image, labels.

    devices: how many train together, each with batches of its own, or, with `share`, with its part of the prototxt's.
    iter_size: passes an iteration is cut into, their gradients added; the batches shrink so that its images stay the same.
    """

    def __init__(self, solver_file, devices=1, iter_size=None, share=False):
        self.solver_file, self.devices = solver_file, devices
        self.solver = read_solver(solver_file)
        self.net_file = self.solver.net
        self.net = read_net(self.net_file)
        _, _, self.classes = loss_bottoms(self.net, self.net_file)
        self.train_layer = data_layer(self.net, caffe_pb2.TRAIN, self.net_file)
        self.test_layer = data_layer(self.net, caffe_pb2.TEST, self.net_file)
        self.train_images, self.train_meta = check_data_layer(self.train_layer, self.classes, self.net_file)
        self.test_images, self.test_meta = check_data_layer(self.test_layer, self.classes, self.net_file)
        self._asked = (self.train_layer.data_param.batch_size * self.solver.iter_size, self.test_layer.data_param.batch_size,
                       self.solver.iter_size, devices if share else 1)
        self.cut = self._cut(iter_size or self.solver.iter_size)

    def _cut(self, iter_size):
        """Puts iter_size and the batches that go with it into solver and net; returns whether that changed anything."""
        images, _, before, parts = self._asked
        if iter_size not in self.iter_sizes():
            raise DriverError(
                f"{images} images an iteration ({self.net_file}) cannot be cut into {iter_size * parts} equal batches (iter_size {iter_size}"
                + (f", {parts} GPUs" if parts > 1 else "") + f"). iter_size may be {', '.join(map(str, self.iter_sizes())) or 'none'}")
        self.train_layer.data_param.batch_size, self.test_layer.data_param.batch_size = self.batches(iter_size)
        self.solver.iter_size = iter_size
        return (iter_size, parts) != (before, 1)

    def iter_sizes(self):
        """Those that divide the images of an iteration on one device."""
        images, _, _, parts = self._asked
        return [n for n in range(1, images + 1) if images % (n * parts) == 0]

    def batches(self, iter_size):
        """(training batch, test batch) of one device at this iter_size. How the test set is cut changes no result."""
        images, test, before, parts = self._asked
        return images // (iter_size * parts), max(1, test * before // (iter_size * parts))

    @property
    def batch(self):
        """Images per iteration: Caffe's batch_size times iter_size, on every device."""
        return self.train_layer.data_param.batch_size * self.solver.iter_size * self.devices

    def settings(self, weights, seed, iterations, engine):
        """engine: of the CPU, None on a GPU."""
        return dict(
            dataset=self.train_meta.get("dataset"), net=self.net.name, bits=self._bits(), classes=self.classes,
            seed=seed, iterations=iterations, batch=self.batch, iter_size=self.solver.iter_size, devices=self.devices,
            engine=engine,
            weights=dict(file=weights, sha256=sha256(weights)) if weights else dict(file=None, sha256=None),
            solver=message_text(self.solver),
            solver_file=self.solver_file,
            net_text=message_text(self.net),
            train_data=dict(path=self.train_layer.data_param.source, images=self.train_images,
                            fingerprint=self.train_meta.get("fingerprint")),
            test_data=dict(path=self.test_layer.data_param.source, images=self.test_images,
                           fingerprint=self.test_meta.get("fingerprint")),
            commit=commit(), started=time.strftime("%Y-%m-%d %H:%M:%S"))

    def _bits(self):
        sigmoids = [layer.bottom[0] for layer in self.net.layer if layer.type == "Sigmoid"]
        widths = [layer.inner_product_param.num_output for layer in self.net.layer
                  if layer.type == "InnerProduct" and layer.top[0] in sigmoids]
        return widths[-1] if widths else None


def check_unchanged(run, settings):
    """DriverError when the run was started with other settings. For a run that has something to go on from."""
    path = os.path.join(run, "run.json")
    if not os.path.exists(path):
        raise DriverError(f"{run} has snapshots and no run.json that tells of what: remove it, or give the new run another name")
    with open(path) as file:
        before = json.load(file)
    before.setdefault("engine", settings["engine"] and "caffe")  # the only one there was
    for name in settings:
        if name in LATER_ONES and name not in before:
            continue
        if name not in MAY_CHANGE and _without_paths(before.get(name)) != _without_paths(settings[name]):
            raise DriverError(f"{run} was started with another {name} ({_short(before.get(name))}; now {_short(settings[name])}). "
                              "Give the new run another name (RUN=, --run) or remove the old one")


def write_settings(run, settings, going_on):
    """Writes run.json; of a run that goes on only its length changes."""
    path = os.path.join(run, "run.json")
    if going_on:
        with open(path) as file:
            settings = dict(json.load(file), iterations=settings["iterations"])
    write_json(path, settings)


def initial_weights(run):
    """The weight file that a run's training started from, if it still is that file."""
    path = os.path.join(run, "run.json")
    if not os.path.exists(path):
        raise DriverError(f"{path} is missing, so nothing tells what {run} started from: name it with --weights")
    with open(path) as file:
        start = json.load(file)["weights"]
    if not start["file"]:
        raise DriverError(f"{run} started from the fillers: there is no net before fine-tuning")
    if not os.path.isfile(start["file"]):
        raise DriverError(f"{run} started from {start['file']}, which is not there: name its place with --weights")
    if sha256(start["file"]) != start["sha256"]:
        raise DriverError(f"{start['file']} is not what {run} started from (SHA-256 {start['sha256']}): name that with --weights")
    return start["file"]


def _without_paths(value):
    """Files are compared by what is in them, where that is known."""
    if isinstance(value, dict) and (value.get("sha256") or value.get("fingerprint")):
        return {name: part for name, part in value.items() if name not in ("file", "path")}
    return value


def _short(value):
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def write_resolved(run, problem, seed, prefix, gpus):
    """Writes the run's own copies of the prototxt; returns the path of the solver that Caffe is given.

    The solver's snapshots and tests are done by the driver (atomically, and on every test image), so they are off.
    """
    resolved = caffe_pb2.SolverParameter()
    resolved.CopyFrom(problem.solver)
    for name in ("test_iter", "test_interval", "snapshot", "display"):
        resolved.ClearField(name)
    resolved.net = os.path.join(run, "train_val.prototxt")
    resolved.random_seed = seed
    resolved.snapshot_prefix = prefix
    mode = caffe_pb2.SolverParameter
    resolved.solver_mode = mode.GPU if gpus else mode.CPU
    resolved.device_id = gpus[0] if gpus else 0
    resolved.snapshot_after_train = False
    if len(gpus) > 1 and resolved.iter_size > 1:
        # Caffe starts to exchange a layer's gradient behind every backward pass, and the next pass would add to it meanwhile.
        resolved.layer_wise_reduce = False
    if problem.cut:
        write_net(problem.net, resolved.net, f"{problem.net_file} with batches for iter_size {resolved.iter_size}")
    else:
        copy_net(problem.net_file, resolved.net)
    deploy = os.path.join(os.path.dirname(problem.solver_file), "deploy.prototxt")
    if os.path.exists(deploy):
        shutil.copyfile(deploy, os.path.join(run, "deploy.prototxt"))
    path = os.path.join(run, "solver.prototxt")
    with open(path, "w") as file:
        file.write(f"# Resolved from {problem.solver_file} by python/train.py, which tests and takes snapshots itself.\n")
        file.write(message_text(resolved))
    return path
