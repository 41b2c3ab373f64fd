"""Reads and pre-processes batches in a process beside the net.

A process, not a thread: pycaffe holds Python's lock during a forward pass. Batches travel through shared memory.
"""
import multiprocessing
import mmap
import traceback

import numpy as np

from driver_errors import DriverError
from preprocess import thumbnail

SLOTS = 4


def shared_array(shape, dtype):
    """A zeroed array that a forked child shares with its parent."""
    count = int(np.prod(shape))
    memory = mmap.mmap(-1, max(1, count * np.dtype(dtype).itemsize))
    return np.frombuffer(memory, dtype, count).reshape(shape)


class Prefetcher:
    """Iterates over (images (n, C, H, W) float32, labels (n,) int64, thumbs (n, s, s, 3) uint8), n <= batch.

    The arrays are valid until the next step. Must be made before Caffe is used (it forks).
    """

    def __init__(self, source, preprocess, batch, start=0, thumb_size=32):
        self.source, self.preprocess, self.start, self.thumb_size = source, preprocess, start, thumb_size
        shape = (preprocess.channels, preprocess.crop, preprocess.crop)
        self.images = shared_array((SLOTS, batch, *shape), np.float32)
        self.labels = shared_array((SLOTS, batch), np.int64)
        self.thumbs = shared_array((SLOTS, batch, thumb_size, thumb_size, 3), np.uint8)
        context = multiprocessing.get_context("fork")
        self.free, self.filled = context.SimpleQueue(), context.SimpleQueue()
        for slot in range(SLOTS):
            self.free.put(slot)
        self.worker = context.Process(target=self._fill, daemon=True)
        self.worker.start()

    def _fill(self):
        try:
            import cv2
            cv2.setNumThreads(1)  # the net needs the other cores
            slot, used = None, 0
            for image, label in self.source.read(self.start):
                slot = self.free.get() if slot is None else slot
                self.preprocess(image, self.images[slot, used])
                self.labels[slot, used] = label
                if self.thumb_size:
                    self.thumbs[slot, used] = thumbnail(image, self.thumb_size)
                used += 1
                if used == len(self.labels[slot]):
                    self.filled.put((slot, used))
                    slot, used = None, 0
            if used:
                self.filled.put((slot, used))
            self.filled.put(None)
        except (DriverError, OSError) as error:
            self.filled.put(str(error))
        except Exception:
            self.filled.put(f"the image reader failed:\n{traceback.format_exc()}")

    def __iter__(self):
        while (filled := self.filled.get()) is not None:
            if isinstance(filled, str):
                raise DriverError(filled)
            slot, used = filled
            yield self.images[slot, :used], self.labels[slot, :used], self.thumbs[slot, :used]
            self.free.put(slot)

    def close(self):
        self.worker.kill()
        self.worker.join()
