"""An image is one, or none, wherever it comes from: make_lmdb, extraction from files and from databases agree."""
import cv2
import numpy as np
import pytest

from caffe_files.images import decode_image
from databases.pixels import to_pixels
from features.sources import FileSource
from prep.errors import PrepError
from process.errors import DriverError

PIXELS = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8), (0, 0), 2)


def encoded(ending, pixels=PIXELS):
    return cv2.imencode(ending, pixels)[1].tobytes()


def huge_png():
    """A PNG whose header promises more pixels than OpenCV takes."""
    content = bytearray(encoded(".png"))
    content[16:24] = (1 << 17).to_bytes(4, "big") * 2
    return bytes(content)


READ = {"jpg": encoded(".jpg"), "png": encoded(".png"), "grey": encoded(".png", PIXELS[:, :, 0].copy()),
        "bmp": encoded(".bmp"), "webp": encoded(".webp"),
        "alpha": encoded(".png", np.dstack([PIXELS, PIXELS[:, :, :1]])),
        "sixteen bits": encoded(".png", PIXELS.astype(np.uint16) * 256)}
REFUSED = {"empty": b"", "text": b"not an image", "huge": huge_png(), "zeros": bytes(1000),
           **{f"{ending} cut at {part}": encoded(ending)[:int(len(encoded(ending)) * part)]
              for ending in (".jpg", ".png", ".bmp", ".webp", ".ppm", ".tif") for part in (0.1, 0.5, 0.9)},
           "jpg without its last bytes": encoded(".jpg")[:-2]}


def from_file(path):
    (image, _), = FileSource([str(path)]).read()
    return image


@pytest.mark.parametrize("content", READ.values(), ids=READ)
def test_images_are_read_alike(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    wanted = to_pixels(content, grey=False)
    assert wanted.shape == PIXELS.shape
    assert np.array_equal(from_file(tmp_path / "a.png"), wanted)


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED)
def test_what_is_no_whole_image_is_refused_alike(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(PrepError):
        to_pixels(content, grey=False)
    with pytest.raises(DriverError, match="a.png is not an image that OpenCV can read, or cut short"):
        from_file(tmp_path / "a.png")
    with pytest.raises(DriverError, match="entry 3 is not an image"):
        decode_image(content, "entry 3")
