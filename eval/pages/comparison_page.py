"""The page of a comparison: one HTML file that needs no network and no other file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from basics.files import write_text
from measures import published
from measures.comparison import Model
from pages.figures import SIZE, Figures, draw_published, set_precision_axes
from pages.gallery import Gallery
from pages.parts import Drawing, Facts, Numbers, Section, Strip, Table, Text, page, section, side_by_side
from pages.provenance import base_name, dataset_title, short
from pages.report import MARKS, NO_PICTURES
from pages.summary import expected_sentence, shown_k

LOOKS = (("#0b6e99", "-"), ("#d1495b", "--"), ("#6a994e", ":"))   # colour and dashes of each model


def write_page(out: Path, result: dict, models: list[Model]):
    """Write compare.html and figures/ into `out`. result: the contents of compare.json."""
    drawn = Figures(out / "figures")
    results = result["models"]
    quoted = published.figures() if all(map(published.is_whole_cifar, results)) else None
    gallery = Gallery(models[0].retrieval)  # the images are the same for all
    title = (f"{dataset_title(published.dataset_name(results[0]))}: "
             f"{' beside '.join(model['name'] for model in results)}")
    parts = [headline(results), Facts(provenance(results)), expected_section(result),
             retrieval_section(drawn, results, quoted), *(pair_section(pair) for pair in result["pairs"]),
             classes_section(drawn, results, gallery.class_name), codes_section(results)]
    pair = result["pairs"][0]
    for better, other in (("second", "first"), ("first", "second")):
        heading = f"Queries that {pair[better]} answers better than {pair[other]}"
        parts.append(differences_section(heading, pair[f"{better}_better"], gallery, models[:2]))
    write_text(out / "compare.html", page(title, parts))


def headline(results: list[dict]) -> Numbers:
    shown = [(f"{model['map']:.4f}", f"mAP@{model['top_k']}, {model['name']}") for model in results]
    shown += [(f"{model['accuracy']:.4f}", f"accuracy, {model['name']}") for model in results if "accuracy" in model]
    return Numbers(shown)


def provenance(results: list[dict]) -> list[tuple]:
    """Rows (name, value): what made each model's features; said once where it is the same for all."""
    def known(entry):
        return " ".join(filter(None, [base_name(entry), short(entry.get("sha256"))])) if entry else ""

    def row(name, value):
        values = [str(value(model["features"], model) or "not told") for model in results]
        same = all(one == values[0] for one in values)
        return name, values[0] if same else "; ".join(f"{model['name']}: {one}" for model, one in zip(results, values))

    rows = [row("Weights", lambda meta, _: known(meta.get("weights"))),
            row("Net", lambda meta, _: known(meta.get("net"))),
            row("Pre-processing", lambda meta, _: meta.get("protocol")),
            row("Mean image", lambda meta, _: known(meta.get("mean"))),
            row("Bits", lambda _, model: model["bits"]),
            row("Images", lambda _, model: f"{model['queries']:,} queries, {model['database']:,} in the database")]
    return [(name, value) for name, value in rows if value != "not told"]


def expected_section(result: dict) -> Section | None:
    """The authors' own figure for their model, and where a difference comes from."""
    if "published" not in result:
        return None
    causes = result["published"]["causes"]
    more = [Text("Where a difference of more than 0.002 comes from, likeliest first:"), Facts(
        [(f"{number}. {cause}", known) for number, (cause, known) in enumerate(causes, start=1)])] if causes else []
    return section("The published figure", Text(expected_sentence(result["published"])), *more)


def retrieval_section(drawn: Figures, results: list[dict], published: dict | None) -> Section:
    """mAP and precision by codes, ours, theirs and the quoted ones."""
    length = min(len(model["precision_at_k"]) for model in results)
    shown = shown_k(*(model["precision_at_k"] for model in results))
    rows = [[model["name"], f"{model['map']:.4f}", f"{model['map_tie_aware']:.4f}",
             *(f"{model['precision_at_k'][k - 1]:.4f}" for k in shown)] for model in results]
    head = ["", f"mAP@{results[0]['top_k']}", "any order of ties", *(f"P@{k}" for k in shown)]
    all_48 = all(model["bits"] == 48 for model in results)
    curves = published["precision_at_k_48_bits"] if published and all_48 else None
    notes = Text("All queries against the whole database by Hamming distance; equal distances keep database "
                 "order, and the second column is the mean over all orders of them.", soft=True)
    blocks = [("Precision of the first k", precision_figure(drawn, results, length, curves))]
    quoted = quoted_table(results, published) if published else []
    blocks += [("Published mAP@1000", *quoted)] if quoted else []
    figures_of_all = Table(head, rows, range(1, len(head)), range(len(results)))
    return section("Retrieval by codes", figures_of_all, notes, side_by_side(*blocks))


def quoted_table(results: list[dict], published: dict) -> list[Table | Text]:
    """Published mAP@1000 at the code lengths compared, of those they were published for."""
    lengths, methods = published["map_at_1000"]["bits"], published["map_at_1000"]["methods"]
    wanted = sorted({model["bits"] for model in results} & set(lengths))
    rows = [[method, *(f"{values[lengths.index(bits)]:.4f}" for bits in wanted)] for method, values in methods.items()]
    note = Text("These and the grey curves are the authors' figures, quoted, not measured here.", soft=True)
    return [Table(["", *(f"{bits} bits" for bits in wanted)], rows, range(1, len(wanted) + 1)), note] if wanted else []


def precision_figure(drawn: Figures, results: list[dict], length: int, published: dict | None) -> Drawing:
    """precision@k of the models together."""
    k = np.arange(1, length + 1)

    def draw(axes):
        for model, (colour, dashes) in zip(results, LOOKS):
            axes.plot(k, model["precision_at_k"][:length], dashes, color=colour, label=model["name"])
        if published:
            draw_published(axes, published)
        set_precision_axes(axes, length, published)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(results), fontsize=9)

    columns = {"k": k.tolist()} | {model["name"]: model["precision_at_k"][:length] for model in results}
    return drawn.make("precision", draw, columns)


def classes_section(drawn: Figures, results: list[dict], class_name: Callable) -> Section | None:
    """mAP of each class, lowest mean first in the figure and last in the table."""
    if any("classes" not in model for model in results):
        return None
    maps = np.array([model["classes"]["map"] for model in results])
    order = np.argsort(maps.mean(axis=0))
    names = [class_name(results[0]["classes"]["classes"][i]) for i in order]
    maps = maps[:, order]
    rows = [[name, *(f"{value:.4f}" for value in maps[:, i]), f"{maps[1, i] - maps[0, i]:+.4f}"]
            for i, name in enumerate(names)][::-1]
    head = ["class", *(model["name"] for model in results), f"{results[1]['name']} - {results[0]['name']}"]
    return section("Classes", side_by_side(
        ("mAP by codes", classes_figure(drawn, results, maps, names)),
        ("The same in figures", Table(head, rows, range(1, len(head))))))


def classes_figure(drawn: Figures, results: list[dict], maps: np.ndarray, names: list[str]) -> Drawing:
    """maps (models, classes) as bars, in the order of the names."""
    height = 0.8 / len(results)

    def draw(axes):
        for i, (model, (colour, _)) in enumerate(zip(results, LOOKS)):
            axes.barh(np.arange(len(names)) + 0.4 - (i + 0.5) * height, maps[i], height * 0.9, color=colour,
                      label=model["name"])
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="mAP", xlim=(0, 1.02))
        axes.tick_params(axis="y", length=0)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(results), fontsize=9)

    columns = {"class": names} | {model["name"]: maps[i].tolist() for i, model in enumerate(results)}
    return drawn.make("classes", draw, columns, (SIZE[0], max(2.4, 0.36 * len(names) + 0.9)))


def codes_section(results: list[dict]) -> Section:
    """Whether the bits are used, model by model."""
    def mean_distance(shares):
        return float(np.dot(np.arange(len(shares)), shares) / max(sum(shares), 1e-300))

    statistics = (("distinct codes in the database", lambda c: f"{c['distinct']:,}"),
                  ("entropy of the bits, summed", lambda c: f"{c['entropy']:.2f}"),
                  ("bits that never change", lambda c: c["constant_bits"]),
                  ("share of ones, by bit", lambda c: f"{min(c['ones']):.2f} to {max(c['ones']):.2f}"),
                  ("mean distance within classes", lambda c: f"{mean_distance(c['within']):.2f}"),
                  ("mean distance between classes", lambda c: f"{mean_distance(c['between']):.2f}"),
                  ("activations of exactly 0.5", lambda c: f"{c['exactly_half']:,}"))
    rows = [["bits", *(model["bits"] for model in results)]]
    rows += [[name, *(value(model["codes"]) for model in results)] for name, value in statistics]
    return section("The codes", Table(["", *(model["name"] for model in results)], rows, range(1, len(results) + 1)))


def pair_section(pair: dict) -> Section:
    """Agreement of two models."""
    first, second, ap = pair["first"], pair["second"], pair["ap"]
    text = (f"mAP of {second} minus that of {first}: {ap['mean']:+.4f}, standard error over queries "
            f"{ap['standard_error']:.4f}. AP is higher with {second} for {ap['higher']:,} queries, "
            f"lower for {ap['lower']:,}, equal for {ap['equal']:,}.")
    rankings = [[f"first {int(depth):,} results in common", f"{share:.1%}"] for depth, share in pair["overlap"].items()]
    rankings.append(["rank correlation of the distances", f"{pair['rank_correlation']:.3f}"])
    blocks = [("Rankings", Table(["measure", "value"], rankings, (1,)), Text(
        f"Spearman's, over the whole database, mean of {pair['correlated_queries']:,} queries. Equal distances keep "
        "database order in both, which adds to what lists have in common.", soft=True))]
    if "labels" in pair:
        labels = pair["labels"]
        rows = [["both right", f"{labels['both_right']:,}"], [f"only {first} right", f"{labels['first_right']:,}"],
                [f"only {second} right", f"{labels['second_right']:,}"], ["both wrong", f"{labels['none_right']:,}"],
                ["same class predicted", f"{labels['equal']:.1%}"]]
        blocks.append(("Predicted labels", Table(["classifier", "queries"], rows, (1,))))
    return section(f"Agreement of {first} and {second}", Text(text), side_by_side(*blocks))


def differences_section(heading: str, entries: list[dict], gallery: Gallery, models: list[Model]) -> Section | None:
    """Queries whose AP differs most, with the first results of both models."""
    if not entries:
        return None
    if not gallery.available:
        rows = [[Path(entry["id"]).name, *(f"{value:.3f}" for value in entry["ap"])] for entry in entries]
        return section(heading, Table(["query", *(f"AP, {model.name}" for model in models)], rows, (1, 2)),
                       Text(NO_PICTURES, soft=True))
    strips = [Strip(gallery.query(entry["query"]), [
        (f"{model.name}, AP {value:.3f}", gallery.results(entry["query"], model.ranking.ids[entry["query"]]))
        for model, value in zip(models, entry["ap"])]) for entry in entries]
    return section(heading, Text(MARKS, soft=True), *strips)
