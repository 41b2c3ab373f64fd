"""An image of unknown origin, from its bytes to pixels: looked at before it is decoded. Loads OpenCV, not Caffe."""
import io
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from caffe_files.images import decode_image
from process.errors import DriverError

MOST_PIXELS = 50_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
TAKEN = "JPEG, PNG, WebP, BMP, GIF, TIFF or PNM"
# First bytes of what people take for images, or drop by mistake.
KNOWN = ((b"%PDF", "a PDF"), (b"PK\x03\x04", "a zip archive or an office document"), (b"\x1f\x8b", "a gzip archive"),
         (b"<svg", "an SVG drawing"), (b"<?xml", "XML, an SVG drawing perhaps"), (b"<!doctype", "a web page"),
         (b"<html", "a web page"))
ISO_MEDIA = {b"avif": "an AVIF image", b"heic": "an HEIC image", b"mif1": "an HEIF image"}

Image.init()  # now: the process that decodes may open no more files than a few
Image.MAX_IMAGE_PIXELS = None  # `look` has the limit, and a sentence for it


class NoImage(Exception):
    """These bytes cannot be taken as an image; the message says why and what to do."""


@dataclass(frozen=True)
class Look:
    """What the head of an image file tells. notes: what a person should know of how it is taken."""
    format: str
    width: int
    height: int
    notes: tuple[str, ...]


def decode(data: bytes) -> tuple[np.ndarray, Look]:
    """(image (H, W, 3) uint8 BGR, Look), by the reader that extraction has. NoImage."""
    seen = look(data)
    try:
        return decode_image(data, "it"), seen
    except DriverError:
        raise NoImage(f"the {seen.format} image is cut short or damaged: copy or save it again") from None


def look(data: bytes) -> Look:
    """Format and size, by the head alone. NoImage for what is none, or too large to be decoded."""
    if not data:
        raise NoImage(f"no image came: send a {TAKEN} file")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise NoImage(f"{_name(data)} is not an image that is taken: give a {TAKEN} file") from None
    _check_size(*image.size)
    return Look("JPEG" if image.format == "MPO" else image.format, *image.size, tuple(_notes(image)))


def _name(data: bytes) -> str:
    start = data[:64].lstrip().lower()
    if data[4:8] == b"ftyp":
        return ISO_MEDIA.get(data[8:12], "a film or an image of a phone's own format")
    return next((name for magic, name in KNOWN if start.startswith(magic.lower())), "this file")


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise NoImage(f"the image has {width:,} x {height:,} pixels, {MOST_PIXELS // 1_000_000} million are the most: "
                      "make it smaller")
    if not width or not height:
        raise NoImage("the image has no pixels")


def _notes(image: Image.Image) -> list[str]:
    notes = []
    if image.mode == "CMYK":
        notes.append("The image has CMYK colours; they are converted without its colour profile.")
    if "A" in image.getbands() or "transparency" in image.info:
        notes.append("The image is transparent in places; what lies below shows through.")
    if image.mode.startswith(("I", "F")):
        notes.append("The image has more than 8 bits a channel; it is taken with 8.")
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        notes.append("The file holds several pictures; the first is taken.")
    if min(image.size) < 8:
        notes.append(f"The image has only {image.width} x {image.height} pixels.")
    return notes


def preview(image: np.ndarray, side: int) -> bytes:
    """PNG of the image, no side longer than `side`, never enlarged."""
    factor = side / max(image.shape[:2])
    if factor < 1:
        size = tuple(max(1, round(length * factor)) for length in image.shape[1::-1])
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".png", image)[1].tobytes()
