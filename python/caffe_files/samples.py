"""Some images of a database in small, to see whether its labels can be those of its images."""
from pathlib import Path

import cv2
import numpy as np

from caffe_files.databases import cursor_of, datum_image, entry_name, parse_datum

SIDE = 8  # pixels


def sample(source: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(pictures (n, SIDE * SIDE * 3) float32, rows (n,)) of about `count` entries, evenly taken. n may be smaller."""
    pictures, rows = [], []
    with cursor_of(source) as (entries, cursor):
        step = max(1, entries // count)
        for row, (key, value) in enumerate(cursor):
            if row % step == 0:
                where = entry_name(source, key)
                pictures.append(_small(datum_image(parse_datum(value, where), where)))
                rows.append(row)
    return np.array(pictures, np.float32), np.array(rows)


def _small(image: np.ndarray) -> np.ndarray:
    """An image as SIDE x SIDE in three colours, flat."""
    image = image.reshape(*image.shape[:2], -1)
    colours = image[..., [0] * 3] if image.shape[2] == 1 else image[..., :3]
    return cv2.resize(np.ascontiguousarray(colours), (SIDE, SIDE), interpolation=cv2.INTER_AREA).ravel()


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
