"""Compare two or three models on the same images: ours, the authors' released one, another.

    .venv/bin/python eval/compare.py --features ours=runs/a/features released=runs/b/features --out runs/b/compare

Writes compare.json and compare.html. All are evaluated by the paper's protocol (cvprw15), by their codes.
"""

import argparse
import json
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from agreement import agree_on_labels, agree_on_rankings, compare_ap, most_different
from compare_page import is_whole_cifar, write_page
from eval_errors import EvalError, run_main
from eval_files import write_json
from evaluate import LIST_LENGTH, SHOWN_K, positive
from feature_set import Split, load_features
from protocols import PROTOCOLS
from rankings import Ranking
from report import PUBLISHED
from scoring import score_classes, score_trial
from searches import Options, run_searches
from trial import Trial, make_trial

RELEASED_FILE = "KevinNet_CIFAR10_48.caffemodel"
CLOSE_ENOUGH = 0.002
SHOWN_EACH_WAY = 4


@dataclass
class Model:
    """One model's features with everything that was found from them. results: the contents of its part of compare.json."""

    name: str
    queries: Split
    database: Split
    trial: Trial
    ranking: Ranking
    ap: np.ndarray
    results: dict


def load_models(named):
    """[(name, queries, database)] of --features entries. EvalError unless all hold the same images in the same order."""
    loaded = [(name, *load_features(directory)) for name, directory in named]
    for name, *splits in loaded[1:]:
        for first, other in zip(loaded[0][1:], splits):
            check_same_images(first, other)
    return loaded


def check_same_images(first, other):
    """EvalError unless two splits are of the same images, by their labels and by the fingerprint of their data."""
    advice = "extract both models' features from the same databases"
    if first.labels.shape != other.labels.shape:
        raise EvalError(f"{first.folder} holds {len(first)} images, {other.folder} {len(other)} (labels {first.labels.shape} and "
                        f"{other.labels.shape}): {advice}")
    if not np.array_equal(first.labels, other.labels):
        row = int(np.argmax((first.labels != other.labels).reshape(len(first), -1).any(axis=1)))
        raise EvalError(f"{first.folder} and {other.folder} hold other images or another order: their labels differ from row {row} on; "
                        f"{advice}")
    prints = [(split.meta.get("data") or {}).get("fingerprint") for split in (first, other)]
    if all(prints) and prints[0] != prints[1]:
        raise EvalError(f"{first.folder} and {other.folder} come from other images (data fingerprint {prints[0][:12]} against "
                        f"{prints[1][:12]} in meta.json; also when the images of one were resized before): {advice}")


def score_model(name, queries, database, threads=None):
    """Search by codes and measure one model."""
    queries, database = replace(queries, fc7=None), replace(database, fc7=None)  # not needed, and large
    protocol = PROTOCOLS["cvprw15"]
    trial = make_trial(queries, database, protocol)
    ranking = run_searches(trial, ["bcs"], Options(min(LIST_LENGTH, len(database))), threads=threads)["bcs"]
    found, details = score_trial(trial, {"bcs": ranking}, protocol, threads)
    ap = details["ap"]["bcs"]
    kept = ("protocol", "top_k", "bits", "queries", "database", "map", "map_tie_aware", "precision_at_k", "codes")
    results = {"name": name, "directory": str(queries.folder.parent), **{key: found[key] for key in kept}}
    results["codes"]["exactly_half"] = sum(int(np.count_nonzero(split.latent == 0.5)) for split in (queries, database))
    if queries.labels.ndim == 1:
        if queries.predictions is not None:
            results["accuracy"] = float(np.mean(queries.predictions == queries.labels))
        results["classes"] = score_classes(queries.labels, queries.predictions, ap)
    results["features"] = queries.meta
    return Model(name, queries, database, trial, ranking, ap, results)


def compare(named, expected=None, threads=None):
    """(contents of compare.json, [Model]). named: [(name, features directory)]; expected: see `published_check`."""
    models = [score_model(name, queries, database, threads) for name, queries, database in load_models(named)]
    pairs = [compare_pair(first, second, threads) for first, second in combinations(models, 2)]
    result = {"models": [model.results for model in models], "pairs": pairs}
    checked = published_check(models, expected)
    return result | ({"published": checked} if checked else {}), models


def compare_pair(first, second, threads=None):
    """Agreement and differences of two models; differences are second minus first."""
    pair = {"first": first.name, "second": second.name, "ap": compare_ap(first.ap, second.ap),
            **agree_on_rankings((first.trial, second.trial), (first.ranking, second.ranking), threads)}
    predictions = [model.queries.predictions for model in (first, second)]
    if first.queries.labels.ndim == 1 and not any(found is None for found in predictions):
        pair["labels"] = agree_on_labels(first.queries.labels, *predictions)
    higher, lower = most_different(first.ap, second.ap, SHOWN_EACH_WAY)
    for key, rows in (("second_better", higher), ("first_better", lower)):
        pair[key] = [{"query": row, "id": first.queries.ids[row] if first.queries.ids else str(row),
                      "ap": [float(first.ap[row]), float(second.ap[row])]} for row in rows]
    return pair


def published_check(models, expected=None):
    """The authors' figure for their 48-bit model beside the one measured here, or None.

    It is about the model whose weights carry the released file's name. expected: name of a model that it is shown for
    although its file is another. Beyond 0.002 the likely causes follow, likeliest first, if it is about the same images.
    """
    released = next((model for model in models if weights_name(model) == RELEASED_FILE), None)
    model = released if expected is None else next((model for model in models if model.name == expected), None)
    if model is None:
        return None
    figure = json.loads(PUBLISHED.read_text(encoding="utf-8"))["released_48_bit_model"]
    whole = is_whole_cifar(model.results) and model.results["bits"] == 48
    difference = model.results["map"] - figure
    check = {"model": model.name, "expected": figure, "measured": model.results["map"], "difference": difference,
             "is_released_file": model is released, "whole_set": whole}
    return check | {"causes": likely_causes(model) if whole and abs(difference) > CLOSE_ENOUGH else []}


def weights_name(model):
    return Path((model.queries.meta.get("weights") or {}).get("file") or "").name


def likely_causes(model):
    """[(cause, what is known of it here)], likeliest first."""
    meta, results = model.queries.meta, model.results
    mean, data = meta.get("mean"), meta.get("data") or {}
    crop = {"authors": "row and column 15, as theirs", "caffe": "row and column 14, Caffe's own; theirs starts at 15 "
            "(--protocol authors)"}.get(meta.get("protocol"), "not told by the features")
    return [
        ("mean file", f"{Path(mean['file']).name} was subtracted" if mean else "none was subtracted, or the features do not tell; "
         "theirs is the ILSVRC-2012 mean image"),
        ("BGR", "the net wants blue first; images that were stored red first look the same in every check"),
        ("crop offset", crop),
        ("> or >=", f"{results['codes']['exactly_half']:,} activations are exactly 0.5; the authors' script cuts them to 0, here they are 1"),
        ("JPEG or lossless images", f"the authors used JPEG files of their own; here {data.get('path') or 'not told by the features'}"),
        ("order of the database", f"equal distances keep database order; over all orders mAP is {results['map_tie_aware']:.6f} on average"),
    ]


def print_summary(result, page):
    """The figures a person wants at the end."""
    width = max(len(model["name"]) for model in result["models"]) + 2
    for model in result["models"]:
        curve = "  ".join(f"@{k} {model['precision_at_k'][k - 1]:.4f}" for k in SHOWN_K if k <= len(model["precision_at_k"]))
        accuracy = f"  accuracy {model['accuracy']:.4f}" if "accuracy" in model else ""
        print(f"{model['name']:<{width}}mAP@{model['top_k']} {model['map']:.4f}  precision {curve}{accuracy}")
    for pair in result["pairs"]:
        depth, share = next(iter(pair["overlap"].items()))
        print(f"{pair['second']} - {pair['first']}: {pair['ap']['mean']:+.4f} (standard error {pair['ap']['standard_error']:.4f}); the first "
              f"{depth} results have {share:.1%} in common")
    if "published" in result:
        print(expected_sentence(result["published"]))
        for cause, known in result["published"]["causes"]:
            print(f"  {cause}: {known}")
    print(f"page: {page}")


def expected_sentence(check):
    """The published figure with the difference, in words."""
    text = (f"Expected of the released 48-bit model: {check['expected']:.6f}; {check['model']}: {check['measured']:.6f}, difference "
            f"{check['difference']:+.6f}.")
    if not check["is_released_file"]:
        text += f" {check['model']} is not the released file ({RELEASED_FILE})."
    if not check["whole_set"]:
        text += " The figure is for 48 bits, 10,000 queries and 50,000 images; this comparison is not, so the difference tells nothing."
    return text


def named_directory(text):
    """argparse type: NAME=DIR, or DIR, which is named after the folder that holds it (runs/NAME/features)."""
    name, equals, directory = text.partition("=")
    path = Path(directory if equals else text)
    return (name if equals else path.resolve().parent.name), path


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--features", nargs="+", type=named_directory, required=True, metavar="[NAME=]DIR",
        help="two or three directories with train/ (database) and test/ (queries); the first is ours")
    add("--out", type=Path, required=True, help="directory for compare.json, compare.html and figures/")
    add("--expected", metavar="NAME", help="show the authors' figure beside this model although its file is not the released one "
        f"(default: beside {RELEASED_FILE} only)")
    add("--threads", type=positive, help="default: the processors available")
    arguments = parser.parse_args(argv)
    names = [name for name, _ in arguments.features]
    if not 2 <= len(names) <= 3 or len(set(names)) < len(names):
        parser.error(f"--features takes two or three directories with different names, not: {' '.join(names)}")
    if arguments.expected not in (None, *names):
        parser.error(f"--expected {arguments.expected}: no such name among {', '.join(names)}")
    return arguments


def main(argv=None):
    arguments = parse_arguments(argv)
    result, models = compare(arguments.features, arguments.expected, arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out / "compare.json", result)
    sentence = expected_sentence(result["published"]) if "published" in result else None
    write_page(arguments.out, result, models, sentence)
    print_summary(result, arguments.out / "compare.html")
    return 0


if __name__ == "__main__":
    run_main(main)
