"""Evaluate one run: coarse and two-stage retrieval, measured, written as results.json and report.html.

    .venv/bin/python eval/evaluate.py --features runs/demo/features --out runs/demo/eval

Every test image is a query against all training images. measures.py has the convention of each number.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np

from coarse_search import CodeIndex
from eval_errors import EvalError, run_main
from feature_set import load_features
from fine_search import Fc7Index, hierarchical
from measures import score_ranking
from report import write_report

TOP_K = 1000
POOL_WANTED = 100
POOL_SHARE = 0.9
SHOWN_K = (1, 10, 100, 500, 1000)


def default_radius(nearest_distances):
    """The smallest radius T at which nine of ten queries have a pool of at least 100 images (or K, if less).

    nearest_distances: (Q, K) from the coarse search. Uses no labels, so it does not tune on the test set.
    """
    wanted = min(POOL_WANTED, nearest_distances.shape[1])
    return int(np.quantile(nearest_distances[:, wanted - 1], POOL_SHARE, method="inverted_cdf")) + 1


def evaluate(features, top_k=TOP_K, radius=None, threads=None):
    """Search and measure one features directory. Returns the contents of results.json."""
    queries, database = load_features(features)
    query_codes, index = queries.packed(), CodeIndex(database.packed())
    top_k = min(top_k, len(database))
    nearest = index.search(query_codes, top_k, threads)
    scores = score_ranking(nearest[0], queries.labels, database.labels, threads)
    results = {"map": scores["map"], "top_k": top_k, "precision_at_k": scores["precision_at_k"].tolist(),
               "bits": queries.bits, "queries": len(queries), "database": len(database)}
    if queries.predictions is not None and queries.labels.ndim == 1:
        results["accuracy"] = float(np.mean(queries.predictions == queries.labels))
    if queries.fc7 is not None and database.fc7 is not None:
        radius = default_radius(nearest[1]) if radius is None else radius
        found = hierarchical(queries.fc7, Fc7Index(database.fc7), top_k, index, query_codes, radius, nearest, threads)
        fine = score_ranking(found.ids, queries.labels, database.labels, threads)
        results["two_stage"] = {"radius": radius, "pool_mean": float(found.pool.mean()),
                                "pool_empty": int(np.count_nonzero(found.pool == 0)), "filled": found.filled,
                                "map": fine["map"], "precision_at_k": fine["precision_at_k"].tolist()}
    return results


def write_json(path, contents):
    """Write beside, then rename: a full disk leaves no half file under the final name."""
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_text(json.dumps(contents, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def print_summary(results, report):
    """The figures a person wants at the end of a run."""
    shown = [k for k in SHOWN_K if k <= results["top_k"]]

    def curve(precision):
        return "  ".join(f"@{k} {precision[k - 1]:.4f}" for k in shown)

    if "accuracy" in results:
        print(f"classifier accuracy  {results['accuracy']:.4f}")
    print(f"mAP@{results['top_k']:<17}{results['map']:.4f}  ({results['queries']:,} queries, "
          f"{results['database']:,} in the database, {results['bits']} bits)")
    print(f"precision (codes)    {curve(results['precision_at_k'])}")
    if "two_stage" in results:
        fine = results["two_stage"]
        print(f"precision (2 stages) {curve(fine['precision_at_k'])}  (T = {fine['radius']}, "
              f"pool {fine['pool_mean']:.0f} images on average)")
    print(f"report               {report}")


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, required=True, help="directory with train/ (database) and test/ (queries)")
    parser.add_argument("--out", type=Path, required=True, help="directory for results.json and report.html")
    parser.add_argument("--top-k", type=int, default=TOP_K, help="K of mAP@K, at most the database (default: %(default)s)")
    parser.add_argument("--radius", type=int, help="T of the two-stage search: pool = Hamming distance < T "
                        f"(default: the smallest at which {POOL_SHARE:.0%} of the queries have {POOL_WANTED} candidates)")
    parser.add_argument("--threads", type=int, help="default: the processors available")
    return parser.parse_args(argv)


def main(argv=None):
    arguments = parse_arguments(argv)
    if arguments.top_k < 1:
        raise EvalError(f"--top-k {arguments.top_k}: give at least 1")
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = evaluate(arguments.features, arguments.top_k, arguments.radius, arguments.threads)
    write_json(arguments.out / "results.json", results)
    report = arguments.out / "report.html"
    write_report(report, results)
    print_summary(results, report)
    return 0


if __name__ == "__main__":
    run_main(main)
