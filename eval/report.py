"""The report of one evaluation: one HTML file that needs no network and no other file."""

import csv
import html
import json
from pathlib import Path

import numpy as np

import figures as fig
from eval_errors import EvalError
from eval_files import write_text
from figures import NAMES, Figures, search_name
from html_page import facts, numbers, page, paragraph, section, side_by_side, table
from pictures import picture, strip

PUBLISHED = Path(__file__).with_name("published.json")
SHOWN_QUERIES = 8
SHOWN_RESULTS = 10
SHOWN_K = (1, 10, 100, 500, 1000)
DATASETS = {"cifar10": "CIFAR-10", "mnist": "MNIST", "digits": "5,000 MNIST digits"}   # by how the name starts


def write_report(out, results, queries, database, trial, rankings, run):
    """Write report.html and figures/ into `out`. run: directory that may hold run.json and train_log.csv."""
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    drawn = Figures(out / "figures")
    gallery = Gallery(queries, database, trial)
    title = f"{dataset_title(dataset_name(results))}, {results['bits']}-bit codes"
    parts = [f"<h1>{html.escape(title)}</h1>", headline(results),
             facts(provenance(results, run)), searches_section(drawn, results, published if comparable(results) else None),
             published_section(results, published) if comparable(results) else "",
             baselines_section(drawn, results), protocols_section(results), pool_section(drawn, results),
             examples_section(gallery, rankings, results), classes_section(drawn, results, gallery.class_name),
             codes_section(drawn, results), training_section(drawn, run), cost_section(results)]
    write_text(out / "report.html", page(title, "\n".join(parts)))


def dataset_name(results):
    """"" for a database of another tool, which tells none."""
    return (results["features"].get("data") or {}).get("dataset") or ""


def dataset_title(name):
    """A data set's usual name."""
    return next((title for start, title in DATASETS.items() if name.startswith(start)), name or "Retrieval")


def comparable(results):
    """Whether the published CIFAR-10 figures are about what was measured here."""
    return (dataset_name(results), results["protocol"], results["top_k"]) == ("cifar10", "cvprw15", 1000) and "map" in results


def headline(results):
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
    return numbers(shown)


def provenance(results, run):
    """Rows (name, value): what made these numbers."""
    meta, made = results["features"], read_json(run / "run.json")
    data, weights = meta.get("data", {}), meta.get("weights") or {}
    start = made.get("weights") or {}
    return [("Run", run.name), ("Net", made.get("net") or meta.get("net", {}).get("file")),
            ("Weights", " ".join(filter(None, [base_name(weights), short(weights.get("sha256"))]))),
            ("Training started from", start.get("description") or base_name(start) or (made and "random weights")),
            ("Data", " ".join(filter(None, [data.get("path"), short(data.get("fingerprint"))]))),
            ("Pre-processing", meta.get("protocol")), ("Seed", made.get("seed")),
            ("Commit", meta.get("commit") or made.get("commit")), ("Started", made.get("started")),
            ("Evaluation", f"{results['protocol']}: {results['queries']:,} queries, {results['database']:,} images in the database")]


def base_name(entry):
    """The name of an entry's file, without the directories of the machine it lay on; "" without one."""
    return Path(entry.get("file") or "").name


def short(checksum):
    return f"({checksum[:12]})" if checksum else None


def read_json(path):
    """A JSON object, {} if there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise EvalError(f"{path} is not valid JSON ({error}): remove it or write it again") from None


def searches_section(drawn, results, published):
    searches = results["searches"]
    shown = [k for k in SHOWN_K if all(k <= len(search["precision_at_k"]) for search in searches.values())]
    rows = [[search_name(name, search), f"{search['map']:.4f}", *(f"{search['precision_at_k'][k - 1]:.4f}" for k in shown),
             f"{search['seconds']:.1f} s"] for name, search in searches.items()]
    head = ["search", "mAP@K", *(f"P@{k}" for k in shown), "time, all queries"]
    curves = published["precision_at_k_48_bits"] if published and results["bits"] == 48 else None
    note = paragraph("Grey: published for 48 bits by the authors and quoted.", "soft") if curves else ""
    within = results["precision_within_radius"]
    more = f"Precision within Hamming radius {within['radius']}: {within['precision']:.4f} (an empty ball counts 0)."
    if "map_tie_aware" in results:
        more += f" mAP@{results['top_k']} expected over all orders of equal distances: {results['map_tie_aware']:.4f}."
    return section("Searches", table(head, rows, range(1, len(head))), paragraph(more, "soft"), side_by_side(
        ("Precision of the first k", fig.precision_figure(drawn, results, curves) + note),
        ("Recall and precision by Hamming radius", fig.recall_precision_figure(drawn, results))))


def published_section(results, published):
    """mAP@1000 beside the published values; ours in the column of its code length."""
    table_of = published["map_at_1000"]
    lengths = sorted({*table_of["bits"], results["bits"]})
    ours = ["This run", *(f"{results['map']:.4f}" if bits == results["bits"] else "" for bits in lengths)]
    rows = [ours] + [[method, *(f"{dict(zip(table_of['bits'], values))[bits]:.4f}" if bits in table_of["bits"] else ""
                                for bits in lengths)] for method, values in table_of["methods"].items()]
    head = ["mAP@1000", *(f"{bits} bits" for bits in lengths)]
    return section("Beside the published figures", table(head, rows, range(1, len(head)), ours=(0,)),
                   paragraph(f"All but the first row are quoted. Source: {published['source']}.", "soft"))


def baselines_section(drawn, results):
    baselines = results.get("baselines")
    if not baselines or "map" not in results:
        return ""
    rows = [["ours", f"{results['map']:.4f}"]] + [[name.upper(), f"{b['map']:.4f}"] for name, b in baselines.items()]
    top_k = next(iter(baselines.values()))["map_k"]
    return section("Unsupervised codes computed here", paragraph(
        f"{results['bits']} bits from the same fc7 features, without labels; mAP@{top_k}.", "soft"), side_by_side(
            ("Mean average precision", table(["codes", f"mAP@{top_k}"], rows, (1,), ours=(0,))),
            ("Precision of the first k", fig.baseline_figure(drawn, results))))


def protocols_section(results):
    rows = [[p["protocol"], f"{p['map']:.4f}", f"{p['top_k']:,}", f"{p['queries']:,}", f"{p['database']:,}",
             f"over {p['ap_divisor']}", p["description"]] for p in results["protocols"]]
    return section("The same codes under other protocols", table(
        ["protocol", "mAP", "K", "queries", "database", "AP", ""], rows, (1, 2, 3, 4)))


def pool_section(drawn, results):
    """The effect of T."""
    if "sweep" not in results or "two_stage" not in results:
        return ""
    fine, sweep = results["two_stage"], results["sweep"]
    rows = [[row["radius"], f"{row['pool_mean']:,.0f}", f"{row['pool_short']:.1%}", f"{row['precision_at_10']:.4f}",
             f"{row['precision_at_100']:.4f}", f"{row['ms_per_query']:.2f}"] for row in sweep]
    chosen = [i for i, row in enumerate(sweep) if row["radius"] == fine["radius"]]
    text = (f"The pool holds the images with Hamming distance below T. Here T = {fine['radius']}: {fine['pool_mean']:,.0f} "
            f"images on average, {fine['pool_empty']:,} empty pools. Unless given, T is the smallest at which nine of "
            "ten queries have 100 images in the pool; no label is looked at.")
    return section("Two stages: the pool", paragraph(text), side_by_side(
        ("Effect of T", fig.sweep_figure(drawn, sweep, fine["radius"])),
        ("On up to 1,000 queries", table(["T", "pool", "pool < 100", "P@10", "P@100", "ms a query"], rows, range(6), chosen))))


class Gallery:
    """Pictures and names of queries and database images."""

    def __init__(self, queries, database, trial):
        self.queries, self.database, self.trial = queries, database, trial
        self.classes = queries.meta.get("classes") or []

    @property
    def available(self):
        return self.queries.thumbs is not None and self.database.thumbs is not None

    def class_name(self, label):
        return class_name(self.classes, label)

    def locate(self, image):
        """(split, row) of a database row: training images first, then test images that joined them."""
        if image < len(self.database):
            return self.database, image
        return self.queries, self.trial.joining[image - len(self.database)]

    def query(self, query, note=""):
        row = self.trial.query_rows[query]
        return picture(self.queries.thumbs[row], self.class_name(self.trial.query_labels[query]) + note,
                       title=title_of(self.queries, row))

    def results(self, query, ids):
        """Pictures of results, marked right where they share a label with the query."""
        wanted = self.trial.query_labels[query]
        pictures = []
        for image in ids:
            split, row = self.locate(image)
            label = self.trial.db_labels[image]
            right = bool(np.any(wanted & label)) if np.ndim(label) else wanted == label
            pictures.append(picture(split.thumbs[row], self.class_name(label), "right" if right else "wrong", title_of(split, row)))
        return pictures

    def strip(self, query, rankings, note=""):
        """One query with its first results by each of the two searches."""
        return strip(self.query(query, note), [(NAMES[name], self.results(query, rankings[name].ids[query, :SHOWN_RESULTS]))
                                         for name in ("bcs", "hdl") if name in rankings])


def class_name(classes, label):
    """A class's name, or its number where it has none; names joined for several labels."""
    if np.ndim(label):
        return ", ".join(class_name(classes, i) for i in np.flatnonzero(label)) or "none"
    return str(classes[label]) if 0 <= label < len(classes) else str(label)


def title_of(split, row):
    return f"{row}: {split.ids[row]}" if split.ids else f"row {row}"


def examples_section(gallery, rankings, results):
    """Queries taken evenly, one class after another, and the worst ones."""
    if "bcs" not in rankings:
        return ""
    if not gallery.available:
        return section("Examples", paragraph("The features hold no thumbs.npy, so there are no pictures to show.", "soft"))
    chosen = [gallery.strip(query, rankings) for query in spread_over_classes(gallery.trial.query_labels)]
    worst = [gallery.strip(entry["query"], {"bcs": rankings["bcs"]}, f", AP {entry['ap']:.2f}")
             for entry in results["worst_queries"]]
    return (section("Examples", paragraph("The first ten results. Green: same class. Red, dashed, crossed: another.", "soft"), *chosen)
            + section("The worst queries", *worst))


def spread_over_classes(labels):
    """The first query of each of up to eight classes; with several labels, evenly taken queries."""
    if labels.ndim == 2:
        return np.unique(np.linspace(0, len(labels) - 1, SHOWN_QUERIES).astype(int))
    return np.sort(np.unique(labels, return_index=True)[1])[:SHOWN_QUERIES]


def classes_section(drawn, results, class_name):
    if "classes" not in results:
        return ""
    parts = [("mAP by codes", fig.class_figure(drawn, results["classes"], class_name))]
    if "confusion" in results["classes"]:
        parts.append(("Confusion of the classifier", fig.confusion_figure(drawn, results["classes"], class_name)))
    return section("Classes", side_by_side(*parts))


def codes_section(drawn, results):
    codes = results["codes"]
    text = (f"{codes['distinct']:,} distinct codes among {results['database']:,} images. The bits' entropies add up to "
            f"{codes['entropy']:.1f} of {results['bits']}." + (f" {codes['constant_bits']} bits never change." if codes["constant_bits"] else ""))
    return section("The codes", paragraph(text), side_by_side(
        ("Balance of each bit", fig.balance_figure(drawn, codes)),
        ("Distances within and between classes", fig.histogram_figure(drawn, codes))))


def training_section(drawn, run):
    """Loss and accuracy from train_log.csv."""
    path = run / "train_log.csv"
    if not path.exists():
        return ""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        log = {column: [float(row[column]) if row.get(column) else None for row in rows]
               for column in ("iteration", "loss", "test_accuracy", "test_loss")}
    except ValueError as error:
        raise EvalError(f"{path} holds something that is no number ({error}): remove it or write it again") from None
    return section("Training", fig.training_figure(drawn, log)) if rows else ""


def cost_section(results):
    """The paper's comparison of one distance each."""
    cost = results.get("cost")
    if not cost:
        return ""
    rows = [[f"Hamming, {cost['bits']} bits, one pair", duration(cost["hamming"]), duration(cost["published"]["hamming"]) + " (64 bits)"]]
    if "euclidean" in cost:
        size = f"Euclidean, {cost['dimension']:,} units, one pair"
        rows += [[size + ", query by query", duration(cost["euclidean"]), duration(cost["published"]["euclidean"]) + " (4,096 units)"],
                 [size + ", many queries at once", duration(cost["euclidean_blocked"]), ""]]
    return section("Cost of a distance", table(["", "here", "authors, their machine"], rows, (1, 2)))


def duration(seconds):
    """A short time with its unit."""
    for unit, size in (("s", 1), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9), ("ps", 1e-12)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.1e} s"
