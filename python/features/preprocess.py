"""Pre-processing of an image for extraction, by the two protocols of the experiment.

authors  the authors' MATLAB evaluation: to float32, then bilinear resize to the mean image's size (256x256; not rounded
         back to integers), minus the mean image, crop that starts at row and column 15 (0-based).
caffe    what Caffe's Data layer gets and does in phase TEST: bilinear resize on uint8, minus the mean image, crop that
         starts at (256 - 227) // 2 = 14.
none     what both come to without mean image and crop (LeNet): bilinear resize on uint8.

Images are BGR. Grey images become three channels by replication, colour images one channel by OpenCV's weights.
"""
from dataclasses import dataclass

import cv2
import numpy as np

from process.errors import DriverError

AUTHORS_CROP_START = 15


@dataclass
class Preprocessor:
    """image (H, W) or (H, W, C) uint8 -> (channels, crop, crop) float32.

    size: side that images are resized to. mean: (channels, size, size) float32 or None. scale: factor after the mean.
    """
    protocol: str
    channels: int
    crop: int
    size: int
    mean: np.ndarray | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.mean is None and self.size == self.crop:
            self.protocol = "none"
        if self.mean is not None and self.mean.shape != (self.channels, self.size, self.size):
            raise DriverError(f"the mean image has shape {self.mean.shape}; the net takes {self.channels} channels of "
                              "a square image: give the mean image that belongs to the net (--mean)")
        if not 0 <= self.start <= self.size - self.crop:
            raise DriverError(f"the net's {self.crop}x{self.crop} crop that starts at {self.start} does not fit into "
                              f"{self.size}x{self.size} images: give the mean image that belongs to the net (--mean, "
                              "--resize), or --protocol caffe")

    @property
    def start(self) -> int:
        """First row and column of the crop."""
        return {"none": 0, "authors": AUTHORS_CROP_START, "caffe": (self.size - self.crop) // 2}[self.protocol]

    def __call__(self, image: np.ndarray, out: np.ndarray) -> None:
        """Writes the result into out, a (channels, crop, crop) float32 array."""
        image = with_channels(image, self.channels)
        if image.shape[:2] != (self.size, self.size):
            if self.protocol == "authors":
                image = image.astype(np.float32)
            image = cv2.resize(image, (self.size, self.size), interpolation=cv2.INTER_LINEAR)
        window = (slice(self.start, self.start + self.crop),) * 2
        planar = np.moveaxis(image[window].reshape(self.crop, self.crop, self.channels), 2, 0)
        if self.mean is None:
            out[:] = planar
        else:
            np.subtract(planar, self.mean[(slice(None), *window)], out=out)
        if self.scale != 1:
            out *= np.float32(self.scale)


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """uint8 image as (H, W, channels) or, for one channel, (H, W)."""
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if channels == 1:
        return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)


def thumbnail(image: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 3) uint8 RGB for people's eyes."""
    image = with_channels(image, 3)
    if not image.flags.c_contiguous:  # planes of a raw Datum: four times as fast as numpy's own copy
        image = cv2.merge(list(np.moveaxis(image, 2, 0)))
    rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return rgb if rgb.shape[:2] == (size, size) else cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA)
