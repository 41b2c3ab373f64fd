"""Decoding and resizing, against cv2.imread and numpy, on files of every kind that people have."""
import cv2
import numpy as np
import pytest
from PIL import Image

from databases.pixels import encode_png, planar, resize, to_pixels
from prep.errors import PrepError

RNG = np.random.default_rng(7)


def picture(height=20, width=30, channels=3):
    return RNG.integers(0, 256, (height, width, channels)).astype(np.uint8)


def saved_images(folder):
    """Name -> file: colour, grey, alpha, 16 bits, CMYK, and one that EXIF turns by 90 degrees."""
    images = {"colour.jpg": Image.fromarray(picture()), "grey.png": Image.fromarray(picture()[..., 0]),
              "alpha.png": Image.fromarray(picture(channels=4)), "cmyk.jpg": Image.fromarray(picture()).convert("CMYK"),
              "colour.bmp": Image.fromarray(picture())}
    for name, image in images.items():
        image.save(folder / name)
    cv2.imwrite(str(folder / "deep.png"), RNG.integers(0, 65536, (20, 30, 3)).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    images["colour.jpg"].save(folder / "turned.jpg", exif=exif)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("grey", [False, True])
def test_files_are_read_as_imread_does(tmp_path, grey):
    files = saved_images(tmp_path)
    assert len(files) == 7
    for file in files:
        expected = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR)
        found = to_pixels(file.read_bytes(), grey)
        assert found.shape[:2] == ((30, 20) if file.name == "turned.jpg" else (20, 30))
        np.testing.assert_array_equal(found, expected, err_msg=file.name)


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_an_error(data):
    with pytest.raises(PrepError, match="empty file" if not data else "not an image"):
        to_pixels(data, False)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_image_cut_short_is_an_error_and_not_half_grey(suffix, part):
    data = cv2.imencode(suffix, picture(64, 64))[1].tobytes()
    with pytest.raises(PrepError, match="cut short"):
        to_pixels(data[:int(len(data) * part)], False)


def test_grey_pixels_become_three_equal_channels_and_back():
    grey = picture()[..., 0]
    colour = to_pixels(grey, False)
    assert colour.shape == (20, 30, 3)
    assert all(np.array_equal(colour[..., channel], grey) for channel in range(3))
    np.testing.assert_array_equal(to_pixels(colour, True), grey)


def test_planar_is_the_transpose():
    image = picture()
    np.testing.assert_array_equal(planar(image), image.transpose(2, 0, 1))
    assert planar(image).flags.c_contiguous
    np.testing.assert_array_equal(planar(image[..., 0]), image[np.newaxis, :, :, 0])


def test_resize_is_bilinear_with_half_pixel_centres():
    """Two columns 0 and 100 enlarged to four: sample points -0.25, 0.25, 0.75, 1.25 -> 0, 25, 75, 100."""
    found = resize(np.array([[0, 100], [0, 100]], np.uint8), 4)
    np.testing.assert_array_equal(found, [[0, 25, 75, 100]] * 4)


def test_size_zero_and_the_same_size_leave_the_image_alone():
    image = picture(30, 30)
    assert resize(image, 0) is image
    assert resize(image, 30) is image


def test_png_is_lossless():
    image = picture()
    np.testing.assert_array_equal(to_pixels(encode_png(image), False), image)
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(encode_png(image[..., 0]), np.uint8), -1), image[..., 0])
