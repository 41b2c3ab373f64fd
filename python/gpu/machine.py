"""Whether what is computed on the CPU fits into the machine's memory: estimated before it is taken.

Caffe takes the memory of a net's blobs when they are first written, so a net can be asked for its sizes before.
"""
from pathlib import Path

import caffe

from gpu.net_sizes import FLOAT, sizes
from gpu.nvidia import in_words
from process.errors import DriverError
from process.machine import memory


def check_bytes(need: int, what: str, advice: str) -> None:
    """DriverError when something needs more bytes than the machine has. what: it is, in words."""
    if need > memory():
        raise DriverError(f"{what} needs about {in_words(need)} of memory, the machine has {in_words(memory())}: "
                          f"{advice}")


def check_net(net: caffe.Net, batch: int, path: Path, training: bool) -> None:
    """DriverError when a net with this batch needs more than the machine has. Its inputs get the batch."""
    found = sizes(net, batch)
    weights = FLOAT * sum(blob.count for blobs in net.params.values() for blob in blobs)
    inputs = FLOAT * sum(net.blobs[name].count for name in net.inputs)
    # weights, gradient and momentum in training
    need = inputs + found["forward"] + (3 * weights + found["backward"] if training else weights)
    check_bytes(need, f"{path} with batches of {batch:,}", "take smaller batches or a smaller net")
