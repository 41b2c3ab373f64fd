"""Accuracy and loss over the whole test set, every image counted once."""
from dataclasses import dataclass, field
from pathlib import Path

import caffe
import numpy as np
from caffe.proto import caffe_pb2

from caffe_files.prototxt import latent_sigmoid, loss_bottoms


@dataclass
class TestResult:
    """Of `images` test images. predicted, actual: (classes,) how many images each class is given, and has.

    lowest, highest: (bits,) of the activations that make the codes; None for a net without a latent layer.
    """
    __test__ = False  # for pytest, which collects by such names
    images: int
    correct: int = 0
    loss_sum: float = 0.0
    predicted: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    actual: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    lowest: np.ndarray | None = None
    highest: np.ndarray | None = None

    @property
    def accuracy(self) -> float:
        """Share of images whose class has the highest score."""
        return self.correct / self.images

    @property
    def loss(self) -> float:
        """Mean softmax loss of an image."""
        return self.loss_sum / self.images

    @property
    def bits(self) -> int:
        """Code length, 0 without a latent layer."""
        return 0 if self.lowest is None else len(self.lowest)

    @property
    def constant_bits(self) -> int:
        """Bits that are the same in the codes of all images."""
        return 0 if self.lowest is None else int(((self.lowest >= 0.5) == (self.highest >= 0.5)).sum())

    def add(self, scores: np.ndarray, labels: np.ndarray, codes: np.ndarray | None) -> None:
        """Counts some images: scores (n, classes) float64, labels (n,) integers, codes (n, bits) activations."""
        classes, guesses = scores.shape[1], scores.argmax(1)
        self.correct += int((guesses == labels).sum())
        self.loss_sum += float((_log_sum_exp(scores) - scores[np.arange(len(labels)), labels]).sum())
        self.predicted = np.bincount(guesses, minlength=classes) + (self.predicted if len(self.predicted) else 0)
        self.actual = np.bincount(labels, minlength=classes) + (self.actual if len(self.actual) else 0)
        if codes is not None:
            low, high = codes.min(0), codes.max(0)
            self.lowest = low if self.lowest is None else np.minimum(self.lowest, low)
            self.highest = high if self.highest is None else np.maximum(self.highest, high)


class WholeTestSet:
    """The TEST-phase net of a train_val prototxt, sharing the weights of the net in training. images: in the set."""

    def __init__(self, net_file: Path, net_message: caffe_pb2.NetParameter, images: int,
                 trained_net: caffe.Net) -> None:
        self.net = caffe.Net(str(net_file), caffe.TEST)
        self.net.share_with(trained_net)
        self.scores, self.labels, _ = loss_bottoms(net_message, net_file)
        self.latent = latent_sigmoid(net_message)
        self.images = images

    def measure(self) -> TestResult:
        """Over as many consecutive images as the set has.

        Caffe's Data layer wraps round in the last batch when the batch does not divide the set. The surplus is not
        counted; the next call starts behind it, and any `images` consecutive entries of the cycle are the whole set.
        """
        result, left = TestResult(self.images), self.images
        while left:
            self.net.forward()
            rows = slice(0, min(left, len(self.net.blobs[self.labels].data)))
            labels = self.net.blobs[self.labels].data[rows].astype(int).ravel()
            codes = self.net.blobs[self.latent.top].data[rows] if self.latent else None
            result.add(self.net.blobs[self.scores].data[rows].astype(np.float64), labels, codes)
            left -= len(labels)
        return result


def _log_sum_exp(scores: np.ndarray) -> np.ndarray:
    highest = scores.max(1)
    return highest + np.log(np.exp(scores - highest[:, None]).sum(1))
