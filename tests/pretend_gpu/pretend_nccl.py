"""What Caffe's NCCL object does for the driver, on CPUs, by a socket: rank 0's weights for all, averaged gradients."""
import os
import tempfile
import time
from multiprocessing.connection import Client, Listener


class NCCL:
    def __init__(self, solver, unique_id):
        import caffe
        self.blobs = [blob for blobs in solver.net.params.values() for blob in blobs]
        path = unique_id.rstrip(b"\0").decode()
        self.first = caffe.solver_rank() == 0
        if self.first:
            with Listener(path) as listener:
                self.others = [listener.accept() for _ in range(caffe.solver_count() - 1)]
        else:
            self.others = [_join(path)]

    @staticmethod
    def new_uid():
        return os.path.join(tempfile.mkdtemp(), "ranks").encode().ljust(128, b"\0")

    def bcast(self):
        if self.first:
            self._send([blob.data.copy() for blob in self.blobs])
        else:
            for blob, values in zip(self.blobs, self.others[0].recv()):
                blob.data[...] = values

    def average_gradients(self):
        try:
            self._average()
        except (EOFError, OSError):  # a rank has died: NCCL waits for it for ever
            time.sleep(3600)

    def _average(self):
        own = [blob.diff.copy() for blob in self.blobs]
        if self.first:
            ranks = [own, *(other.recv() for other in self.others)]
            mean = [sum(parts) / len(ranks) for parts in zip(*ranks)]
            self._send(mean)
        else:
            self._send(own)
            mean = self.others[0].recv()
        for blob, values in zip(self.blobs, mean):
            blob.diff[...] = values

    def _send(self, arrays):
        for other in self.others:
            other.send(arrays)


def _join(path):
    for _ in range(600):
        try:
            return Client(path)
        except (FileNotFoundError, ConnectionRefusedError):
            time.sleep(0.05)
    raise TimeoutError(f"no rank 0 at {path}")
