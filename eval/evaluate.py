"""Evaluate one run: search, measure, write results.json, search-*.npz and report.html.

    .venv/bin/python eval/evaluate.py --features runs/demo/features --out runs/demo/eval

By default every test image is a query against all training images (protocol cvprw15). Searching and scoring are
separate: --score-only measures the saved lists again. measures.py has the convention of each number.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from baselines import METHODS, baseline_codes
from codes import pack
from coarse_search import CodeIndex
from cost import measure_cost
from eval_errors import EvalError, run_main
from eval_files import write_json
from feature_set import load_features
from fine_search import Fc7Index
from measures import score_ranking
from protocols import PROTOCOLS
from rankings import load_ranking, ranking_path, save_ranking
from report import write_report
from scoring import score_classes, score_protocols, score_trial, worst_queries
from searches import POOL_SHARE, POOL_WANTED, SEARCHES, Options, run_searches
from sweep import sweep_radius
from trial import load_pretrained, make_trial

LIST_LENGTH = 1000
SHOWN_K = (1, 10, 100, 500, 1000)


def evaluate(arguments):
    """Search (unless --score-only), score, write everything. Returns the contents of results.json."""
    queries, database = load_features(arguments.features)
    protocol = chosen_protocol(arguments)
    trial = make_trial(queries, database, protocol)
    names = chosen_searches(arguments, trial)
    if not arguments.score_only:
        search_and_save(arguments, queries, database, protocol, trial, names)
    rankings = {name: load_ranking(ranking_path(arguments.out, name), trial.fingerprint()) for name in names}
    results, details = score_trial(trial, rankings, protocol, arguments.threads)
    if queries.predictions is not None and queries.labels.ndim == 1:
        results["accuracy"] = float(np.mean(queries.predictions == queries.labels))
    if "bcs" in names:
        ap = details["ap"]["bcs"]
        results["worst_queries"] = [{"query": int(row), "ap": float(ap[row])} for row in worst_queries(ap)]
        if trial.query_labels.ndim == 1:
            predictions = None if queries.predictions is None else queries.predictions[trial.query_rows]
            results["classes"] = score_classes(trial.query_labels, predictions, ap)
    results["protocols"] = score_protocols(queries, database, arguments.threads)
    for name in ("sweep", "baselines", "cost"):
        kept = arguments.out / f"{name}.json"
        if kept.exists():
            results[name] = json.loads(kept.read_text(encoding="utf-8"))
    results["features"] = queries.meta
    write_json(arguments.out / "results.json", results)
    if arguments.report:
        write_report(arguments.out, results, queries, database, trial, rankings, arguments.run)
    return results


def chosen_protocol(arguments):
    """The named protocol with the options that change it."""
    changes = {"top_k": arguments.top_k, "divisor": arguments.ap_divisor, "zero_hit": arguments.zero_hit}
    return replace(PROTOCOLS[arguments.protocol], **{key: value for key, value in changes.items() if value is not None})


def chosen_searches(arguments, trial):
    """The searches asked for, or all that the features allow."""
    has_fc7 = trial.query_fc7 is not None
    possible = ["bcs"] + ["hdl", "es"] * has_fc7 + ["es-pretrained"] * (arguments.pretrained_features is not None)
    for name in arguments.search or []:
        if name == "es-pretrained" and name not in possible:
            raise EvalError("--search es-pretrained needs --pretrained-features (fc7 of the net before fine-tuning)")
        if name not in possible:
            raise EvalError(f"--search {name} needs fc7.npy of both splits in {arguments.features}: extract it, "
                            "or use --search bcs")
    return arguments.search or possible


def search_and_save(arguments, queries, database, protocol, trial, names):
    """Everything that searches: ranked lists, the sweep over T, the baselines."""
    limit = min(protocol.top_k or LIST_LENGTH, LIST_LENGTH, len(trial.db_codes))
    options = Options(limit, arguments.radius, arguments.pool_min)
    pretrained = None
    if "es-pretrained" in names:
        pretrained = load_pretrained(arguments.pretrained_features, queries, database, protocol)
    for name, ranking in run_searches(trial, names, options, pretrained, arguments.threads).items():
        save_ranking(ranking_path(arguments.out, name), ranking)
    keep(arguments.out / "sweep.json", "hdl" in names and arguments.sweep and sweep_radius(
        trial, CodeIndex(trial.db_codes), Fc7Index(trial.db_fc7), arguments.threads))
    methods = chosen_baselines(arguments.baselines, trial)
    keep(arguments.out / "baselines.json", methods and score_baselines(trial, methods, limit, arguments.threads))
    write_json(arguments.out / "cost.json", measure_cost(trial))


def chosen_baselines(asked, trial):
    """The methods asked for, or (asked is None) all that these features allow."""
    if asked is None:
        if trial.query_fc7 is None:
            return []
        return [name for name in METHODS if name == "lsh" or trial.bits < trial.query_fc7.shape[1]]
    methods = [name for name in asked if name != "none"]
    if methods and trial.query_fc7 is None:
        raise EvalError(f"--baselines {methods[0]} needs fc7.npy of both splits: extract it, or use --baselines none")
    return methods


def keep(path, contents):
    """Write a JSON file, or remove an old one where there is nothing to write."""
    if contents:
        write_json(path, contents)
    else:
        path.unlink(missing_ok=True)


def score_baselines(trial, methods, top_k, threads=None):
    """{method: {map, precision_at_k}} of unsupervised codes of the same length from the same fc7."""
    scores = {}
    for method, (query_codes, db_codes) in baseline_codes(methods, trial.query_fc7, trial.db_fc7, trial.bits).items():
        ids, _ = CodeIndex(pack(db_codes)).search(pack(query_codes), top_k, threads)
        found = score_ranking(ids, trial.query_labels, trial.db_labels, threads)
        scores[method] = {"map": found["map"], "map_k": top_k, "precision_at_k": found["precision_at_k"].tolist()}
    return scores


def print_summary(results, written):
    """The figures a person wants at the end of a run."""
    def curve(search):
        precision = search["precision_at_k"]
        return "  ".join(f"@{k} {precision[k - 1]:.4f}" for k in SHOWN_K if k <= len(precision))

    if "accuracy" in results:
        print(f"classifier accuracy  {results['accuracy']:.4f}")
    if "map" in results:
        print(f"mAP@{results['top_k']:<17}{results['map']:.4f}  (protocol {results['protocol']}: {results['queries']:,} "
              f"queries, {results['database']:,} in the database, {results['bits']} bits)")
    labels = {"bcs": "codes", "hdl": "two stages", "es": "fc7"}
    for name, search in results["searches"].items():
        label = labels.get(name) or f"{search['blob']} before"
        pool = f"  (T = {search['radius']}, pool {search['pool_mean']:,.0f} on average)" if name == "hdl" else ""
        print(f"precision {label:<13}{curve(search)}{pool}")
    print(f"{'report' if written.suffix == '.html' else 'results':<21}{written}")


def positive(text):
    """argparse type: an integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--features", type=Path, required=True, help="directory with train/ (database) and test/ (queries)")
    add("--out", type=Path, required=True, help="directory for results.json, search-*.npz and report.html")
    add("--run", type=Path, help="directory with run.json and train_log.csv for the report (default: the parent of --features)")
    add("--pretrained-features", type=Path, help="the same layout with fc7 of the net before fine-tuning, for es-pretrained")
    add("--search", nargs="+", choices=SEARCHES, help="default: all that the features allow")
    add("--protocol", choices=PROTOCOLS, default="cvprw15", help="default: %(default)s")
    add("--top-k", type=positive, help="K of mAP@K, at most the database (default: the protocol's)")
    add("--ap-divisor", choices=("hits", "all"), help="AP over hits within K or all relevant (default: the protocol's)")
    add("--zero-hit", choices=("zero", "left-out"), help="AP of a query without a hit (default: the protocol's)")
    add("--radius", type=positive, help="T of the two-stage search: pool = Hamming distance < T (default: the smallest "
        f"at which {POOL_SHARE * 100:.0f} %% of the queries have {POOL_WANTED} images in the pool)")
    add("--pool-min", type=positive, help="widen T for each query until its pool has so many images (default: never)")
    add("--sweep", action=argparse.BooleanOptionalAction, default=True, help="two-stage search over many T (default: on)")
    add("--baselines", nargs="+", choices=[*METHODS, "none"], help="unsupervised codes from the same fc7 (default: all that it allows)")
    add("--report", action=argparse.BooleanOptionalAction, default=True, help="report.html and figures/ (default: on)")
    add("--score-only", action="store_true", help="measure the lists saved in --out again, without searching")
    add("--threads", type=positive, help="default: the processors available")
    arguments = parser.parse_args(argv)
    arguments.run = arguments.run or arguments.features.parent
    return arguments


def main(argv=None):
    arguments = parse_arguments(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = evaluate(arguments)
    print_summary(results, arguments.out / ("report.html" if arguments.report else "results.json"))
    return 0


if __name__ == "__main__":
    run_main(main)
