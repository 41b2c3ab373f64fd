"""Reads and pre-processes batches in a process beside the net.

A process, not a thread: pycaffe holds Python's lock during a forward pass. Batches travel through shared memory.
"""
import mmap
import multiprocessing
import os
import signal
import traceback
from collections.abc import Iterator

import cv2
import numpy as np

from features.preprocess import Preprocessor, thumbnail
from features.sources import Source
from process.errors import DriverError
from process.forked import ended
from process.guard import die_with

SLOTS = 4
LOOK_AGAIN_S = 1.0  # how often a waiting net looks whether its reader still lives


def shared_array(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """A zeroed array that a forked child shares with its parent."""
    count = int(np.prod(shape))
    memory = mmap.mmap(-1, max(1, count * np.dtype(dtype).itemsize))
    return np.frombuffer(memory, dtype, count).reshape(shape)


class Prefetcher:
    """Iterates over (images (n, C, H, W) float32, labels (n,) int64, thumbs (n, s, s, 3) uint8), n <= batch.

    start: first row. thumb_size: side of the pictures, 0 for none. The arrays are valid until the next step. Must be
    made before Caffe is used: it forks. DriverError when an image cannot be read or the reading process is killed.
    """

    def __init__(self, source: Source, preprocess: Preprocessor, batch: int, start: int = 0,
                 thumb_size: int = 0) -> None:
        self.source, self.preprocess, self.start, self.thumb_size = source, preprocess, start, thumb_size
        shape = (preprocess.channels, preprocess.crop, preprocess.crop)
        self.images = shared_array((SLOTS, batch, *shape), np.float32)
        self.labels = shared_array((SLOTS, batch), np.int64)
        self.thumbs = shared_array((SLOTS, batch, thumb_size, thumb_size, 3), np.uint8)
        cv2.setNumThreads(1)  # the net needs the other cores. Before the fork: OpenCV's threads do not survive one
        context = multiprocessing.get_context("fork")
        self.free = context.SimpleQueue()
        self.filled, self.filled_end = context.Pipe(duplex=False)
        for slot in range(SLOTS):
            self.free.put(slot)
        self.worker = context.Process(target=self._work, args=(os.getpid(),), daemon=True)
        self.worker.start()

    def _work(self, parent: int) -> None:
        die_with(parent)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides, and ends this process
        try:
            self._fill()
            self.filled_end.send(None)
        except (DriverError, OSError) as error:
            self.filled_end.send(str(error))
        except Exception:
            self.filled_end.send(f"the image reader failed:\n{traceback.format_exc()}")

    def _fill(self) -> None:
        slot, used = None, 0
        for image, label in self.source.read(self.start):
            slot = self.free.get() if slot is None else slot
            self.preprocess(image, self.images[slot, used])
            self.labels[slot, used] = label
            if self.thumb_size:
                self.thumbs[slot, used] = thumbnail(image, self.thumb_size)
            used += 1
            if used == self.labels.shape[1]:
                self.filled_end.send((slot, used))
                slot, used = None, 0
        if used:
            self.filled_end.send((slot, used))

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        while (filled := self._next()) is not None:
            if isinstance(filled, str):
                raise DriverError(filled)
            slot, used = filled
            yield self.images[slot, :used], self.labels[slot, :used], self.thumbs[slot, :used]
            self.free.put(slot)

    def _next(self) -> tuple[int, int] | str | None:
        """(slot, images in it), the sentence on a mistake, or None at the end."""
        while not self.filled.poll(LOOK_AGAIN_S):
            if not self.worker.is_alive() and not self.filled.poll():
                raise DriverError(ended(self.worker.exitcode, self.source.path))
        return self.filled.recv()

    def close(self) -> None:
        """Ends the reading process."""
        self.worker.kill()
        self.worker.join()
