"""The one reader of images of the driver: the same bytes are an image, or none, wherever they come from.

data_prep/databases/pixels.py has the same rules; tests/test_image_rules.py holds both to one table of files.
"""
import cv2
import numpy as np

from process.errors import DriverError

COLOUR, AS_STORED = cv2.IMREAD_COLOR, cv2.IMREAD_UNCHANGED


def decode_image(content: bytes | memoryview, where: str, mode: int = COLOUR) -> np.ndarray:
    """uint8 (H, W, 3) BGR, or as it is stored with AS_STORED: (H, W) or (H, W, 3), of 8 bits.

    DriverError that begins with `where` for what OpenCV cannot read, and for an image cut short. (cv2.imread, which
    reads files, fills what is missing of a JPEG with grey; cv2.imdecode refuses it.)
    """
    image = None
    if len(content):
        try:
            image = cv2.imdecode(np.frombuffer(content, np.uint8), mode)
        except cv2.error:  # such as an image over OpenCV's limit of pixels
            pass
    if image is None:
        raise DriverError(f"{where} is not an image that OpenCV can read, or cut short: repair it or take it out")
    if image.dtype != np.uint8 or image.ndim == 3 and image.shape[2] != 3:
        raise DriverError(f"{where} is an image of {image.dtype}, shape {image.shape}; 8 bits, grey or three colours "
                          "are wanted")
    return image
