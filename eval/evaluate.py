"""Evaluate one run: search, measure, write results.json, search-*.npz, codes-*.npy and report.html.

    .venv/bin/python eval/evaluate.py --features runs/demo/features --out runs/demo/eval

By default every test image is a query against all training images (protocol cvprw15). Searching and scoring are
separate: --score-only measures the saved lists again. measures/average_precision.py has the convention of each number.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from basics.files import locked_folder, write_json
from basics.program import positive, run_program
from engines.choice import add_arguments, cluster_of
from measures.baselines import METHODS
from measures.evaluation import Evaluation, EvaluationOptions, load_evaluation
from measures.results import score
from measures.saved import is_current, load_lists, save_codes, search_and_save, search_is_saved
from pages.parts import page_key
from pages.report import write_report
from pages.summary import evaluation_summary
from search.engine import POOL_SHARE, POOL_WANTED
from search.protocols import PROTOCOLS, Protocol
from search.searches import SEARCHES


def main(argv: list[str] | None = None) -> int:
    options = parse_arguments(argv)
    evaluation = load_evaluation(options)
    written = evaluation.out.report if options.report else evaluation.out.results
    with locked_folder(options.out):
        if options.if_changed and is_current(evaluation, page_key(evaluation.out.report)):
            print(f"{written}: kept, made from these features")
            return 0
        results = evaluate(evaluation)
    print(evaluation_summary(results, written))
    return 0


def evaluate(evaluation: Evaluation) -> dict:
    """Search unless that is done, score, write everything. Returns the contents of results.json."""
    options = evaluation.options
    if not (options.score_only or options.if_changed and search_is_saved(evaluation)):
        search_and_save(evaluation)
    save_codes(evaluation)
    rankings = load_lists(evaluation)
    results = score(evaluation, rankings)
    write_json(evaluation.out.results, results)
    if options.report:
        write_report(evaluation.out.report, results, evaluation.retrieval, rankings, options.run)
    return results


def parse_arguments(argv: list[str] | None) -> EvaluationOptions:
    """The options, resolved as far as they go without the features."""
    given = make_parser().parse_args(argv)
    cluster = cluster_of(given, given.features)
    return EvaluationOptions(
        features=given.features, out=given.out, run=given.run or given.features.parent, protocol=chosen_protocol(given),
        pretrained_features=given.pretrained_features, searches=given.search and tuple(dict.fromkeys(given.search)),
        radius=given.radius, pool_min=given.pool_min, sweep=given.sweep,
        baselines=given.baselines and tuple(dict.fromkeys(given.baselines)), report=given.report,
        score_only=given.score_only, if_changed=given.if_changed, threads=given.threads,
        make_engine=cluster and cluster.exact_engine)


def chosen_protocol(given: argparse.Namespace) -> Protocol:
    """The named protocol with the options that change it."""
    changes = {"top_k": given.top_k, "divisor": given.ap_divisor, "zero_hit": given.zero_hit}
    return replace(PROTOCOLS[given.protocol], **{key: value for key, value in changes.items() if value is not None})


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--features", type=Path, required=True, help="directory with train/ (database) and test/ (queries)")
    add("--out", type=Path, required=True, help="directory for results.json, search-*.npz and report.html")
    add("--run", type=Path,
        help="directory with run.json and train_log.csv for the report (default: the parent of --features)")
    add("--pretrained-features", type=Path,
        help="the same layout with fc7 of the net before fine-tuning, for es-pretrained")
    add("--search", nargs="+", choices=SEARCHES, help="default: all that the features allow")
    add("--protocol", choices=PROTOCOLS, default="cvprw15", help="default: %(default)s")
    add("--top-k", type=positive, help="K of mAP@K, at most the database (default: the protocol's)")
    add("--ap-divisor", choices=("hits", "all"), help="AP over hits within K or all relevant (default: the protocol's)")
    add("--zero-hit", choices=("zero", "left-out"), help="AP of a query without a hit (default: the protocol's)")
    add("--radius", type=positive, help="T of the two-stage search: pool = Hamming distance < T (default: the smallest "
        f"at which {POOL_SHARE * 100:.0f} %% of the queries have {POOL_WANTED} images in the pool)")
    add("--pool-min", type=positive, help="widen T for each query until its pool has so many images (default: never)")
    add("--sweep", action=argparse.BooleanOptionalAction, default=True,
        help="two-stage search over many T (default: on)")
    add("--baselines", nargs="+", choices=[*METHODS, "none"],
        help="unsupervised codes from the same fc7 (default: all that it allows)")
    add("--report", action=argparse.BooleanOptionalAction, default=True, help="report.html and figures/ (default: on)")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--score-only", action="store_true",
                       help="measure the lists saved in --out again, without searching")
    again.add_argument("--if-changed", action="store_true",
                       help="keep what --out holds if it was made from these features and options")
    add("--threads", type=positive, help="default: the processors available")
    add_arguments(add)
    return parser


if __name__ == "__main__":
    run_program(main)
