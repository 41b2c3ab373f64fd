"""Reads solvers and nets and checks everything they name, which Caffe itself would answer with an abort."""
import json
import os

import lmdb
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from driver_errors import DriverError


def read_text(path, message, kind):
    """Parses a prototxt into the message given. DriverError with file, line and column when it does not parse."""
    try:
        with open(path) as file:
            return text_format.Parse(file.read(), message)
    except FileNotFoundError:
        raise DriverError(f"{path}: no such {kind} file") from None
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise DriverError(f"{path} is not a {kind} prototxt: {error}") from None


def read_solver(path):
    solver = read_text(path, caffe_pb2.SolverParameter(), "solver")
    if not solver.net:
        raise DriverError(f"{path} names no net: give it a line like  net: \"train_val.prototxt\"")
    if not os.path.exists(solver.net):
        raise DriverError(f"{path} names the net {solver.net}, which does not exist (paths are relative to the current "
                          f"directory, {os.getcwd()})")
    return solver


def read_net(path):
    return read_text(path, caffe_pb2.NetParameter(), "net")


def layers_of_phase(net, phase):
    """Layers that are in the net in this phase (rules with a phase only: the only ones the project uses)."""
    return [layer for layer in net.layer if all(rule.phase == phase for rule in layer.include)]


def data_layer(net, phase, path):
    for layer in layers_of_phase(net, phase):
        if layer.type == "Data":
            return layer
    raise DriverError(f"{path} has no Data layer for phase {'TRAIN' if phase == caffe_pb2.TRAIN else 'TEST'}")


def loss_bottoms(net, path):
    """(scores blob, label blob, number of classes) of the net's SoftmaxWithLoss layer."""
    for layer in net.layer:
        if layer.type == "SoftmaxWithLoss":
            scores, label = layer.bottom[:2]
            for classifier in net.layer:
                if scores in classifier.top and classifier.type == "InnerProduct":
                    return scores, label, classifier.inner_product_param.num_output
    raise DriverError(f"{path} has no InnerProduct classifier with a SoftmaxWithLoss layer")


def check_data_layer(layer, classes, path):
    """Checks database, mean image and labels of a Data layer; returns (number of images, data set's meta or {})."""
    source = layer.data_param.source
    if not os.path.exists(os.path.join(source, "data.mdb")):
        raise DriverError(f"{path}: Data layer {layer.name!r} reads {source}, which is no LMDB directory. Make it with "
                          "data_prep/make_lmdb.py (make targets do it for you)")
    count, datum = first_datum(source)
    crop = layer.transform_param.crop_size
    if not datum.encoded and crop > min(datum.height, datum.width):
        raise DriverError(f"{path}: crop_size {crop} is larger than the {datum.height}x{datum.width} images of {source}")
    check_mean(layer.transform_param.mean_file, datum, path)
    check_labels(source, classes, path)
    meta = os.path.join(source, "meta.json")
    return count, json.load(open(meta)) if os.path.exists(meta) else {}


def first_datum(source):
    """(number of entries, first Datum) of an LMDB. The environment is closed again: Caffe opens it in this process."""
    try:
        with lmdb.open(source, readonly=True, lock=False, subdir=True) as database:
            count = database.stat()["entries"]
            with database.begin() as transaction, transaction.cursor() as cursor:
                if not cursor.first():
                    raise DriverError(f"{source} holds no image: make it again")
                return count, caffe_pb2.Datum.FromString(cursor.value())
    except lmdb.Error as error:
        raise DriverError(f"{source} is not a whole LMDB ({error}): remove it and make it again") from None


def check_mean(mean_file, datum, path):
    if not mean_file:
        return
    if not os.path.exists(mean_file):
        raise DriverError(f"{path}: mean image {mean_file} does not exist. Without it every figure would be wrong; "
                          "make it with: make mean")
    blob = caffe_pb2.BlobProto.FromString(open(mean_file, "rb").read())
    shape = tuple(blob.shape.dim)[-3:] or (blob.channels, blob.height, blob.width)
    image = (datum.channels, datum.height, datum.width)
    if not datum.encoded and shape != image:
        raise DriverError(f"{path}: mean image {mean_file} is {shape} (channels, height, width), the images are {image}")


def check_labels(source, classes, path):
    file = os.path.join(source, "labels.npy")
    if not os.path.exists(file):
        return  # a database of another tool: Caffe itself checks labels in the loss layer
    labels = np.load(file)
    if labels.min() < 0 or labels.max() >= classes:
        raise DriverError(f"{path}: the classifier has {classes} outputs, but the labels of {source} go from {labels.min()} to "
                          f"{labels.max()}. Write the net for this data set with net_template.py --classes")
