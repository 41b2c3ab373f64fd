"""The report of one evaluation: one HTML file that needs no network and no other file."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

import pages.figures as fig
from basics.files import read_json, write_text
from basics.program import EvalError
from basics.rows import evenly
from measures.published import comparable, dataset_name, figures
from pages.gallery import Gallery
from pages.parts import Facts, Numbers, Section, Table, Text, page, section, side_by_side
from pages.provenance import dataset_title, provenance
from pages.summary import search_name, shown_k
from search.rankings import Ranking
from search.retrieval import Retrieval

SHOWN_QUERIES = 8
MARKS = "The first ten results. Green: same class. Red, dashed, crossed: another."
NO_PICTURES = "The features hold no thumbs.npy, so there are no pictures to show."


def write_report(path: Path, results: dict, retrieval: Retrieval, rankings: dict[str, Ranking], run: Path):
    """Write the page, with the key of `results`, and figures/ beside it. run: may hold run.json and train_log.csv."""
    published = figures() if comparable(results) else None
    drawn = fig.Figures(path.with_name("figures"))
    gallery = Gallery(retrieval)
    title = f"{dataset_title(dataset_name(results))}, {results['bits']}-bit codes"
    parts = [headline(results), standstill_section(run), Facts(provenance(results, run)),
             searches_section(drawn, results, published), published_section(results, published) if published else None,
             baselines_section(drawn, results), protocols_section(results), pool_section(drawn, results),
             *examples_section(gallery, rankings, results), classes_section(drawn, results, gallery.class_name),
             codes_section(drawn, results), training_section(drawn, run), cost_section(results)]
    write_text(path, page(title, parts, results["key"]))


def headline(results: dict) -> Numbers:
    """The figures at the top."""
    shown = []
    if "map" in results:
        shown.append((f"{results['map']:.4f}", f"mAP@{results['top_k']} by codes"))
    if "accuracy" in results:
        shown.append((f"{results['accuracy']:.4f}", "accuracy of the classifier"))
    for name, label in (("bcs", "precision@10 by codes"), ("hdl", "precision@10, two stages")):
        curve = results["searches"].get(name, {}).get("precision_at_k", [])
        if len(curve) >= 10:
            shown.append((f"{curve[9]:.4f}", label))
    return Numbers(shown)


def searches_section(drawn: fig.Figures, results: dict, published: dict | None) -> Section:
    searches = results["searches"]
    shown = shown_k(*(search["precision_at_k"] for search in searches.values()))
    rows = [[search_name(name, search), f"{search['map']:.4f}",
             *(f"{search['precision_at_k'][k - 1]:.4f}" for k in shown), f"{search['seconds']:.1f} s"]
            for name, search in searches.items()]
    head = ["search", "mAP@K", *(f"P@{k}" for k in shown), "time, all queries"]
    curves = published["precision_at_k_48_bits"] if published and results["bits"] == 48 else None
    note = Text("Grey: published for 48 bits by the authors and quoted.", soft=True) if curves else None
    within = results["precision_within_radius"]
    more = f"Precision within Hamming radius {within['radius']}: {within['precision']:.4f} (an empty ball counts 0)."
    if "map_tie_aware" in results:
        more += f" mAP@{results['top_k']} expected over all orders of equal distances: {results['map_tie_aware']:.4f}."
    return section("Searches", Table(head, rows, range(1, len(head))), Text(more, soft=True), side_by_side(
        ("Precision of the first k", fig.precision_figure(drawn, results, curves), note),
        ("Recall and precision by Hamming radius", fig.recall_precision_figure(drawn, results))))


def published_section(results: dict, published: dict) -> Section:
    """mAP@1000 beside the published values; ours in the column of its code length."""
    table_of = published["map_at_1000"]
    lengths = sorted({*table_of["bits"], results["bits"]})
    ours = ["This run", *(f"{results['map']:.4f}" if bits == results["bits"] else "" for bits in lengths)]
    quoted = {method: dict(zip(table_of["bits"], values)) for method, values in table_of["methods"].items()}
    rows = [ours] + [[method, *(f"{at[bits]:.4f}" if bits in at else "" for bits in lengths)]
                     for method, at in quoted.items()]
    head = ["mAP@1000", *(f"{bits} bits" for bits in lengths)]
    return section("Beside the published figures", Table(head, rows, range(1, len(head)), ours=(0,)),
                   Text(f"All but the first row are quoted. Source: {published['source']}.", soft=True))


def baselines_section(drawn: fig.Figures, results: dict) -> Section | None:
    baselines = results.get("baselines")
    if not baselines or "map" not in results:
        return None
    rows = [["ours", f"{results['map']:.4f}"]] + [[name.upper(), f"{b['map']:.4f}"] for name, b in baselines.items()]
    top_k = next(iter(baselines.values()))["map_k"]
    return section("Unsupervised codes computed here", Text(
        f"{results['bits']} bits from the same fc7 features, without labels; mAP@{top_k}.", soft=True), side_by_side(
            ("Mean average precision", Table(["codes", f"mAP@{top_k}"], rows, (1,), ours=(0,))),
            ("Precision of the first k", fig.baseline_figure(drawn, results))))


def protocols_section(results: dict) -> Section:
    rows = [[p["protocol"], f"{p['map']:.4f}", f"{p['top_k']:,}", f"{p['queries']:,}", f"{p['database']:,}",
             f"over {p['ap_divisor']}", p["description"]] for p in results["protocols"]]
    return section("The same codes under other protocols", Table(
        ["protocol", "mAP", "K", "queries", "database", "AP", ""], rows, (1, 2, 3, 4)))


def pool_section(drawn: fig.Figures, results: dict) -> Section | None:
    """The effect of T."""
    if "sweep" not in results or "two_stage" not in results:
        return None
    fine, sweep = results["two_stage"], results["sweep"]
    rows = [[row["radius"], f"{row['pool_mean']:,.0f}", f"{row['pool_short']:.1%}", f"{row['precision_at_10']:.4f}",
             f"{row['precision_at_100']:.4f}", f"{row['ms_per_query']:.2f}"] for row in sweep]
    chosen = [i for i, row in enumerate(sweep) if row["radius"] == fine["radius"]]
    text = (f"The pool holds the images with Hamming distance below T. Here T = {fine['radius']}: "
            f"{fine['pool_mean']:,.0f} images on average, {fine['pool_empty']:,} empty pools. Unless given, T is the "
            "smallest at which nine of ten queries have 100 images in the pool; no label is looked at.")
    return section("Two stages: the pool", Text(text), side_by_side(
        ("Effect of T", fig.sweep_figure(drawn, sweep, fine["radius"])),
        ("What precision costs", fig.tradeoff_figure(drawn, results)),
        ("On up to 1,000 queries",
         Table(["T", "pool", "pool < 100", "P@10", "P@100", "ms a query"], rows, range(6), chosen))))


def examples_section(gallery: Gallery, rankings: dict[str, Ranking], results: dict) -> list[Section]:
    """Queries taken evenly, one class after another, and the worst ones."""
    if "bcs" not in rankings:
        return []
    if not gallery.available:
        return [section("Examples", Text(NO_PICTURES, soft=True))]
    chosen = [gallery.strip(query, rankings) for query in spread_over_classes(gallery.retrieval.query_labels)]
    worst = [gallery.strip(entry["query"], {"bcs": rankings["bcs"]}, f", AP {entry['ap']:.2f}")
             for entry in results["worst_queries"]]
    return [section("Examples", Text(MARKS, soft=True), *chosen), section("The worst queries", *worst)]


def spread_over_classes(labels: np.ndarray) -> np.ndarray:
    """The first query of each of up to eight classes; with several labels, evenly taken queries."""
    if labels.ndim == 2:
        return evenly(len(labels), SHOWN_QUERIES)
    return np.sort(np.unique(labels, return_index=True)[1])[:SHOWN_QUERIES]


def classes_section(drawn: fig.Figures, results: dict, class_name: Callable) -> Section | None:
    if "classes" not in results:
        return None
    parts = [("mAP by codes", fig.class_figure(drawn, results["classes"], class_name))]
    if "confusion" in results["classes"]:
        parts.append(("Confusion of the classifier", fig.confusion_figure(drawn, results["classes"], class_name)))
    return section("Classes", side_by_side(*parts))


def codes_section(drawn: fig.Figures, results: dict) -> Section:
    codes = results["codes"]
    text = (f"{codes['distinct']:,} distinct codes among {results['database']:,} images. The bits' entropies add up to "
            f"{codes['entropy']:.1f} of {results['bits']}.")
    text += f" {codes['constant_bits']} bits never change." if codes["constant_bits"] else ""
    return section("The codes", Text(text), side_by_side(
        ("Balance of each bit", fig.balance_figure(drawn, codes)),
        ("Distances within and between classes", fig.histogram_figure(drawn, codes))))


def training_section(drawn: fig.Figures, run: Path) -> Section | None:
    """Loss and accuracy from train_log.csv."""
    path = run / "train_log.csv"
    if not path.exists():
        return None
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        rows = list(csv.DictReader(line.replace("\0", "") for line in file))
    try:
        log = {column: [float(row[column]) if row.get(column) else None for row in rows]
               for column in ("iteration", "loss", "test_accuracy", "test_loss")}
    except ValueError as error:
        raise EvalError(f"{path} holds something that is not a number ({error}): remove it or write it again") from None
    return section("Training", fig.training_figure(drawn, log)) if rows else None


def standstill_section(run: Path) -> Section | None:
    """What training told of a net that had learned nothing at its last test; None where it had."""
    found = read_json(run / "standstill.json")
    if not found.get("words"):
        return None
    known = "Likely causes, the likeliest first:" if found.get("causes") else \
        "Training found no cause. Where to look, in this order:"
    return section("Training stands still", Text(f"At its last test {'; '.join(found['words'])}. {known}"),
                   Table(["", "cause"], list(enumerate(found.get("advice", []), 1))))


def cost_section(results: dict) -> Section | None:
    """The paper's comparison of one distance each."""
    cost = results.get("cost")
    if not cost:
        return None
    rows = [[f"Hamming, {cost['bits']} bits, one pair", duration(cost["hamming"]),
             duration(cost["published"]["hamming"]) + " (64 bits)"]]
    if "euclidean" in cost:
        size = f"Euclidean, {cost['dimension']:,} units, one pair"
        rows += [[size + ", query by query", duration(cost["euclidean"]),
                  duration(cost["published"]["euclidean"]) + " (4,096 units)"],
                 [size + ", many queries at once", duration(cost["euclidean_blocked"]), ""]]
    return section("Cost of a distance", Table(["", "here", "authors, their machine"], rows, (1, 2)))


def duration(seconds: float) -> str:
    """A short time with its unit."""
    for unit, size in (("s", 1), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9), ("ps", 1e-12)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.1e} s"
