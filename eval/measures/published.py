"""The published figures (published.json), and what they may be set beside.

They are quoted from the authors, never computed here: one stands beside ours only where it is about the same thing.
"""

import json
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("published.json")
CIFAR10_SIZES = (10_000, 50_000)   # queries and database of the paper's protocol
RELEASED_FILE = "KevinNet_CIFAR10_48.caffemodel"
PAPER = ("cvprw15", 1000)          # protocol and K of the paper's tables and curves


@cache
def figures() -> dict:
    """The contents of published.json. Not to be changed."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def dataset_name(results: dict) -> str:
    """The data set that results.json tells; "" for a database of another tool, which tells none."""
    return (results["features"].get("data") or {}).get("dataset") or ""


def by_the_papers_protocol(results: dict) -> bool:
    """Whether a results.json or a model of compare.json has mAP by the paper's protocol and K."""
    return (results.get("protocol"), results.get("top_k")) == PAPER and "map" in results


def comparable(results: dict) -> bool:
    """Whether the published CIFAR-10 figures are about what was measured."""
    return dataset_name(results) == "cifar10" and by_the_papers_protocol(results)


def has_cifar10_sizes(results: dict) -> bool:
    """Whether there are as many queries and images as in CIFAR-10."""
    return (results["queries"], results["database"]) == CIFAR10_SIZES


def is_whole_cifar(results: dict) -> bool:
    """Whether the published figures are about the same queries and database by the same protocol."""
    return comparable(results) and has_cifar10_sizes(results)
