"""Evaluation protocols by name: which queries, which database, how AP is cut and divided.

Published mAP figures of CIFAR-10 follow different protocols and must not be compared across them.
"""

from dataclasses import dataclass

import numpy as np

QUERIES_PER_CLASS = 100
SEED = 0
LIST_LENGTH = 1000      # results that are kept of each search: the K of the paper


@dataclass(frozen=True)
class Protocol:
    """top_k: K of mAP@K, None for the whole ranking; queries: "test", or a key of SAMPLES for 100 a class;
    rest_in_database: the test images that are no queries join the database;
    divisor: AP over the "hits" within K or over "all" relevant images; zero_hit: a query without a hit
    scores "zero" or is "left-out".
    """

    name: str
    description: str
    top_k: int | None
    queries: str = "test"
    rest_in_database: bool = False
    divisor: str = "hits"
    zero_hit: str = "zero"

    def depth(self, database: int) -> int:
        """K of mAP@K against so many images."""
        return min(self.top_k or database, database)

    def list_length(self, database: int) -> int:
        """Results that a search against so many images keeps: K, but 1,000 at most."""
        return min(self.depth(database), LIST_LENGTH)


# Of what else is published: mAP@1000, as for ImageNet-100, is cvprw15 on those images; whole rankings over the hits
# (DeepHash-pytorch's CIFAR-10) are the same number as over all relevant images.
PROTOCOLS = {protocol.name: protocol for protocol in (
    Protocol("cvprw15", "the paper's: all test images against all training images, K = 1000", 1000),
    Protocol("ssdh", "the authors' 2017 follow-up: the same with K = 50000", 50000),
    Protocol("top5000", "mAP@5000, as published for NUS-WIDE and MS-COCO: all test images against all training images",
             5000),
    Protocol("pytorch_deephash", "that repository's: its 100 test images a class against all training images, AP over "
             "all relevant", None, queries="deephash-sample", divisor="all"),
    Protocol("1k-of-test", "100 test images a class against all training images, AP over all relevant",
             None, queries="sample", divisor="all"),
    Protocol("59k", "100 test images a class against all other images, AP over all relevant",
             None, queries="sample", rest_in_database=True, divisor="all"),
)}


def sample_queries(labels: np.ndarray, per_class=QUERIES_PER_CLASS, seed=SEED) -> np.ndarray:
    """Sorted rows of `per_class` random images of each class (fewer where there are fewer).

    Images with several labels have no one class: as many rows as there would be, from all alike.
    """
    rng = np.random.default_rng(seed)
    if labels.ndim == 2:
        return np.sort(rng.permutation(len(labels))[:per_class * labels.shape[1]])
    chosen = [rng.permutation(np.flatnonzero(labels == label))[:per_class] for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


def deephash_queries(labels: np.ndarray, per_class=QUERIES_PER_CLASS) -> np.ndarray:
    """Sorted rows of pytorch_deephash's queries: of class c the first of a permutation seeded with c.

    They are that repository's images only where the test images are in CIFAR-10's official order. Images with several
    labels have no class to seed with: those of `sample_queries`.
    """
    if labels.ndim == 2:
        return sample_queries(labels, per_class)
    chosen = [np.random.RandomState(label % 2**32).permutation(np.flatnonzero(labels == label))[:per_class]
              for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


SAMPLES = {"sample": sample_queries, "deephash-sample": deephash_queries}


def split_rows(protocol: Protocol, test_labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(query rows, joining rows): test rows that are queries, and those that join the database."""
    everything = np.arange(len(test_labels))
    rows = everything if protocol.queries == "test" else SAMPLES[protocol.queries](test_labels)
    joining = np.setdiff1d(everything, rows) if protocol.rest_in_database else everything[:0]
    return rows, joining
