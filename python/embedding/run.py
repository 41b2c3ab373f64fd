"""One call of embed.py: a net that answers through a pipe until the pipe ends. Behind the guard's fork."""
import os
import time
from pathlib import Path
from typing import BinaryIO, TextIO

import cv2
import numpy as np

from caffe_files.engine import engine_in_use
from embedding.decoder import Decoder
from embedding.decoding import NoImage
from embedding.framing import BrokenPipe, Frame, read_frame, write_frame
from embedding.options import EmbedOptions
from embedding.originals import Originals
from features.loading import load_extractor, tell_device
from features.options import SPLITS
from features.recipe import decide
from gpu import device
from process.errors import DriverError


def embed(options: EmbedOptions, console: TextIO) -> int:
    """Answers on what was standard output until standard input ends; returns the exit status."""
    requests, answers = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the frames
    cv2.setNumThreads(1)
    try:
        embedder = Embedder(options, console)
    except DriverError as error:
        write_frame(answers, {"error": str(error)})
        raise
    write_frame(answers, {"ready": True, "meta": embedder.meta()})
    try:
        _serve(embedder, requests, answers)
    except (BrokenPipe, BrokenPipeError) as error:
        print(f"embed: the other side of the pipe is gone ({error})", file=console)
    finally:
        embedder.decoder.close()
    return 0


def _serve(embedder: "Embedder", requests: BinaryIO, answers: BinaryIO) -> None:
    while (request := read_frame(requests)) is not None:
        try:
            write_frame(answers, *embedder.answer(request))
        except NoImage as error:
            write_frame(answers, {"error": str(error), "kind": "image"})
        except DriverError as error:
            write_frame(answers, {"error": str(error), "kind": "missing"})


class Embedder:
    """The net, the decoder beside it and the images of the features."""

    def __init__(self, options: EmbedOptions, console: TextIO) -> None:
        gpus = device.choose(options.model.gpu, lambda words: print(words, file=console))
        if len(gpus) > 1:
            raise DriverError(f"--gpu {options.model.gpu}: a net that is asked takes one GPU")
        self.recipe = decide(options.model, None if gpus else engine_in_use(), console)
        self.decoder = Decoder(self.recipe.preprocess)
        tell_device(gpus, self.recipe, options.model.any_memory, console)
        self.extractor = load_extractor(self.recipe, gpus)  # batches as in extraction: its very features come out
        self.originals = _originals(options.images_of)

    def meta(self) -> dict:
        """What of meta.json the features of an image have in common."""
        return {**self.recipe.identity(), "bits": self.extractor.width("latent"),
                "feature_dim": self.extractor.width("fc7")}

    def answer(self, request: Frame) -> tuple[dict, dict]:
        """Header and parts of the answer to a frame. NoImage or DriverError for what cannot be answered."""
        asked = request.header.get("op")
        if asked == "embed":
            return self._embed(request.parts["image"])
        if asked == "original":
            return {}, {"image": self._original(request.header["split"], request.header["row"])}
        raise DriverError(f"{asked!r} is nothing that embed.py can be asked: embed or original")

    def _embed(self, data: bytes) -> tuple[dict, dict]:
        started = time.perf_counter()
        decoded = self.decoder.decode(data)
        ready = time.perf_counter()
        found = self.extractor(decoded.parts["input"][None])
        seconds = {"decode": ready - started, "net": time.perf_counter() - ready}
        parts = {name: np.asarray(values[0]) for name, values in found.items() if name != "predictions"}
        prediction = int(found["predictions"][0]) if "predictions" in found else None
        told = {name: decoded.header[name] for name in ("format", "width", "height", "notes")}
        return {**told, "prediction": prediction, "seconds": seconds}, {**parts, "preview": decoded.parts["preview"]}

    def _original(self, split: str, row: int) -> bytes:
        if split not in self.originals:
            raise DriverError(f"nothing tells where the images of {split} lie: the features have no {split}/meta.json")
        return self.originals[split].png(row, self.decoder)


def _originals(features: Path | None) -> dict[str, Originals]:
    """{split: its images}, of those that tell where theirs are."""
    folders = {split: features / split for split in SPLITS} if features else {}
    return {split: Originals(folder) for split, folder in folders.items() if (folder / "meta.json").is_file()}
