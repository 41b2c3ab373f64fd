"""Checks the databases and the mean image a net names: Caffe itself would abort on them, or train on nonsense."""
import json
import os

import cv2
import lmdb
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf.message import DecodeError

from driver_errors import DriverError


def check_data_layer(layer, classes, path):
    """Checks database, mean image and labels of a Data layer; returns (number of images, data set's meta or {})."""
    source = layer.data_param.source
    if not os.path.exists(os.path.join(source, "data.mdb")):
        raise DriverError(f"{path}: Data layer {layer.name!r} reads {source}, which is no LMDB directory. Make it with "
                          "data_prep/make_lmdb.py (make targets do it for you)")
    count, shape = first_image(source)
    crop = layer.transform_param.crop_size
    if crop > min(shape[1:]):
        raise DriverError(f"{path}: crop_size {crop} is larger than the {shape[1]}x{shape[2]} images of {source}")
    check_mean(layer.transform_param.mean_file, shape, path)
    check_labels(source, classes, path)
    return count, read_meta(source)


def read_meta(source):
    """meta.json of a database, {} where another tool made it."""
    path = os.path.join(source, "meta.json")
    if not os.path.exists(path):
        return {}
    with open(path) as file:
        return json.load(file)


def first_image(source):
    """(number of entries, (channels, height, width) of the first) of an LMDB.

    The environment is closed again: Caffe opens it in this process.
    """
    try:
        with lmdb.open(source, readonly=True, lock=False, subdir=True) as database, database.begin() as transaction:
            with transaction.cursor() as cursor:
                if not cursor.first():
                    raise DriverError(f"{source} holds no image: make it again")
                datum = caffe_pb2.Datum.FromString(cursor.value())
            return database.stat()["entries"], datum_shape(datum, source)
    except (lmdb.Error, DecodeError) as error:
        raise DriverError(f"{source} is not a whole LMDB of Caffe Datums ({error}): remove it and make it again") from None


def datum_shape(datum, source):
    """(channels, height, width); of an encoded image too, whose Datum does not tell."""
    if not datum.encoded:
        return datum.channels, datum.height, datum.width
    image = cv2.imdecode(np.frombuffer(datum.data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise DriverError(f"{source}: its first entry is not a readable image: make it again")
    return (1 if image.ndim == 2 else image.shape[2], *image.shape[:2])


def read_mean(path):
    """(channels, height, width) float32 of a .binaryproto or .npy mean image. DriverError when it is something else."""
    try:
        if path.endswith(".npy"):
            mean = np.load(path).astype(np.float32)
        else:
            with open(path, "rb") as file:
                blob = caffe_pb2.BlobProto.FromString(file.read())
            shape = list(blob.shape.dim) or [blob.num, blob.channels, blob.height, blob.width]
            mean = np.array(blob.data, np.float32).reshape(shape[-3:])
    except FileNotFoundError:
        raise DriverError(f"mean image {path} does not exist. Without it every figure would be wrong; make it with: make mean") \
            from None
    except (DecodeError, ValueError) as error:
        raise DriverError(f"{path} is not a mean image ({error}): make it again") from None
    if mean.ndim != 3 or not mean.size:
        raise DriverError(f"{path} is not a mean image: its shape is {mean.shape}, not (channels, height, width)")
    return mean


def check_mean(mean_file, image_shape, path):
    if not mean_file:
        return
    shape = read_mean(mean_file).shape
    if shape != image_shape:
        raise DriverError(f"{path}: mean image {mean_file} is {shape} (channels, height, width), the images are {image_shape}")


def check_labels(source, classes, path):
    """Caffe's release build does not look: a label out of range reads other memory and trains on it."""
    labels = read_labels(source)
    if labels.min() < 0 or labels.max() >= classes:
        raise DriverError(f"{path}: the classifier has {classes} outputs, but the labels of {source} go from {labels.min()} to "
                          f"{labels.max()}. Write the net for this data set with net_template.py --classes")


def read_labels(source):
    """(N,) labels of a database: its labels.npy, or, where another tool made it, its entries (50,000 in some seconds)."""
    path = os.path.join(source, "labels.npy")
    if os.path.exists(path):
        return np.load(path)
    with lmdb.open(source, readonly=True, lock=False) as database, database.begin(buffers=True) as transaction, \
            transaction.cursor() as cursor:
        return np.array([caffe_pb2.Datum.FromString(value).label for value in cursor.iternext(keys=False)])
