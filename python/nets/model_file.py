"""What a caffemodel of this family is, read from its layers alone: body, code length, classes; and a deploy net for it.

Serves models that come without a deploy prototxt, such as those of the paper's authors.
"""
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from caffe.proto import caffe_pb2

from caffe_files.weights import Shape, read_caffemodel, stored_layers
from nets.blobs import NAMES
from nets.definitions import NETS, DataSet, Setting, deploy
from nets.template import commented, net_text
from process.errors import DriverError
from process.files import whole_file
from process.outputs import refuse_foreign_text

WRITTEN_BY = "Written by python/nets/model_file.py"
Size = tuple[int, int | None]  # (outputs, side of the kernel) of a layer


@dataclass(frozen=True)
class Model:
    """net: a name of NETS. classes: None without the classifier layer."""
    net: str
    bits: int
    classes: int | None

    def __str__(self) -> str:
        classes = f"{self.classes} classes" if self.classes else "no classifier"
        return f"{NETS[self.net].title}, {self.bits} bits, {classes}"


def identify(path: Path) -> Model:
    """The Model in a file. DriverError that names the first layer which fits none of the templates."""
    stored = stored_layers(read_caffemodel(path))
    names = next((names for names in NAMES if names.latent in stored), None)
    if not names:
        raise DriverError(f"{path} has no latent layer {' or '.join(names.latent for names in NAMES)} (it has "
                          f"{', '.join(stored)}). A hashing model with other layer names needs its deploy net (--net) "
                          "and --latent-blob; a model without a latent layer gives no codes")
    bits = stored[names.latent][0][-2]
    classes = stored[names.classifier][0][-2] if names.classifier in stored else None
    models = [Model(name, bits, classes) for name, net in NETS.items() if net.head.names == names]
    faults = {model: _misfit(stored, model) for model in models}
    for model, fault in faults.items():
        if not fault:
            return model
    nearest = max(models, key=lambda model: len(stored.keys() & {layer.name for layer in deploy_net(model).layer}))
    raise DriverError(f"{path} is of another architecture than the template's {NETS[nearest.net].title}: "
                      f"{faults[nearest]}. Give its deploy net with --net")


def _misfit(stored: dict[str, list[Shape]], model: Model) -> str | None:
    """What in a file's layers contradicts a Model's template, or None."""
    wanted = {layer.name: layer for layer in deploy_net(model).layer if layer.type in ("Convolution", "InnerProduct")}
    extra = [name for name in stored if name not in wanted]
    if extra:
        return f"it has a layer {extra[0]}, which the template has not"
    for name, layer in wanted.items():
        if name not in stored:
            return f"layer {name} is missing"
        have, want = _stored_size(layer.type, stored[name][0]), _template_size(layer)
        if have != want:
            return f"layer {name} has (outputs, kernel) {have}, not {want}"
    return None


def _stored_size(kind: str, shape: Shape) -> Size:
    """By the shape of a layer's weights, in today's dimensions or in four."""
    return (shape[0], shape[-1]) if kind == "Convolution" else (shape[-2], None)


def _template_size(layer: caffe_pb2.LayerParameter) -> Size:
    if layer.type == "InnerProduct":
        return layer.inner_product_param.num_output, None
    return layer.convolution_param.num_output, layer.convolution_param.kernel_size[0]


def deploy_net(model: Model) -> caffe_pb2.NetParameter:
    """NetParameter of the template's deploy net; it ends with the codes where the model has no classifier."""
    net = deploy(Setting(DataSet("model", model.classes or 1), model.net, model.bits))
    if model.classes is None:
        kept = [layer for layer in net.layer if layer.name not in (NETS[model.net].head.names.classifier, "prob")]
        del net.layer[:]
        net.layer.extend(kept)
    net.name = f"{NETS[model.net].title}_{model.bits}bit"
    return net


def write_deploy(weights: Path, path: Path) -> Model:
    """Writes the deploy net of a caffemodel that came without one; returns the Model.

    DriverError for a file of that name which was written by somebody else.
    """
    model = identify(weights)
    refuse_foreign_text(path, WRITTEN_BY)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, "w") as file:
        file.write(commented(f"Deploy net for {weights.name} ({model}), which came without one.\n"
                             f"{WRITTEN_BY} from the project's template."))
        file.write(net_text(deploy_net(model), {}))
    return model


def deploy_for(weights: Path, path: Path, console: TextIO) -> Path:
    """Writes the deploy net and says so; returns its path."""
    model = write_deploy(weights, path)
    print(f"no --net: {weights} is {model}; its deploy net is written to {path}", file=console)
    return path
