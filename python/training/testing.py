"""Accuracy and loss over the whole test set, every image counted once."""
from pathlib import Path

import caffe
import numpy as np
from caffe.proto import caffe_pb2

from caffe_files.prototxt import loss_bottoms


class WholeTestSet:
    """The TEST-phase net of a train_val prototxt, sharing the weights of the net in training. images: in the set."""

    def __init__(self, net_file: Path, net_message: caffe_pb2.NetParameter, images: int,
                 trained_net: caffe.Net) -> None:
        self.net = caffe.Net(str(net_file), caffe.TEST)
        self.net.share_with(trained_net)
        self.scores, self.labels, _ = loss_bottoms(net_message, net_file)
        self.images = images

    def measure(self) -> tuple[float, float]:
        """(accuracy, mean softmax loss) over as many consecutive images as the set has.

        Caffe's Data layer wraps round in the last batch when the batch does not divide the set. The surplus is not
        counted; the next call starts behind it, and any `images` consecutive entries of the cycle are the whole set.
        """
        correct, loss, left = 0, 0.0, self.images
        while left:
            self.net.forward()
            rows = slice(0, min(left, len(self.net.blobs[self.labels].data)))
            labels = self.net.blobs[self.labels].data[rows].astype(int).ravel()
            scores = self.net.blobs[self.scores].data[rows].astype(np.float64)
            correct += int((scores.argmax(1) == labels).sum())
            loss += float((_log_sum_exp(scores) - scores[np.arange(len(labels)), labels]).sum())
            left -= len(labels)
        return correct / self.images, loss / self.images


def _log_sum_exp(scores: np.ndarray) -> np.ndarray:
    highest = scores.max(1)
    return highest + np.log(np.exp(scores - highest[:, None]).sum(1))
