"""Pre-processing by the two protocols, against a slow account of them written from the authors' description."""
import cv2
import numpy as np
import pytest

from features.preprocess import Preprocessor, thumbnail
from preprocess_cases import authors_slowly
from process.errors import DriverError

RNG = np.random.default_rng(5)
MEAN = RNG.uniform(90, 130, (3, 256, 256)).astype(np.float32)


def result_of(preprocessor, image):
    out = np.full((preprocessor.channels, preprocessor.crop, preprocessor.crop), np.nan, np.float32)
    preprocessor(image, out)
    return out


@pytest.mark.parametrize("height, width", [(32, 32), (20, 45), (256, 256)])
def test_authors(height, width):
    image = RNG.integers(0, 256, (height, width, 3)).astype(np.uint8)
    found = result_of(Preprocessor("authors", 3, 227, 256, MEAN), image)
    assert np.abs(found - authors_slowly(image, MEAN, 227)).max() < 2e-3
    assert (found + MEAN[:, 15:242, 15:242] != np.round(found + MEAN[:, 15:242, 15:242])).any() or height == 256


def test_authors_resize_is_not_rounded_to_integers_caffes_is():
    image = RNG.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    zero = np.zeros((3, 256, 256), np.float32)
    authors, caffe = (result_of(Preprocessor(protocol, 3, 227, 256, zero), image) for protocol in ("authors", "caffe"))
    assert (authors != np.round(authors)).mean() > 0.5
    assert (caffe == np.round(caffe)).all()
    assert (
        np.abs(authors[:, :-1, :-1] - caffe[:, 1:, 1:]).max() < 1
    )  # crops start one pixel apart; OpenCV interpolates uint8 in fixed point


@pytest.mark.parametrize("protocol, start", [("authors", 15), ("caffe", 14)])
def test_crop_starts(protocol, start):
    image = np.arange(256 * 256 * 3).reshape(256, 256, 3).astype(np.uint8)
    found = result_of(Preprocessor(protocol, 3, 227, 256, MEAN), image)
    assert (found == np.float32(image.transpose(2, 0, 1)[:, start:start + 227, start:start + 227])
            - MEAN[:, start:start + 227, start:start + 227]).all()


def test_scale_comes_after_the_mean():
    image = RNG.integers(0, 256, (256, 256, 3)).astype(np.uint8)
    plain, scaled = (result_of(Preprocessor("caffe", 3, 227, 256, MEAN, scale), image) for scale in (1.0, 0.25))
    assert (scaled == plain * np.float32(0.25)).all()


def test_grey_images_become_three_equal_channels():
    image = RNG.integers(0, 256, (28, 28)).astype(np.uint8)
    found = result_of(Preprocessor("authors", 3, 227, 256, np.zeros_like(MEAN)), image)
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()
    assert (found == result_of(Preprocessor("authors", 3, 227, 256, np.zeros_like(MEAN)), image[:, :, None])).all()


def test_without_mean_and_crop_both_protocols_are_the_training_resize():
    image = RNG.integers(0, 256, (40, 31, 3)).astype(np.uint8)
    found = [Preprocessor(protocol, 1, 28, 28, None, 1 / 256) for protocol in ("authors", "caffe")]
    assert [one.protocol for one in found] == ["none", "none"]
    expected = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (28, 28)).astype(np.float32) / 256
    assert (result_of(found[0], image) == expected).all()
    assert (result_of(found[1], image) == expected).all()


def test_crop_without_mean():
    image = RNG.integers(0, 256, (36, 36, 3)).astype(np.uint8)
    assert (result_of(Preprocessor("caffe", 3, 20, 36), image) == image.transpose(2, 0, 1)[:, 8:28, 8:28]).all()


@pytest.mark.parametrize(
    "mean, crop, size",
    [(MEAN, 227, 255), (MEAN[:1], 227, 256), (MEAN, 250, 256), (None, 40, 36), (MEAN[:, :, :200], 100, 256)],
)
def test_means_and_crops_that_do_not_fit(mean, crop, size):
    with pytest.raises(DriverError, match="--mean"):
        Preprocessor("authors", 3, crop, size, mean)


def test_thumbnails_are_rgb():
    image = np.zeros((10, 12, 3), np.uint8)
    image[:, :, 0] = 200  # blue in BGR
    assert thumbnail(image, 5).shape == (5, 5, 3)
    assert (thumbnail(image, 5) == [0, 0, 200]).all()
    assert (thumbnail(np.full((5, 5), 7, np.uint8), 5) == 7).all()
