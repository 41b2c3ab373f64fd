"""What a net takes in memory, by the shapes that Caffe gives it on the CPU.

    python -m gpu.net_sizes NET.prototxt TRAIN|TEST BATCH...    prints {"weights": bytes, "sizes": [of each batch]}

A process of its own, so that the driver keeps Caffe off the GPU until later. No blob takes memory here.
"""
import json
import math
import sys

import caffe

FLOAT = 4                  # bytes
WORKSPACE = 3 * (8 << 20)  # a convolution of Caffe's cuDNN engine: three streams of at most 8 MiB, for each group


def sizes(net: caffe.Net, batch: int) -> dict[str, int]:
    """{forward, backward, workspace} in bytes of a net at this batch. The inputs are not in `forward`."""
    for name in net.inputs:
        net.blobs[name].reshape(batch, *net.blobs[name].shape[1:])
    net.reshape()
    own = {name: blob.count for name, blob in net.blobs.items() if name not in net.inputs}
    # copies of a split share its data, not its diff
    forward = sum(count for name, count in own.items() if "_split_" not in name)
    kept, workspace = 0, 0
    for number, layer in enumerate(net.layers):
        blobs = [net.blobs[net._blob_names[i]] for i in (*net._bottom_ids(number), *net._top_ids(number))]
        kept += _beside(layer, blobs)
        if layer.type == "Convolution":
            workspace += _convolution_workspace(layer, blobs[0], blobs[-1])
    return {"forward": FLOAT * (forward + kept), "backward": FLOAT * sum(own.values()), "workspace": workspace}


def _beside(layer: "caffe.Layer", blobs: list) -> int:
    """Values a layer keeps for its backward pass: dropout and pooling a mask, LRN its scale, a softmax loss the
    probabilities."""
    if layer.type in ("Dropout", "LRN", "SoftmaxWithLoss"):
        return blobs[0].count
    return blobs[-1].count if layer.type == "Pooling" else 0


def _convolution_workspace(layer: "caffe.Layer", bottom: "caffe.Blob", top: "caffe.Blob") -> int:
    """cuDNN's, or the unrolled image of Caffe's own engine, whichever is larger; in bytes."""
    _, inputs, *kernel = layer.blobs[0].shape
    groups = bottom.shape[1] // inputs
    unrolled = FLOAT * groups * inputs * math.prod(kernel) * math.prod(top.shape[2:])
    return max(groups * WORKSPACE, unrolled)


def main(net_file: str, phase: str, *batches: str) -> None:
    """Prints the answer as JSON."""
    net = caffe.Net(net_file, getattr(caffe, phase))
    weights = FLOAT * sum(blob.count for blobs in net.params.values() for blob in blobs)
    print(json.dumps({"weights": weights, "sizes": [sizes(net, int(batch)) for batch in batches]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
