"""Reads solvers and nets, whose mistakes Caffe itself would answer with an abort."""
import os
import re
import shutil

from caffe.proto import caffe_pb2
from google.protobuf import text_format

from driver_errors import DriverError
from old_formats import TODAY, generation, upgraded_net


def read_text(path, message, kind):
    """Parses a prototxt into the message given. DriverError with file, line and column when it does not parse."""
    try:
        with open(path) as file:
            return text_format.Parse(file.read(), message)
    except FileNotFoundError:
        raise DriverError(f"{path}: no such {kind} file") from None
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise DriverError(f"{path} is not a {kind} prototxt: {error}") from None


def message_text(message, indent=0):
    """A message in prototxt, its numbers as people write them: float32 as shortly as it can be told, whole ones without .0.

    (protobuf's own option for this, float_format, is gone from version 7 on.)
    """
    return re.sub(r"(: -?\d+)\.0$", r"\1", text_format.MessageToString(message, indent=indent), flags=re.MULTILINE)


def read_solver(path):
    solver = read_text(path, caffe_pb2.SolverParameter(), "solver")
    if not solver.net:
        raise DriverError(f"{path} names no net: give it a line like  net: \"train_val.prototxt\"")
    if not os.path.exists(solver.net):
        raise DriverError(f"{path} names the net {solver.net}, which does not exist (paths are relative to the current "
                          f"directory, {os.getcwd()})")
    return solver


def read_net(path):
    """NetParameter in today's format, whatever the file's is."""
    return upgraded_net(read_text(path, caffe_pb2.NetParameter(), "net"), path)


def copy_net(path, target):
    """The net's file, to the letter; written anew when it is of an older format."""
    if generation(read_text(path, caffe_pb2.NetParameter(), "net")) == TODAY:
        shutil.copyfile(path, target)
        return
    write_net(read_net(path), target, f"{path} in today's format")


def write_net(net, target, origin):
    with open(target, "w") as file:
        file.write(f"# {origin}\n{message_text(net)}")


def layers_of_phase(net, phase):
    """Layers that are in the net in this phase (rules with a phase only: the only ones the project uses)."""
    return [layer for layer in net.layer if (not layer.include or any(rule.phase == phase for rule in layer.include))
            and not any(rule.phase == phase for rule in layer.exclude)]


def data_layer(net, phase, path):
    """The Data layer a phase starts with. It must be the first layer: going on with a run reads it alone."""
    layers = layers_of_phase(net, phase)
    if layers and layers[0].type == "Data":
        return layers[0]
    raise DriverError(f"{path} does not start with a Data layer for phase {'TRAIN' if phase == caffe_pb2.TRAIN else 'TEST'}")


def loss_bottoms(net, path):
    """(scores blob, label blob, number of classes) of the net's SoftmaxWithLoss layer."""
    for layer in net.layer:
        if layer.type == "SoftmaxWithLoss":
            scores, label = layer.bottom[:2]
            for classifier in net.layer:
                if scores in classifier.top and classifier.type == "InnerProduct":
                    return scores, label, classifier.inner_product_param.num_output
    raise DriverError(f"{path} has no InnerProduct classifier with a SoftmaxWithLoss layer")
