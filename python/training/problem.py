"""What a solver file asks for, checked: net, databases, mean image, labels; how an iteration is cut into batches."""
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caffe.proto import caffe_pb2

from caffe_files.data_layer import check_data_layer
from caffe_files.engine import engine_in_use
from caffe_files.label_data import check_label_layer, label_counts
from caffe_files.prototxt import data_layer, label_layer, latent_sigmoid, loss_of, message_text, read_net, read_solver
from caffe_files.trusted import check_solver, check_training_net
from process.checkout import commit
from process.cpu import threads_in_use
from process.errors import DriverError
from process.identity import file_identity
from training.plan import Plan
from training.schedule import shorten


@dataclass(frozen=True)
class Asked:
    """What the prototxt say of an iteration, before it is cut. parts: devices that share its images."""
    images: int
    test_batch: int
    iter_size: int
    parts: int


class Problem:
    """The solver and net to train, as messages with iter_size and batches put in.

    devices: how many train together, each with batches of its own, or, with `share`, with its part of the prototxt's.
    iter_size: passes an iteration is cut into, their gradients added; the batches shrink so that its images stay the
    same. trusted: the net may hold layers that do more than compute. part: of the solver's schedule, see shorten().
    DriverError for a mistake in any of the files, and for images that cannot be cut so.
    """

    def __init__(self, solver_file: Path, devices: int = 1, iter_size: int | None = None, share: bool = False,
                 trusted: bool = False, part: float = 1.0) -> None:
        self.solver_file, self.devices, self.part = solver_file, devices, part
        self.solver = read_solver(solver_file)
        check_solver(self.solver, solver_file)
        shorten(self.solver, part)
        self.net_file = Path(self.solver.net)
        self.net = read_net(self.net_file)
        check_training_net(self.net, self.net_file, trusted)
        self.loss = loss_of(self.net, self.net_file)
        self.classes, self.classifier = self.loss.classes, self.loss.classifier
        self.latent = latent_sigmoid(self.net)
        self.train_layer = data_layer(self.net, caffe_pb2.TRAIN, self.net_file)
        self.test_layer = data_layer(self.net, caffe_pb2.TEST, self.net_file)
        self.train_images, self.train_meta = check_data_layer(self.train_layer, self.classes, self.net_file)
        self.test_images, self.test_meta = check_data_layer(self.test_layer, self.classes, self.net_file)
        self.train_source = Path(self.train_layer.data_param.source)
        self.train_counts = label_counts(self.train_source, self.classes)
        self._label_layers = self._checked_label_layers()
        self._asked = Asked(self.train_layer.data_param.batch_size * self.solver.iter_size,
                            self.test_layer.data_param.batch_size, self.solver.iter_size, devices if share else 1)
        self.cut = self._cut(iter_size or self.solver.iter_size)

    def _checked_label_layers(self) -> list[caffe_pb2.LayerParameter]:
        """Those of training and test in a net for several labels an image; [] in others."""
        if not self.loss.several:
            return []
        found = [label_layer(self.net, phase) for phase in (caffe_pb2.TRAIN, caffe_pb2.TEST)]
        for layer, images in zip(found, (self.train_layer, self.test_layer)):
            check_label_layer(layer, images, self.classes, self.net_file)
        return found

    def _cut(self, iter_size: int) -> bool:
        """Puts iter_size and the batches that go with it into solver and net; returns whether that changed anything."""
        asked = self._asked
        if iter_size not in self.iter_sizes():
            raise DriverError(
                f"{asked.images} images an iteration ({self.net_file}) cannot be cut into {iter_size * asked.parts} "
                f"equal batches (iter_size {iter_size}" + (f", {asked.parts} GPUs" if asked.parts > 1 else "")
                + f"). iter_size may be {', '.join(map(str, self.iter_sizes())) or 'none'}")
        for layers in ((self.train_layer, self.test_layer), self._label_layers):
            for layer, batch in zip(layers, self.batches(iter_size)):
                layer.data_param.batch_size = batch
        self.solver.iter_size = iter_size
        return (iter_size, asked.parts) != (asked.iter_size, 1)

    def iter_sizes(self) -> list[int]:
        """Those that divide the images of an iteration on one device."""
        whole, rest = divmod(self._asked.images, self._asked.parts)
        if rest:
            return []
        lower = [n for n in range(1, math.isqrt(whole) + 1) if whole % n == 0]
        return sorted({*lower, *(whole // n for n in lower)})

    def batches(self, iter_size: int) -> tuple[int, int]:
        """(training batch, test batch) of one device at this iter_size. How the test set is cut changes no result."""
        asked = self._asked
        share = iter_size * asked.parts
        return asked.images // share, max(1, asked.test_batch * asked.iter_size // share)

    @property
    def batch(self) -> int:
        """Images per iteration: Caffe's batch_size times iter_size, on every device."""
        return self.train_layer.data_param.batch_size * self.solver.iter_size * self.devices

    def batch_sentence(self) -> str | None:
        """What an iteration is made of, when that is not one batch."""
        batch, passes = self.train_layer.data_param.batch_size, self.solver.iter_size
        if self.devices == passes == 1:
            return None
        cut = f"{passes} batches of {batch}" if passes > 1 else f"a batch of {batch}"
        where = f" on each of {self.devices} GPUs" if self.devices > 1 else ""
        return f"an iteration is {cut}{where}, gradients averaged: {self.batch} images"

    def few_sentence(self) -> str | None:
        """What happens when the training images fill no batch."""
        batch = self.train_layer.data_param.batch_size
        if self.train_images >= batch:
            return None
        return (f"only {self.train_images} training images for batches of {batch}: each batch holds images more than "
                "once. More images make a better net")

    def settings(self, plan: Plan) -> dict[str, Any]:
        """What run.json keeps of this training (python/README.md lists it)."""
        return {"dataset": self.train_meta.get("dataset"), "net": self.net.name,
                "bits": self.latent.bits if self.latent else None, "classes": self.classes,
                "seed": plan.seed, "iterations": plan.iterations, "batch": self.batch,
                **({} if self.part == 1 else {"schedule": self.part}),
                "iter_size": self.solver.iter_size, "devices": self.devices,
                **({} if plan.gpus else {"engine": engine_in_use(), "threads": threads_in_use()}),
                "weights": file_identity(plan.weights),
                "solver": message_text(self.solver), "solver_file": str(self.solver_file),
                "net_text": message_text(self.net),
                "train_data": _data(self.train_layer, self.train_images, self.train_meta),
                "test_data": _data(self.test_layer, self.test_images, self.test_meta),
                "commit": commit(), "started": time.strftime("%Y-%m-%d %H:%M:%S")}


def _data(layer: caffe_pb2.LayerParameter, images: int, meta: dict[str, Any]) -> dict[str, Any]:
    """What run.json keeps of a database."""
    return {"path": layer.data_param.source, "images": images, "fingerprint": meta.get("fingerprint"),
            "entries": meta["entries"]}
