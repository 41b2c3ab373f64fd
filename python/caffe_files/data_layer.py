"""Checks what a net's Data layer names: Caffe itself would abort on a mistake, or train on nonsense."""
from pathlib import Path
from typing import Any

from caffe.proto import caffe_pb2

from caffe_files.databases import is_database, read_meta
from caffe_files.entries import Entries, check_entries
from caffe_files.mean_image import read_mean
from process.errors import DriverError


def check_data_layer(layer: caffe_pb2.LayerParameter, classes: int, path: Path) -> tuple[int, dict[str, Any]]:
    """Checks every entry of a Data layer's database, its mean image and labels; returns (number of images, meta or {}).

    classes: outputs of the net's classifier. path: of the net, for messages. meta: the data set's, with the SHA-256 of
    the database's `entries` and the images' `shape`, (channels, height, width).
    """
    source = Path(layer.data_param.source)
    if not is_database(source):
        raise DriverError(f"{path}: Data layer {layer.name!r} reads {source}, which is no LMDB directory. Make it with "
                          "data_prep/make_lmdb.py (make targets do it for you)")
    found = check_entries(source)
    shape = found.shape
    if None in shape:
        raise DriverError(f"{source} holds images of several shapes (what all have alike: {shape}): Caffe wants one. "
                          "Make it with a --size")
    crop = layer.transform_param.crop_size
    if crop > min(shape[1:]):
        raise DriverError(f"{path}: crop_size {crop} is larger than the {shape[1]}x{shape[2]} images of {source}")
    if layer.transform_param.mean_file:
        _check_mean(Path(layer.transform_param.mean_file), shape, path)
    _check_labels(source, found, classes, path)
    return found.count, {**read_meta(source), "entries": found.sha256, "shape": shape}


def _check_mean(mean_file: Path, image_shape: tuple[int, int, int], path: Path) -> None:
    shape = read_mean(mean_file).shape
    if shape != image_shape:
        raise DriverError(f"{path}: mean image {mean_file} is {shape} (channels, height, width), the images are "
                          f"{image_shape}")


def _check_labels(source: Path, found: Entries, classes: int, path: Path) -> None:
    """Caffe's release build does not look: a label out of range reads other memory and trains on it."""
    lowest, highest = found.labels
    if lowest < 0 or highest >= classes:
        raise DriverError(f"{path}: the classifier has {classes} outputs, but the labels of {source} go from "
                          f"{lowest} to {highest}. Write the net for this data set with net_template.py "
                          "--classes")
