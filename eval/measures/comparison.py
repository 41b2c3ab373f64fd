"""Two or three models on the same images: each measured by its codes, each pair compared query by query.

All are evaluated by the paper's protocol (cvprw15).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from basics.program import EvalError
from measures import published
from measures.agreement import agree_on_labels, agree_on_rankings, compare_ap, most_different
from measures.scoring import accuracy, score_classes, score_retrieval
from measures.whole_ranking import CodeRankings
from search.feature_set import Split, load_features
from search.protocols import PROTOCOLS
from search.rankings import Ranking
from search.retrieval import Retrieval, Retrievals
from search.searches import SearchOptions, run_searches

CLOSE_ENOUGH = 0.002
SHOWN_EACH_WAY = 4
CROPS = {"authors": "row and column 15, as theirs",
         "caffe": "row and column 14, Caffe's own; theirs starts at 15 (--protocol authors)"}


@dataclass(frozen=True, eq=False)
class Model:
    """One model's features with what was found from them. ap: (Q,) by codes; results: its part of compare.json."""

    name: str
    retrieval: Retrieval
    ranking: Ranking
    ap: np.ndarray
    results: dict

    @property
    def queries(self) -> Split:
        return self.retrieval.test


def load_models(named: Iterable[tuple[str, Path]]) -> list[tuple[str, Split, Split]]:
    """[(name, queries, database)] of (name, features directory). EvalError unless all hold the same images in order."""
    loaded = [(name, *load_features(directory)) for name, directory in named]
    for _, *splits in loaded[1:]:
        for first, other in zip(loaded[0][1:], splits):
            check_same_images(first, other)
    return loaded


def check_same_images(first: Split, other: Split):
    """EvalError unless two splits are of the same images, by their labels and by the fingerprint of their data."""
    advice = "extract both models' features from the same databases"
    if first.labels.shape != other.labels.shape:
        raise EvalError(f"{first.folder} holds {len(first)} images, {other.folder} {len(other)} "
                        f"(labels {first.labels.shape} and {other.labels.shape}): {advice}")
    if not np.array_equal(first.labels, other.labels):
        row = int(np.argmax((first.labels != other.labels).reshape(len(first), -1).any(axis=1)))
        raise EvalError(f"{first.folder} and {other.folder} hold other images or another order: "
                        f"their labels differ from row {row} on; {advice}")
    prints = [(split.meta.get("data") or {}).get("fingerprint") for split in (first, other)]
    if all(prints) and prints[0] != prints[1]:
        raise EvalError(f"{first.folder} and {other.folder} come from other images (data fingerprint {prints[0][:12]} "
                        f"against {prints[1][:12]} in meta.json; also when the images of one were resized before): "
                        f"{advice}")


def score_model(name: str, queries: Split, database: Split, threads: int | None = None) -> Model:
    """Search by codes and measure one model."""
    protocol = PROTOCOLS["cvprw15"]
    retrievals = Retrievals(queries, database)
    retrieval = retrievals.by(protocol)
    options = SearchOptions(protocol.list_length(len(database)))
    rankings = run_searches(retrieval, ["bcs"], options, threads=threads)
    found, ap = score_retrieval(CodeRankings(retrievals, [protocol], threads), rankings, protocol, threads)
    kept = ("protocol", "top_k", "bits", "queries", "database", "map", "map_tie_aware", "precision_at_k", "codes")
    results = {"name": name, "directory": str(queries.folder.parent), **{key: found[key] for key in kept}}
    results["codes"]["exactly_half"] = sum(
        int(np.count_nonzero(split.latent == 0.5)) for split in (queries, database) if split.latent is not None)
    right = accuracy(queries)
    if right is not None:
        results["accuracy"] = right
    if queries.labels.ndim == 1:
        results["classes"] = score_classes(queries.labels, queries.predictions, ap["bcs"])
    results["features"] = queries.meta
    return Model(name, retrieval, rankings["bcs"], ap["bcs"], results)


def compare_models(loaded: list[tuple[str, Split, Split]], expected: str | None = None,
                   threads: int | None = None) -> tuple[dict, list[Model]]:
    """(contents of compare.json, [Model]). loaded: as from `load_models`; expected: see `published_check`."""
    models = [score_model(name, queries, database, threads) for name, queries, database in loaded]
    pairs = [compare_pair(first, second, threads) for first, second in combinations(models, 2)]
    result = {"models": [model.results for model in models], "pairs": pairs}
    checked = published_check(models, expected)
    return result | ({"published": checked} if checked else {}), models


def compare_pair(first: Model, second: Model, threads: int | None = None) -> dict:
    """Agreement and differences of two models; differences are second minus first."""
    pair = {"first": first.name, "second": second.name, "ap": compare_ap(first.ap, second.ap),
            **agree_on_rankings((first.retrieval, second.retrieval), (first.ranking, second.ranking), threads)}
    predictions = [model.queries.predictions for model in (first, second)]
    if first.queries.labels.ndim == 1 and not any(found is None for found in predictions):
        pair["labels"] = agree_on_labels(first.queries.labels, *predictions)
    higher, lower = most_different(first.ap, second.ap, SHOWN_EACH_WAY)
    for key, rows in (("second_better", higher), ("first_better", lower)):
        pair[key] = [{"query": row, "id": first.queries.image_id(row),
                      "ap": [float(first.ap[row]), float(second.ap[row])]} for row in rows]
    return pair


def published_check(models: list[Model], expected: str | None = None) -> dict | None:
    """The authors' figure for their 48-bit model beside the one measured here, or None.

    It is about the model whose weights carry the released file's name. expected: name of a model that it is shown for
    although its file is another. Beyond 0.002 the likely causes follow, likeliest first, if the images are the same.
    """
    released = next((model for model in models if weights_name(model) == published.RELEASED_FILE), None)
    model = released if expected is None else next((model for model in models if model.name == expected), None)
    if model is None:
        return None
    figure = published.figures()["released_48_bit_model"]
    whole = published.is_whole_cifar(model.results) and model.results["bits"] == 48
    difference = model.results["map"] - figure
    check = {"model": model.name, "expected": figure, "measured": model.results["map"], "difference": difference,
             "is_released_file": model is released, "whole_set": whole}
    return check | {"causes": likely_causes(model) if whole and abs(difference) > CLOSE_ENOUGH else []}


def weights_name(model: Model) -> str:
    return Path((model.queries.meta.get("weights") or {}).get("file") or "").name


def likely_causes(model: Model) -> list[tuple[str, str]]:
    """[(cause, what is known of it here)], likeliest first."""
    meta, codes = model.queries.meta, model.results["codes"]
    mean, data = meta.get("mean"), meta.get("data") or {}
    return [
        ("mean file", f"{Path(mean['file']).name} was subtracted" if mean else
         "none was subtracted, or the features do not tell; theirs is the ILSVRC-2012 mean image"),
        ("BGR", "the net wants blue first; images that were stored red first look the same in every check"),
        ("crop offset", CROPS.get(meta.get("protocol"), "not told by the features")),
        ("> or >=", f"{codes['exactly_half']:,} activations are exactly 0.5; the authors' script cuts them to 0, "
         "here they are 1"),
        ("JPEG or lossless images", "the authors used JPEG files of their own; here "
         + (data.get("path") or "not told by the features")),
        ("order of the database", "equal distances keep database order; over all orders mAP is "
         f"{model.results['map_tie_aware']:.6f} on average"),
    ]
