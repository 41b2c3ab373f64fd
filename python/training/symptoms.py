"""What shows that a training stands still: the loss, accuracy, predictions and codes of a net that knows nothing."""
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from training.testing import TestResult

EARLIEST = 100       # iterations: before them any net is at chance
CLOSE = 0.02         # of the loss of guessing; a loss this near to it, or above it, is at it
DEVIATIONS = 3.0     # standard deviations of a count above chance that still are chance
SWALLOWED = 0.9      # of the predictions for one class that is not so frequent
CONSTANT = 0.9       # of the bits


@dataclass(frozen=True)
class Symptoms:
    """None where a thing is as it should be.

    loss: (measured, that of guessing). accuracy: (measured, that of always naming the most frequent class). swallowed:
    (class, share of the test images that are taken for it). constant_bits: (bits that never change, all bits).
    """
    iteration: int
    loss: tuple[float, float] | None
    accuracy: tuple[float, float] | None
    swallowed: tuple[int, float] | None
    constant_bits: tuple[int, int] | None

    @property
    def standing(self) -> bool:
        """Whether any of them is there."""
        return any(value is not None for name, value in asdict(self).items() if name != "iteration")

    def sentences(self, names: Sequence[str]) -> list[str]:
        """In words. names: of the classes; may be short."""
        found = []
        if self.loss:
            found.append(f"the loss is {self.loss[0]:.4f}, and guessing gives {self.loss[1]:.4f}")
        if self.accuracy:
            found.append(f"the accuracy is {self.accuracy[0]:.4f}, and naming the most frequent class gives "
                         f"{self.accuracy[1]:.4f}")
        if self.swallowed:
            found.append(f"{self.swallowed[1]:.0%} of the test images are taken for class "
                         f"{class_name(self.swallowed[0], names)}")
        if self.constant_bits:
            found.append(f"{self.constant_bits[0]} of {self.constant_bits[1]} bits are the same for all test images")
        return found

    def as_json(self) -> dict[str, Any]:
        """For standstill.json."""
        return asdict(self)


def class_name(number: int, names: Sequence[str]) -> str:
    """A class in words."""
    return repr(names[number]) if number < len(names) else str(number)


def guessing_loss(counts: np.ndarray, images: int | None = None) -> float:
    """The least loss of a net that sees no image: the entropy of the classes; ln(classes) when all are as frequent.

    images: how many there are, where each has several labels: then it is the sum of the labels' entropies.
    """
    if images is None:
        return entropy(counts / counts.sum())
    return entropy(counts / images) + entropy(1 - counts / images)


def entropy(shares: np.ndarray) -> float:
    """-sum p ln p, in nats."""
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def chance(result: TestResult) -> float:
    """Accuracy of a net that sees no image: the share of the most frequent class, or the mean over several labels."""
    shares = result.actual / result.images
    return float(np.maximum(shares, 1 - shares).mean() if result.several else shares.max())


def symptoms_of(iteration: int, training_loss: float, trained: np.ndarray, images: int,
                result: TestResult) -> Symptoms:
    """The Symptoms after a test.

    training_loss: the running mean. trained: (classes,) training images of each. images: for training.
    """
    if iteration < EARLIEST:
        return Symptoms(iteration, None, None, None, None)
    guessing = guessing_loss(trained, images if result.several else None)
    most = chance(result)
    told = result.images * (len(result.actual) if result.several else 1)  # labels that could be right by chance
    limit = most + DEVIATIONS * math.sqrt(most * (1 - most) / told)
    swallower = int(result.predicted.argmax())  # of several labels all may be given, and none swallows
    share = float(result.predicted[swallower] / result.images)
    frequent = result.actual[swallower] / result.images
    at_loss = guessing > 0 and training_loss >= (1 - CLOSE) * guessing
    return Symptoms(
        iteration,
        (training_loss, guessing) if at_loss else None,
        (result.accuracy, most) if result.accuracy <= limit and most < 1 else None,
        (swallower, share) if share >= SWALLOWED and frequent < share - 1 / 4 and not result.several else None,
        (result.constant_bits, result.bits) if result.bits and result.constant_bits >= CONSTANT * result.bits else None)
