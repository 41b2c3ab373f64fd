"""Why a training stands still: what can be measured of each likely cause, in the order in which they are met."""
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import caffe
import numpy as np

from caffe_files.databases import read_labels
from caffe_files.mean_image import read_mean
from caffe_files.samples import neighbours_agree, sample
from training.plan import Plan
from training.problem import Problem
from training.symptoms import class_name

DEEP = 6              # learned layers below the latent one from which on training from the fillers takes very long
FLAT = 0.5            # of 255: standard deviation of the pixels of a batch
DARK = 50.0           # of 255: a fitting mean image leaves the net's input with a mean nearer to 0 than this
LARGE = 10.0          # a root of the input's mean square above which it shakes a net that starts from its fillers
DEAD = 0.99           # of the values behind a ReLU that are 0 (by dropout half of them are), or of the codes' units
SATURATED = 1e-4      # an activation of the codes this near to 0 or 1
UNCHANGED = 1e-4      # relative change of the classifier's weights since the start
SAMPLED = 1_500       # images whose neighbours are looked up
FEWEST_SAMPLES = 60   # below, agreement tells nothing
DEVIATIONS = 4.0      # standard deviations above chance from which on neighbours agree
ONE_CLASS = 0.95      # of the training images

# Told where nothing was found, in this order.
ADVICE = ("wait for the next test: with layers that start from their fillers some hundred iterations may pass so",
          "compare the initial weights with the net: the lines behind \"loaded from\" name the layers that were loaded",
          "look at the mean image and the scale of the data layers: they must be those of the initial weights",
          "try a tenth of base_lr, and ten times it", "look at some images beside their labels",
          "count the images of each class")


@dataclass(frozen=True)
class Cause:
    """name: weights, mean, learning rate, labels or one class. words: what was found, and what to do."""
    name: str
    words: str


@dataclass(frozen=True)
class Case:
    """A training at a standstill. start: weights of the classifier at the start; fresh: layers that no file filled."""
    plan: Plan
    problem: Problem
    net: caffe.Net
    start: np.ndarray | None
    fresh: tuple[str, ...]

    @property
    def names(self) -> Sequence[str]:
        """Names of the classes, [] where the database does not tell."""
        return self.problem.train_meta.get("classes") or []


def likely_causes(case: Case) -> list[Cause]:
    """What speaks for each cause, the likeliest first; [] where nothing does. Looks at the net's last batch."""
    found = (_one_class(case), _weights(case), _mean(case), _rate(case), _labels(case))
    return [cause for cause in found if cause]


def _one_class(case: Case) -> Cause | None:
    """First, as it explains all others."""
    if case.problem.loss.several:
        return None
    counts = case.problem.train_counts
    most = int(counts.argmax())
    if counts[most] < ONE_CLASS * counts.sum():
        return None
    return Cause("one class", f"{counts[most]:,} of {counts.sum():,} training images are of class "
                              f"{class_name(most, case.names)}: nothing is there to tell apart. Look at the labels "
                              "that the database was made from")


def _weights(case: Case) -> Cause | None:
    """Layers below the latent one that started from their fillers, in a net too deep for that."""
    below = _learned_below(case)
    fresh = [name for name in below if name in case.fresh]
    if len(below) < DEEP or not fresh:
        return None
    if len(fresh) == len(below):
        return Cause("weights", f"no weights were loaded: all {len(below)} layers below the codes started from their "
                                "fillers, which takes very many images and iterations. Give weights of ImageNet "
                                "(WEIGHTS=, --weights)")
    return Cause("weights", f"{case.plan.weights} filled no layer {', '.join(fresh)}: a layer that started from its "
                            "filler gives those above it noise. Are its layers named as the net's?")


def _learned_below(case: Case) -> list[str]:
    names = list(case.net.params)
    latent = case.problem.latent
    return names[:names.index(latent.name)] if latent and latent.name in names else names[:-1]


def _mean(case: Case) -> Cause | None:
    """The input as the first layer gets it: Caffe's own Data layer has made it."""
    transform = case.problem.train_layer.transform_param
    values = case.net.blobs[case.problem.train_layer.top[0]].data.astype(np.float64)
    mean, size = values.mean() / transform.scale, np.sqrt(np.mean(values ** 2))
    words = None
    if values.std() / transform.scale < FLAT:
        words = "all pixels of a training batch are alike: the images, or how they were read, are at fault"
    elif transform.mean_file and abs(mean) > DARK:
        picture = read_mean(Path(transform.mean_file)).mean()
        words = (f"the mean image {transform.mean_file} is not of such images: its mean is {picture:.0f}, that of a "
                 f"batch is {mean:+.0f} after it was subtracted. Give the mean image that the initial weights were "
                 "trained with, or one of these images")
    elif not transform.mean_file and not transform.mean_value and case.plan.weights and mean > DARK:
        words = (f"no mean image is subtracted: the pixels of a batch have a mean of {mean:.0f}, weights of ImageNet "
                 "were trained without it. Name mean_file in both data layers")
    elif not transform.mean_file and not case.plan.weights and size > LARGE:
        words = (f"pixels go in as they are (root of their mean square {size:.0f}), too large for layers that start "
                 "from their fillers. Give the data layers a mean image, or scale: 0.00390625")
    return Cause("mean", words) if words else None


def _rate(case: Case) -> Cause | None:
    """Too low: the classifier is what it was. Too high: units behind a ReLU are dead, or the codes' are saturated."""
    rate, latent = case.problem.solver.base_lr, case.problem.latent
    if case.start is not None:
        now = case.net.params[case.problem.classifier][0].data
        change = np.linalg.norm(now - case.start) / max(np.linalg.norm(case.start), 1e-30)
        if change < UNCHANGED:
            return Cause("learning rate", f"the weights of {case.problem.classifier} have changed by {change:.1e} of "
                                          f"themselves: base_lr {rate:g}, or the layer's lr_mult, is too low")
    dead = (case.net.blobs[latent.bottom].data == 0).mean() if latent else 0
    stuck = _saturated(case.net.blobs[latent.top].data) if latent else 0
    if dead < DEAD and stuck < DEAD:
        return None
    seen = f"{dead:.0%} of the values in {latent.bottom} are 0: units behind a ReLU are dead" if dead >= DEAD else \
        f"{stuck:.0%} of the units in {latent.top} are saturated and the same for all images of a batch"
    return Cause("learning rate", f"{seen}, as after steps that were too large. Lower base_lr ({rate:g}) to a tenth "
                                  "and begin anew (another RUN=)")


def _saturated(codes: np.ndarray) -> float:
    """Share of the units whose Sigmoid has no gradient left, and that are the same for all images."""
    low, high = (codes < SATURATED).all(0), (codes > 1 - SATURATED).all(0)
    return float((low | high).mean())


def _labels(case: Case) -> Cause | None:
    """Images alike in their pixels share a class more often than by chance, unless labels went to other images."""
    if case.problem.loss.several:
        return None
    pictures, rows = sample(case.problem.train_source, SAMPLED)
    if len(rows) < FEWEST_SAMPLES:
        return None
    labels = read_labels(case.problem.train_source)[rows]
    agree, by_lot = neighbours_agree(pictures, labels)
    spread = np.sqrt(by_lot * (1 - by_lot) / len(rows))
    if agree > by_lot + DEVIATIONS * spread or by_lot > ONE_CLASS:
        return None
    return Cause("labels", f"labels seem to belong to other images: of {len(rows):,} training images {agree:.1%} share "
                           f"their label with the one most alike in its pixels; by lot {by_lot:.1%} would. Compare "
                           "some with their labels (order of lists, of labels and files)")


def as_json(causes: Sequence[Cause]) -> list[dict[str, Any]]:
    """For standstill.json."""
    return [vars(cause) for cause in causes]
