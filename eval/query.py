"""Ask a run about new images: the two-stage answer, as answers.json and answers.html.

    .venv/bin/python eval/query.py --queries runs/demo/query/features --features runs/demo/features --out runs/demo/query

--queries holds what was extracted for the images by the run's own net: latent.npy, ids.txt, fc7.npy for the second
stage, thumbs.npy for the pictures; either directly or in test/.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from coarse_search import CodeIndex
from eval_errors import EvalError, run_main
from eval_files import write_json, write_text
from feature_set import check_pair, load_split
from figures import NAMES
from fine_search import Fc7Index, hierarchical
from html_page import page, paragraph, section
from pictures import picture, strip
from report import class_name, read_json, title_of
from searches import default_radius

TOP_K = 10


def load_queries(folder):
    """The Split of new images, from the folder itself or its test/."""
    if not any((place / "latent.npy").exists() for place in (folder, folder / "test")):
        raise EvalError(f"{folder} has no latent.npy: extract the features of the images into it first")
    return load_split(folder if (folder / "latent.npy").exists() else folder / "test", labels_required=False)


def answer(queries, database, top_k=TOP_K, radius=None, threads=None):
    """[{image, search, radius, pool, votes, results}], one entry a query, results nearest first.

    votes: [(class, results of that class), ...], most first, ties in the order in which they were found.
    Without fc7 on both sides the codes alone decide: `search` says which.
    """
    top_k = min(top_k, len(database))
    index, query_codes = CodeIndex(database.packed()), queries.packed()
    nearest = index.search(query_codes, min(max(top_k, 100), len(database)), threads)
    radius = default_radius(nearest[1]) if radius is None else radius
    ids, euclidean, name = nearest[0][:, :top_k], None, "bcs"
    if queries.fc7 is not None and database.fc7 is not None:
        found = hierarchical(queries.fc7, Fc7Index(database.fc7), top_k, index, query_codes, radius, nearest, threads)
        ids, euclidean, name = found.ids, found.euclidean, "hdl"
    answers = []
    for row, listed in enumerate(ids):
        distances = index.distances(query_codes[row:row + 1])[0]
        results = [describe(database, image, rank, distances[image], None if euclidean is None else euclidean[row, rank - 1])
                   for rank, image in enumerate(listed, start=1)]
        answers.append({"image": queries.ids[row] if queries.ids else str(row), "search": name, "radius": radius,
                        "pool": int(np.count_nonzero(distances < radius)), "results": results,
                        "votes": Counter(result["class"] for result in results).most_common()})
    return answers


def describe(database, image, rank, hamming, euclidean):
    """One result; euclidean is None where the image was not in the pool."""
    label = database.labels[image]
    known = euclidean is not None and not np.isnan(euclidean)
    return {"rank": rank, "row": int(image), "id": database.ids[image] if database.ids else str(image),
            "class": class_name(database.meta.get("classes") or [], label), "hamming": int(hamming),
            "euclidean": float(euclidean) if known else None}


def write_page(path, answers, queries, database):
    """answers.html: each image with its results; pictures where both sides have thumbs.npy."""
    parts = ["<h1>Nearest images</h1>", paragraph("Below each result its class, Hamming distance and, within the pool, "
                                                  "fc7 distance.", "soft")]
    for row, entry in enumerate(answers):
        votes = ", ".join(f"{name} {count}" for name, count in entry["votes"])
        text = paragraph(f"Votes of the first {len(entry['results'])}: {votes}. Images within the pool (Hamming distance "
                         f"< {entry['radius']}): {entry['pool']:,}.")
        if queries.thumbs is not None and database.thumbs is not None:
            pictures = [picture(database.thumbs[r["row"]], f"{r['class']} {distance_text(r)}", title=title_of(database, r["row"]))
                        for r in entry["results"]]
            text += strip(picture(queries.thumbs[row], "asked"), [(NAMES[entry["search"]], pictures)])
        parts.append(section(Path(entry["image"]).name, text))
    write_text(path, page("Nearest images", "\n".join(parts)))


def distance_text(result):
    """Hamming distance, and the fc7 distance where known."""
    return f"({result['hamming']}" + ("" if result["euclidean"] is None else f"; {result['euclidean']:.3g}") + ")"


def run_radius(features):
    """The T that the run was evaluated with; None if it was not."""
    return read_json(features.parent / "eval/results.json").get("two_stage", {}).get("radius")


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--queries", type=Path, required=True, help="features of the new images")
    add("--features", type=Path, required=True, help="features of the run; its train/ is the database")
    add("--out", type=Path, required=True, help="directory for answers.json and answers.html")
    add("--top-k", type=int, default=TOP_K, help="results an image (default: %(default)s)")
    add("--radius", type=int, help="T: pool = Hamming distance < T (default: that of the run's evaluation, "
        "else the smallest with 100 images for nine of ten queries)")
    return parser.parse_args(argv)


def main(argv=None):
    arguments = parse_arguments(argv)
    if arguments.top_k < 1:
        raise EvalError(f"--top-k {arguments.top_k}: give at least 1")
    queries, database = load_queries(arguments.queries), load_split(arguments.features / "train")
    check_pair(queries, database)
    radius = run_radius(arguments.features) if arguments.radius is None else arguments.radius
    answers = answer(queries, database, arguments.top_k, radius)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out / "answers.json", answers)
    write_page(arguments.out / "answers.html", answers, queries, database)
    for entry in answers:
        name, votes = entry["votes"][0]
        print(f"{entry['image']}: {name} ({votes} of {len(entry['results'])} results; nearest: {entry['results'][0]['id']})")
    print(f"pictures: {arguments.out / 'answers.html'}")
    return 0


if __name__ == "__main__":
    run_main(main)
