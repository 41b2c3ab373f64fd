"""The process that decodes: `python -m embedding.decoder_worker`, asked by embedding/decoder.py through a pipe.

It holds no file, no socket and not the net. Its memory is limited; the other side limits its time. Decoders have been
broken into by images before.
"""
import os
import resource
import sys

import cv2
import numpy as np

from embedding.decoding import NoImage, decode, preview
from embedding.framing import Frame, read_frame, write_frame
from features.preprocess import Preprocessor
from process.guard import die_with

MEMORY = 2 << 30        # 50 million pixels as uint8 and, by the authors' protocol, as float32: 750 MB
OPEN_FILES = 16         # of which OpenCV and Pillow need none


def main(parent: int) -> None:
    """Answers until the pipe ends."""
    die_with(parent)
    requests, answers = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the frames
    cv2.setNumThreads(1)
    preprocess = preprocessor_of(read_frame(requests))
    confine()
    while (request := read_frame(requests)) is not None:
        try:
            write_frame(answers, *answer(request, preprocess))
        except NoImage as error:
            write_frame(answers, {"error": str(error)})
        except (MemoryError, cv2.error):
            write_frame(answers, {"error": "decoding the image needs more memory than is granted: make it smaller"})


def confine() -> None:
    """No more memory than this from here on, no new file, no core dump."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def preprocessor_of(frame: Frame) -> Preprocessor:
    """The Preprocessor of the first frame: its fields in the header, the mean as a part where there is one."""
    return Preprocessor(**frame.header["preprocess"], mean=frame.parts.get("mean"))


def answer(request: Frame, preprocess: Preprocessor) -> tuple[dict, dict]:
    """Header and parts: the net's input (C, H, W) float32 where it is asked for, and a preview."""
    image, seen = decode(request.parts["image"])
    parts = {"preview": preview(image, request.header["side"])}
    if request.header["input"]:
        parts["input"] = np.empty((preprocess.channels, preprocess.crop, preprocess.crop), np.float32)
        preprocess(image, parts["input"])
    return {"format": seen.format, "width": seen.width, "height": seen.height, "notes": seen.notes}, parts


if __name__ == "__main__":
    main(int(sys.argv[1]))
