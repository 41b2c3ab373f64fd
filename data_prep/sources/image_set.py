"""One split of a data set as every source hands it over: ids, labels, class names, and a way to read an image."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from prep.errors import PrepError

SPLITS = ("train", "test")


@dataclass(frozen=True)
class ImageSet:
    """N labelled images that are read one at a time, from several threads at once.

    ids: N names, unique enough for a person to find the image again; no line breaks.
    labels: (N,) int64, each in 0..len(classes)-1.
    read: i -> the bytes of an image file, or uint8 pixels (H, W) grey or (H, W, 3) BGR.
    source: where the images come from; goes into meta.json.
    several: (N, len(classes)) bool where images have several labels each, or none; `labels` are 0 then.
    """

    ids: Sequence[str]
    labels: np.ndarray
    classes: Sequence[str]
    read: Callable[[int], bytes | np.ndarray]
    source: dict
    several: np.ndarray | None = None

    def __post_init__(self):
        if not self.ids:
            raise PrepError(f"{self.source['description']}: no images found")
        if len(self.ids) != len(self.labels):
            raise PrepError(f"{self.source['description']}: {len(self.ids)} images but {len(self.labels)} labels")
        broken = next((name for name in self.ids if "\n" in name or "\r" in name), None)
        if broken is not None:
            raise PrepError(f"{self.source['description']}: line break in the image name {broken!r}; rename it")

    def __len__(self) -> int:
        return len(self.ids)

    def labels_of(self, rows: Sequence[int]) -> np.ndarray:
        """Labels of some images: (n,) int64, or (n, len(classes)) uint8 of 0 and 1 where an image has several."""
        return self.labels[rows] if self.several is None else self.several[rows].astype(np.uint8)

    def counts(self, rows: Sequence[int]) -> list[int]:
        """Images of each class among some."""
        if self.several is not None:
            return self.several[rows].sum(0).tolist()
        return np.bincount(self.labels[rows], minlength=len(self.classes)).tolist()


def spread_rows(total: int, wanted: int) -> np.ndarray:
    """At most `wanted` of the rows 0..total-1, evenly spread from the first to the last; int64, ascending."""
    return np.linspace(0, total - 1, min(wanted, total)).astype(np.int64)
