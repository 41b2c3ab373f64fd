"""One contender of bench_layers.py: times a net's layers on random images, a round for each line of standard input.

A round is a line of JSON on standard output: {layer: [forward, backward]} in milliseconds, "update" among the layers.
"""
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from checks.options import LayerOptions
from process.cpu import threads_in_use

Times = dict[str, list[float]]
UPDATE = "update"  # of the weights, by SGD with momentum and weight decay
COMPUTING = ("Convolution", "InnerProduct", "Pooling", "LRN", "ReLU", "Sigmoid", "Dropout")


def serve(options: LayerOptions) -> None:
    """Answers until standard input ends."""
    one_round = torch_round(options) if options.worker == "torch" else caffe_round(options)
    one_round()  # memory is allocated, primitives are made
    for _ in sys.stdin:
        print(json.dumps(one_round()), flush=True)


def milliseconds(work: Callable[[], Any]) -> float:
    """How long a call took."""
    started = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - started)


def caffe_round(options: LayerOptions) -> Callable[[], Times]:
    """Rounds of the process's CPU engine."""
    import caffe  # each contender loads its own libraries only

    from nets import definitions  # it loads Caffe too
    setting = definitions.Setting(definitions.DATASETS["cifar10"], options.net, 48)
    with tempfile.TemporaryDirectory() as folder:
        solver = caffe.get_solver(_write_solver(Path(folder), setting, options.batch))
    net = solver.net
    layers = list(enumerate(zip(net._layer_names, net.layers)))

    def one_round() -> Times:
        times: Times = {}
        for i, (name, _) in layers:
            times[name] = [milliseconds(lambda i=i: net._forward(i, i))]
        for i, (name, _) in reversed(layers):
            times[name].append(milliseconds(lambda i=i: net._backward(i, i)))
        times = {name: times[name] for _, (name, layer) in layers if layer.type in COMPUTING}
        times[UPDATE] = [milliseconds(solver.apply_update), milliseconds(net.clear_param_diffs)]
        return times

    return one_round


def _write_solver(folder: Path, setting: Any, batch: int) -> str:
    """The template's net and solver, fed with noise instead of a database."""
    from google.protobuf import text_format  # Caffe's contenders alone have messages

    from nets import definitions  # it loads Caffe too
    net = definitions.train_val(setting)
    layers = [layer for layer in net.layer if layer.type not in ("Data", "Accuracy")]
    del net.layer[:]
    noise = net.layer.add(name="data", type="DummyData", top=["data", "label"])
    for shape in ((batch, *definitions.NETS[setting.net].input_shape), (batch,)):
        noise.dummy_data_param.shape.add(dim=shape)
    noise.dummy_data_param.data_filler.add(type="gaussian", std=50)
    noise.dummy_data_param.data_filler.add(type="constant", value=3)
    net.layer.extend(layers)
    (folder / "net.prototxt").write_text(text_format.MessageToString(net))
    solver = definitions.solver(setting, folder / "net.prototxt")
    del solver.test_iter[:]
    for name in ("test_interval", "snapshot", "display"):
        solver.ClearField(name)
    solver.net, solver.solver_mode, solver.snapshot_after_train = str(folder / "net.prototxt"), solver.CPU, False
    (folder / "solver.prototxt").write_text(text_format.MessageToString(solver))
    return str(folder / "solver.prototxt")


def torch_round(options: LayerOptions) -> Callable[[], Times]:
    """Rounds of PyTorch on layers of the same shapes."""
    import torch  # each contender loads its own libraries only

    torch.manual_seed(0)
    torch.set_num_threads(threads_in_use())
    layers, shape = _torch_layers(options.net)
    parameters = [parameter for _, layer in layers for parameter in layer.parameters()]
    update = torch.optim.SGD(parameters, lr=1e-6, momentum=0.9, weight_decay=5e-4)
    images = 50 * torch.randn(options.batch, *shape)

    def one_round() -> Times:
        times: Times = {}
        passes = []
        value = images
        for name, layer in layers:
            value = value.detach().requires_grad_(name != layers[0][0])  # the images' gradient is not wanted
            kept: list[Any] = []
            times[name] = [milliseconds(lambda layer=layer, value=value, kept=kept: kept.append(layer(value)))]
            passes.append((name, value, kept[0]))
            value = kept[0]
        gradient = torch.ones_like(value)
        for name, bottom, top in reversed(passes):
            times[name].append(milliseconds(lambda top=top, gradient=gradient: top.backward(gradient)))
            gradient = bottom.grad
        times[UPDATE] = [milliseconds(update.step), milliseconds(lambda: update.zero_grad(set_to_none=False))]
        return times

    return one_round


def _torch_layers(net: str) -> tuple[list[tuple[str, Any]], tuple[int, int, int]]:
    """([(Caffe's name of the layer, module)], shape of an image)."""
    from torch import nn  # each contender loads its own libraries only
    codes = [("fc8_kevin", nn.LazyLinear(48)), ("fc8_kevin_encode", nn.Sigmoid()), ("fc8_pascal", nn.LazyLinear(10))]

    def conv(*sizes: int, **options: int) -> Any:
        return nn.Conv2d(*sizes, **options)

    def pool(side: int) -> Any:
        return nn.MaxPool2d(side, 2, ceil_mode=True)

    if net == "lenet":
        return [("conv1", conv(1, 20, 5)), ("pool1", pool(2)), ("conv2", conv(20, 50, 5)), ("pool2", pool(2)),
                ("fc7", nn.Sequential(nn.Flatten(), nn.LazyLinear(500))), ("relu7", nn.ReLU()), *codes], (1, 28, 28)
    return [("conv1", conv(3, 96, 11, stride=4)), ("relu1", nn.ReLU()), ("pool1", pool(3)),
            ("norm1", nn.LocalResponseNorm(5)), ("conv2", conv(96, 256, 5, padding=2, groups=2)), ("relu2", nn.ReLU()),
            ("pool2", pool(3)), ("norm2", nn.LocalResponseNorm(5)), ("conv3", conv(256, 384, 3, padding=1)),
            ("relu3", nn.ReLU()), ("conv4", conv(384, 384, 3, padding=1, groups=2)), ("relu4", nn.ReLU()),
            ("conv5", conv(384, 256, 3, padding=1, groups=2)), ("relu5", nn.ReLU()), ("pool5", pool(3)),
            ("fc6", nn.Sequential(nn.Flatten(), nn.LazyLinear(4096))), ("relu6", nn.ReLU()), ("drop6", nn.Dropout()),
            ("fc7", nn.LazyLinear(4096)), ("relu7", nn.ReLU()), ("drop7", nn.Dropout()), *codes], (3, 227, 227)
