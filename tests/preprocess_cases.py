"""A slow account of the authors' pre-processing, written from its description."""
import numpy as np


def bilinear(image, size):
    """MATLAB's imresize for enlarging, OpenCV's INTER_LINEAR: pixel centres at halves, edges repeated. float64."""

    def taps(length):
        at = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, length - 1), at - low
    top, bottom, down = taps(image.shape[0])
    left, right, across = taps(image.shape[1])
    result = np.empty((size, size, image.shape[2]))
    for y in range(size):
        for x in range(size):
            upper = image[top[y], left[x]] * (1 - across[x]) + image[top[y], right[x]] * across[x]
            lower = image[bottom[y], left[x]] * (1 - across[x]) + image[bottom[y], right[x]] * across[x]
            result[y, x] = upper * (1 - down[y]) + lower * down[y]
    return result


def authors_slowly(image, mean, crop, scale=1.0):
    """Float, resize, BGR planes minus mean, rows and columns 15 .. 15 + crop."""
    enlarged = bilinear(image.astype(np.float64), mean.shape[1])
    out = np.empty((3, crop, crop))
    for channel in range(3):
        out[channel] = (enlarged[:, :, channel] - mean[channel])[15:15 + crop, 15:15 + crop]
    return out * scale
