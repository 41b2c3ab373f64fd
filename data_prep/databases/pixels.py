"""Image bytes -> the uint8 pixels that Caffe's convert_imageset would store, bit for bit."""
import cv2
import numpy as np

from prep.errors import PrepError

JPEG_START = b"\xff\xd8\xff"


def to_pixels(image: bytes | np.ndarray, grey: bool) -> np.ndarray:
    """Image file's bytes, or pixels, -> uint8 (H, W) if `grey`, else (H, W, 3) BGR.

    Files are read as cv2.imread does: alpha dropped, CMYK and 16 bits converted, EXIF rotation applied.
    Raises PrepError for bytes that are no whole image.
    """
    if not isinstance(image, np.ndarray):
        return _decode(image, grey)
    if grey and image.ndim == 3:
        return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    if not grey and image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return image


def _decode(data: bytes, grey: bool) -> np.ndarray:
    pixels = None
    if data:
        try:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR)
        except cv2.error:  # such as an image over OpenCV's limit of pixels
            pass
    if pixels is None:
        raise PrepError("not an image that OpenCV can read, or cut short" if data else "empty file")
    return pixels


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Bilinear on uint8 to size x size, aspect ratio not kept (convert_imageset); size 0 leaves the image alone."""
    if size == 0 or pixels.shape[:2] == (size, size):
        return pixels
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR)


def planar(pixels: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, 3) -> contiguous (C, H, W), Caffe's order. cv2.split is 4 times as fast as a numpy transpose."""
    if pixels.ndim == 2:
        return np.ascontiguousarray(pixels)[np.newaxis]
    planes = np.empty((pixels.shape[2], *pixels.shape[:2]), np.uint8)
    cv2.split(pixels, list(planes))
    return planes


def is_kept_as_jpeg(image: bytes | np.ndarray, pixels: np.ndarray) -> bool:
    """Whether a file is a JPEG of which every reader gets these pixels, so that the file itself can stand for them.

    Caffe's Data layer reads an encoded image as it is stored: one that is rotated by EXIF, or grey among images in
    colour, is another image to it.
    """
    if isinstance(image, np.ndarray) or not image.startswith(JPEG_START):
        return False
    stored = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_UNCHANGED)
    return stored is not None and np.array_equal(stored, pixels)


def encode_png(pixels: np.ndarray) -> bytes:
    """Lossless PNG of (H, W) or (H, W, 3) BGR pixels."""
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise PrepError(f"OpenCV could not encode an image of shape {pixels.shape} as PNG")
    return data.tobytes()
