"""Ask a run about new images: the two-stage answer, as answers.json and answers.html.

    .venv/bin/python eval/query.py --queries runs/demo/query/features --features runs/demo/features \\
        --out runs/demo/query
    .venv/bin/python eval/query.py --queries new/features --package cifar10_48 --out new

--queries holds what was extracted for the images by the run's own net: latent.npy, ids.txt, fc7.npy for the second
stage, thumbs.npy for the pictures; either directly or in test/.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from basics.files import locked_folder, write_json
from basics.program import EvalError, run_program
from engines.choice import ClusterChoice, add_arguments, cluster_of
from pages.answers_page import write_page
from pages.summary import answer_line
from search.answers import TOP_K, answer, load_queries, results_radius, run_radius
from search.feature_set import check_pair, load_split
from search.package import check_package


@dataclass(frozen=True)
class QueryOptions:
    """features or package is given. radius None: that of the run's evaluation, or chosen from the queries."""

    queries: Path
    features: Path | None
    package: Path | None
    out: Path
    top_k: int
    radius: int | None
    cluster: ClusterChoice | None


def parse_arguments(argv: list[str] | None) -> QueryOptions:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--queries", type=Path, required=True, help="features of the new images")
    database = parser.add_mutually_exclusive_group(required=True)
    database.add_argument("--features", type=Path, help="features of the run; its train/ is the database")
    database.add_argument("--package", type=Path, help="a package (python/package.py) whose codes are the database")
    add("--out", type=Path, required=True, help="directory for answers.json and answers.html")
    add("--top-k", type=int, default=TOP_K, help="results an image (default: %(default)s)")
    add("--radius", type=int, help="T: pool = Hamming distance < T (default: that of the run's evaluation, "
        "else the smallest with 100 images for nine of ten queries)")
    add_arguments(add)
    given = parser.parse_args(argv)
    options = QueryOptions(given.queries, given.features, given.package, given.out, given.top_k, given.radius,
                           cluster_of(given, given.features))
    if options.top_k < 1:
        raise EvalError(f"--top-k {options.top_k}: give at least 1")
    return options


def main(argv: list[str] | None = None) -> int:
    options = parse_arguments(argv)
    if options.package:
        check_package(options.package)
    queries, database = load_queries(options.queries), load_split(options.package or options.features / "train")
    check_pair(queries, database)
    radius = default_radius(options) if options.radius is None else options.radius
    with locked_folder(options.out):
        engine = options.cluster and options.cluster.engine(database)
        answers = answer(queries, database, options.top_k, radius, engine=engine)
        write_json(options.out / "answers.json", answers)
        write_page(options.out / "answers.html", answers, queries, database)
    for entry in answers:
        print(answer_line(entry))
    print(f"pictures: {options.out / 'answers.html'}")
    return 0


def default_radius(options: QueryOptions) -> int | None:
    """The T that the run or package was evaluated with; None if it was not."""
    return results_radius(options.package / "results.json") if options.package else run_radius(options.features)


if __name__ == "__main__":
    run_program(main)
