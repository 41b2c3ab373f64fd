"""Some images of a database in small, to see whether its labels can be those of its images."""
from pathlib import Path

import cv2
import lmdb
import numpy as np
from caffe.proto import caffe_pb2

SIDE = 8  # pixels


def sample(source: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(pictures (n, SIDE * SIDE * 3) float32, rows (n,)) of about `count` entries, evenly taken. n may be smaller."""
    pictures, rows = [], []
    with lmdb.open(str(source), readonly=True, lock=False) as database, database.begin(buffers=True) as transaction, \
            transaction.cursor() as cursor:
        step = max(1, database.stat()["entries"] // count)
        for row, value in enumerate(cursor.iternext(keys=False)):
            if row % step == 0:
                pictures.append(_small(caffe_pb2.Datum.FromString(value)))
                rows.append(row)
    return np.array(pictures, np.float32), np.array(rows)


def _small(datum: caffe_pb2.Datum) -> np.ndarray:
    """A Datum's image as SIDE x SIDE in three colours, flat."""
    if datum.encoded:
        image = cv2.imdecode(np.frombuffer(datum.data, np.uint8), cv2.IMREAD_COLOR)
    else:
        planes = np.frombuffer(datum.data, np.uint8).reshape(datum.channels, datum.height, datum.width)
        image = np.ascontiguousarray(np.moveaxis(planes[[0] * 3] if datum.channels == 1 else planes[:3], 0, 2))
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).ravel()


def neighbours_agree(pictures: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """(share of images whose nearest other one has their label, the share that labels drawn by lot would have).

    pictures: (n, d), labels: (n,), n at least 2.
    """
    squares = (pictures ** 2).sum(1)
    distances = squares[:, None] - 2 * pictures @ pictures.T + squares
    np.fill_diagonal(distances, np.inf)
    counts = np.unique(labels, return_counts=True)[1]
    by_lot = float((counts * (counts - 1)).sum() / (len(labels) * (len(labels) - 1)))
    return float((labels[distances.argmin(1)] == labels).mean()), by_lot
