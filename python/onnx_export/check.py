"""The exported net, run by onnxruntime, against Caffe."""
from collections.abc import Sequence
from typing import TextIO

import caffe
import numpy as np
import onnxruntime

from process.errors import DriverError

TOLERANCE = 1e-4  # of the largest activation of an output: float32 sums in another order


def compare(content: bytes, net: caffe.Net, blobs: Sequence[str], scale: float) -> dict[str, tuple[float, float]]:
    """{blob: (largest difference, largest activation)} of both on the same random images, pixels times scale."""
    shape = net.blobs[net.inputs[0]].data.shape
    images = np.random.default_rng(0).uniform(-120 * scale, 130 * scale, shape).astype(np.float32)
    net.blobs[net.inputs[0]].data[...] = images
    net.forward()
    one_thread = onnxruntime.SessionOptions()
    one_thread.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, one_thread, providers=["CPUExecutionProvider"])
    found = session.run(list(blobs), {session.get_inputs()[0].name: images})
    return {blob: (float(np.abs(value - net.blobs[blob].data).max()), float(np.abs(value).max()))
            for blob, value in zip(blobs, found)}


def report(differences: dict[str, tuple[float, float]], console: TextIO) -> None:
    """Prints the differences. DriverError when one is more than rounding."""
    for blob, (difference, largest) in differences.items():
        print(f"{blob}: onnxruntime differs from Caffe by at most {difference:.2g} (largest activation {largest:.3g})",
              file=console)
        if not difference <= TOLERANCE * max(largest, 1e-6):
            raise DriverError(f"{blob} of the exported net differs from Caffe's by {difference:.3g}: that is no "
                              "rounding, so nothing is written. The net has a layer whose options export gets wrong")
