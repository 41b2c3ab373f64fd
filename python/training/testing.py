"""Accuracy and loss over the whole test set, every image counted once."""
from dataclasses import dataclass, field
from pathlib import Path

import caffe
import numpy as np
from caffe.proto import caffe_pb2

from caffe_files.prototxt import latent_sigmoid, loss_of


@dataclass
class TestResult:
    """Of `images` test images, which may have several labels each.

    predicted, actual: (classes,) how many images each class is given, and has.

    lowest, highest: (bits,) of the activations that make the codes; None for a net without a latent layer.
    """
    __test__ = False  # for pytest, which collects by such names
    images: int
    several: bool = False
    correct: float = 0.0
    loss_sum: float = 0.0
    predicted: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    actual: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    lowest: np.ndarray | None = None
    highest: np.ndarray | None = None

    @property
    def accuracy(self) -> float:
        """Share of images whose class has the highest score; with several labels the share of all labels told right."""
        return self.correct / self.images

    @property
    def loss(self) -> float:
        """Mean softmax loss of an image; with several labels the mean of the sum of their cross-entropies."""
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
        """Counts some images: scores (n, classes) float64, codes (n, bits) activations.

        labels: (n,) integers, or with several labels (n, classes) of 0 and 1.
        """
        if self.several:
            guesses = scores >= 0
            self.correct += float((guesses == labels).mean(1).sum())
            # log(1 + exp(score)) - label * score, without overflow
            self.loss_sum += float((np.logaddexp(0, scores) - labels * scores).sum())
            self._count(guesses.sum(0), labels.sum(0))
        else:
            guesses = scores.argmax(1)
            self.correct += int((guesses == labels).sum())
            self.loss_sum += float((_log_sum_exp(scores) - scores[np.arange(len(labels)), labels]).sum())
            self._count(*(np.bincount(numbers, minlength=scores.shape[1]) for numbers in (guesses, labels)))
        if codes is not None:
            low, high = codes.min(0), codes.max(0)
            self.lowest = low if self.lowest is None else np.minimum(self.lowest, low)
            self.highest = high if self.highest is None else np.maximum(self.highest, high)

    def _count(self, predicted: np.ndarray, actual: np.ndarray) -> None:
        self.predicted = predicted + (self.predicted if len(self.predicted) else 0)
        self.actual = actual + (self.actual if len(self.actual) else 0)


class WholeTestSet:
    """The TEST-phase net of a train_val prototxt, sharing the weights of the net in training. images: in the set."""

    def __init__(self, net_file: Path, net_message: caffe_pb2.NetParameter, images: int,
                 trained_net: caffe.Net) -> None:
        self.net = caffe.Net(str(net_file), caffe.TEST)
        self.net.share_with(trained_net)
        self.loss = loss_of(net_message, net_file)
        self.latent = latent_sigmoid(net_message)
        self.images = images

    def measure(self) -> TestResult:
        """Over as many consecutive images as the set has.

        Caffe's Data layer wraps round in the last batch when the batch does not divide the set. The surplus is not
        counted; the next call starts behind it, and any `images` consecutive entries of the cycle are the whole set.
        """
        loss, left = self.loss, self.images
        result = TestResult(self.images, loss.several)
        while left:
            self.net.forward()
            rows = slice(0, min(left, len(self.net.blobs[loss.labels].data)))
            scores = self.net.blobs[loss.scores].data[rows].astype(np.float64)
            labels = self.net.blobs[loss.labels].data[rows].astype(int)
            codes = self.net.blobs[self.latent.top].data[rows] if self.latent else None
            result.add(scores, labels.reshape(scores.shape) if loss.several else labels.ravel(), codes)
            left -= len(labels)
        return result


def _log_sum_exp(scores: np.ndarray) -> np.ndarray:
    highest = scores.max(1)
    return highest + np.log(np.exp(scores - highest[:, None]).sum(1))
