"""Labels of images that have several: the second Data layer of a net, beside that of the images."""
from pathlib import Path

import numpy as np
from caffe.proto import caffe_pb2

from caffe_files.databases import cursor_of, entry_name, is_database, parse_datum, read_labels
from process.errors import DriverError


def label_counts(source: Path, classes: int) -> np.ndarray:
    """(classes,) images of each class in a database."""
    labels = read_labels(source)
    return labels.sum(0, dtype=np.int64) if labels.ndim == 2 else np.bincount(labels, minlength=classes)


def check_label_layer(layer: caffe_pb2.LayerParameter | None, images: caffe_pb2.LayerParameter, classes: int,
                      path: Path) -> None:
    """DriverError unless the layer reads, row by row, the labels of the images that the other layer reads.

    Both count through their databases alike, so equal batches keep an image and its labels together. path: of the net.
    """
    if layer is None:
        raise DriverError(f"{path}: SigmoidCrossEntropyLoss takes several labels an image, from a second Data layer "
                          "behind the images'. Write the net with net_template.py --database")
    source, batch = Path(layer.data_param.source), layer.data_param.batch_size
    if not is_database(source):
        raise DriverError(f"{path}: Data layer {layer.name!r} reads {source}, which is no LMDB directory. Make it with "
                          "data_prep/make_lmdb.py from lists with several labels a line")
    if batch != images.data_param.batch_size:
        raise DriverError(f"{path}: Data layer {layer.name!r} has batches of {batch}, the images' has "
                          f"{images.data_param.batch_size}: they must be equal, or labels go to other images")
    kept = read_labels(Path(images.data_param.source))
    found = read_label_database(source)
    if found.shape != (len(kept), classes) or not np.array_equal(found, kept):
        raise DriverError(f"{path}: {source} holds labels of shape {found.shape}, {images.data_param.source} images "
                          f"with labels of shape {kept.shape}, the classifier has {classes} outputs, and all must "
                          "agree. Make the databases anew, and the net with net_template.py --database")


def read_label_database(source: Path) -> np.ndarray:
    """(N, L) uint8 of a database of labels. DriverError when it is something else."""
    with cursor_of(source) as (_, cursor):
        rows = [parse_datum(value, entry_name(source, key)).data for key, value in cursor]
    if not rows or len({len(row) for row in rows}) != 1 or not rows[0]:
        raise DriverError(f"{source} is no database of labels (rows of one length are wanted): make it anew")
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1)
