"""Reads and writes solvers and nets, whose mistakes Caffe itself would answer with an abort."""
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from caffe.proto import caffe_pb2
from google.protobuf import text_format
from google.protobuf.message import Message

from caffe_files.old_formats import TODAY, generation, upgraded_net
from process import readers
from process.errors import DriverError

LOSSES = ("SoftmaxWithLoss", "SigmoidCrossEntropyLoss")
AnyMessage = TypeVar("AnyMessage", bound=Message)


def read_text(path: Path, message: AnyMessage, kind: str) -> AnyMessage:
    """Parses a prototxt into the message given. DriverError with file, line and column when it does not parse."""
    try:
        return text_format.Parse(readers.read_text(path, f"{kind} prototxt"), message)
    except FileNotFoundError:
        raise DriverError(f"{path}: no such {kind} file") from None
    except (text_format.ParseError, RecursionError) as error:
        raise DriverError(f"{path} is not a {kind} prototxt: {error}") from None


def message_text(message: Message, indent: int = 0) -> str:
    """A message in prototxt, its numbers as people write them: float32 as short as it can be, whole ones without .0.

    (protobuf's own option for this, float_format, is gone from version 7 on.)
    """
    text = text_format.MessageToString(message, indent=indent)
    return re.sub(r"(: -?\d+)\.0$", r"\1", text, flags=re.MULTILINE)


def write_message(path: Path, message: Message, comment: str) -> None:
    """Writes a message as prototxt, behind a line of comment."""
    path.write_text(f"# {comment}\n{message_text(message)}")


def read_solver(path: Path) -> caffe_pb2.SolverParameter:
    """SolverParameter of a solver prototxt. DriverError when it names no net, or one that does not exist."""
    solver = read_text(path, caffe_pb2.SolverParameter(), "solver")
    if not solver.net:
        raise DriverError(f"{path} names no net: give it a line like  net: \"train_val.prototxt\"")
    if not Path(solver.net).exists():
        raise DriverError(f"{path} names the net {solver.net}, which does not exist (paths are relative to the current "
                          f"directory, {Path.cwd()})")
    return solver


def read_net(path: Path) -> caffe_pb2.NetParameter:
    """NetParameter in today's format, whatever the file's is."""
    return upgraded_net(read_text(path, caffe_pb2.NetParameter(), "net"), path)


def copy_net(path: Path, target: Path) -> None:
    """Copies the net's file, to the letter; writes it anew when it is of an older format."""
    if generation(read_text(path, caffe_pb2.NetParameter(), "net")) == TODAY:
        shutil.copyfile(path, target)
        return
    write_message(target, read_net(path), f"{path} in today's format")


def layers_of_phase(net: caffe_pb2.NetParameter, phase: int) -> list[caffe_pb2.LayerParameter]:
    """Layers that are in the net in this phase (rules with a phase only: the only ones the project uses)."""
    return [layer for layer in net.layer if (not layer.include or any(rule.phase == phase for rule in layer.include))
            and not any(rule.phase == phase for rule in layer.exclude)]


def input_dims(net: caffe_pb2.NetParameter) -> list[int] | None:
    """[batch, channels, height, width] of a deploy net's first Input layer; None when that has no such shape."""
    shapes = [list(layer.input_param.shape[0].dim) for layer in net.layer
              if layer.type == "Input" and layer.input_param.shape]
    return shapes[0] if shapes and len(shapes[0]) == 4 else None


def data_layer(net: caffe_pb2.NetParameter, phase: int, path: Path) -> caffe_pb2.LayerParameter:
    """The Data layer a phase starts with. It must be the first layer: going on with a run reads it alone."""
    layers = layers_of_phase(net, phase)
    if layers and layers[0].type == "Data":
        return layers[0]
    name = "TRAIN" if phase == caffe_pb2.TRAIN else "TEST"
    raise DriverError(f"{path} does not start with a Data layer for phase {name}")


def label_layer(net: caffe_pb2.NetParameter, phase: int) -> caffe_pb2.LayerParameter | None:
    """The Data layer of labels behind the images' in a net for several labels an image; None in others."""
    second = layers_of_phase(net, phase)[1:2]
    return second[0] if second and second[0].type == "Data" else None


@dataclass(frozen=True)
class Loss:
    """Of classification: blobs of scores and labels, the classifier's layer and outputs. several: labels an image."""
    scores: str
    labels: str
    classifier: str
    classes: int
    several: bool


def loss_of(net: caffe_pb2.NetParameter, path: Path) -> Loss:
    """The Loss by the net's SoftmaxWithLoss, or, for several labels an image, SigmoidCrossEntropyLoss layer."""
    for layer in net.layer:
        if layer.type in LOSSES:
            scores, labels = layer.bottom[:2]
            for classifier in net.layer:
                if scores in classifier.top and classifier.type == "InnerProduct":
                    return Loss(scores, labels, classifier.name, classifier.inner_product_param.num_output,
                                layer.type != LOSSES[0])
    raise DriverError(f"{path} has no InnerProduct classifier with a {' or '.join(LOSSES)} layer")


@dataclass(frozen=True)
class Latent:
    """The latent layer of a net: the InnerProduct's name, input and width, and the blob that its Sigmoid writes."""
    name: str
    bottom: str
    bits: int
    top: str


def latent_sigmoid(net: caffe_pb2.NetParameter) -> Latent | None:
    """The last InnerProduct that a Sigmoid follows; None in a net without one."""
    tops = {layer.bottom[0]: layer.top[0] for layer in net.layer if layer.type == "Sigmoid"}
    found = [Latent(layer.name, layer.bottom[0], layer.inner_product_param.num_output, tops[layer.top[0]])
             for layer in net.layer if layer.type == "InnerProduct" and layer.top[0] in tops]
    return found[-1] if found else None
