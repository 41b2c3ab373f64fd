"""Figures of the report: each is returned as inline SVG and kept as SVG, PNG and CSV."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from basics.files import whole_file, write_text
from pages.parts import Drawing
from pages.summary import search_name

SIZE = (5.4, 3.5)                       # inches: readable beside another one and alone on a phone
OURS = {"bcs": "#0b6e99", "hdl": "#d1495b", "es": "#6a994e", "es-pretrained": "#bc8034"}
GREY = "#9a9a9a"
INK = "#222222"
STYLE = {"font.family": "sans-serif", "font.size": 10, "svg.fonttype": "none", "axes.spines.top": False,
         "axes.spines.right": False, "axes.edgecolor": "#666666", "axes.labelcolor": INK, "xtick.color": "#444444",
         "ytick.color": "#444444", "legend.frameon": False, "lines.linewidth": 1.8}


class Figures:
    """Draws into a directory. `draw(axes)` plots; `columns` is what the CSV holds, {header: values}."""

    def __init__(self, directory: Path):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def make(self, name: str, draw: Callable, columns: dict[str, list], size=SIZE) -> Drawing:
        """One figure, for a page."""
        with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
            figure = Figure(figsize=size, layout="constrained")
            draw(figure.subplots())
            svg = io.StringIO()
            figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
            figure.set_layout_engine("none")    # places are found: finding them anew takes as long as drawing
            with whole_file(self.directory / f"{name}.png") as file:
                figure.savefig(file, format="png", dpi=160, metadata={"Software": None})
        write_text(self.directory / f"{name}.svg", svg.getvalue())
        with whole_file(self.directory / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
        return Drawing(Markup(svg.getvalue()[svg.getvalue().index("<svg"):]))


def precision_figure(figures: Figures, results: dict, published: dict | None = None) -> Drawing:
    """precision@k of our searches; published curves ({k, methods}) in grey, named at their end."""
    searches = results["searches"]
    k = np.arange(1, min(len(search["precision_at_k"]) for search in searches.values()) + 1)

    def draw(axes):
        for name, search in searches.items():
            dashes = "--" if name == "hdl" else "-"  # often on top of the codes alone
            axes.plot(k, search["precision_at_k"][:len(k)], dashes, color=OURS[name], label=search_name(name, search))
        if published:
            draw_published(axes, published)
        set_precision_axes(axes, len(k), published)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=9)

    columns = {"k": k.tolist()} | {name: s["precision_at_k"][:len(k)] for name, s in searches.items()}
    return figures.make("precision", draw, columns)


def set_precision_axes(axes: Axes, length: int, published: dict | None):
    """Axes of precision@k, k up to `length`; from 0.1 where published curves, some of them low, are drawn."""
    axes.set(xlabel="first k results", ylabel="precision", xlim=(0, length), ylim=(0.1 if published else None, 1.005))


def draw_published(axes: Axes, published: dict):
    """Published curves ({k, methods}) in grey, named at their end."""
    ends = spread([curve[-1] for curve in published["methods"].values()], 0.042)
    for (method, curve), end in zip(published["methods"].items(), ends):
        axes.plot(published["k"], curve, color=GREY, linewidth=1)
        axes.annotate(method, (1, end), xycoords=axes.get_yaxis_transform(), xytext=(4, 0),
                      textcoords="offset points", fontsize=8, color="#666666", va="center")


def spread(values: list[float], gap: float) -> np.ndarray:
    """Label heights at least `gap` apart, as near to `values` as pushing upwards from the lowest allows."""
    placed = np.array(values, float)
    for above, below in zip(np.argsort(values)[1:], np.argsort(values)[:-1]):
        placed[above] = max(placed[above], placed[below] + gap)
    return placed


def baseline_figure(figures: Figures, results: dict) -> Drawing:
    """precision@k of unsupervised codes computed here, beside ours."""
    curves = {"ours": results["precision_at_k"]}
    curves |= {name.upper(): baseline["precision_at_k"] for name, baseline in results["baselines"].items()}
    k = np.arange(1, min(map(len, curves.values())) + 1)

    def draw(axes):
        for (name, curve), style in zip(curves.items(), ("-", "--", "-.", ":", (0, (8, 2)))):
            axes.plot(k, curve[:len(k)], linestyle=style, color=OURS["bcs"] if name == "ours" else INK, label=name,
                      linewidth=1.8 if name == "ours" else 1.2)
        axes.set(xlabel="first k results", ylabel="precision", xlim=(0, len(k)), ylim=(0, 1.02))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=9)

    columns = {"k": k.tolist()} | {name: curve[:len(k)] for name, curve in curves.items()}
    return figures.make("baselines", draw, columns)


def recall_precision_figure(figures: Figures, results: dict) -> Drawing:
    """Recall and precision of Hamming balls of radius 0, 1, 2, ..."""
    curve = results["recall_precision"]

    def draw(axes):
        axes.plot(curve["recall"], curve["precision"], color=OURS["bcs"], marker="o", markersize=3)
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))

    return figures.make("recall_precision", draw, curve)


def sweep_figure(figures: Figures, sweep: list[dict], chosen: int) -> Drawing:
    """Precision and pool size over T; the T used is marked."""
    columns = {key: [row[key] for row in sweep] for key in sweep[0]}

    def draw(axes):
        axes.plot(columns["radius"], columns["precision_at_10"], color=OURS["hdl"], marker="o", markersize=3)
        axes.set(xlabel="T", ylabel="precision of the first 10")
        axes.yaxis.label.set_color(OURS["hdl"])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.axvline(chosen, color=GREY, linewidth=1, linestyle=":")
        axes.annotate(f"T = {chosen}", (chosen, 1), xycoords=axes.get_xaxis_transform(), xytext=(3, -8),
                      textcoords="offset points", fontsize=9, color="#666666")
        pool = axes.twinx()
        pool.plot(columns["radius"], columns["pool_mean"], color=INK, linewidth=1.2, linestyle="--")
        pool.set_yscale("symlog", linthresh=1)
        pool.set_ylabel("images in the pool (dashed)")
        pool.spines["right"].set_visible(True)

    return figures.make("sweep", draw, columns)


def tradeoff_figure(figures: Figures, results: dict) -> Drawing:
    """precision@10 against the time of a query: two stages over T, the other searches as points."""
    sweep = results["sweep"]
    rows = [("hdl", row["radius"], row["ms_per_query"], row["precision_at_10"]) for row in sweep]
    rows += [(name, "", 1000 * search["seconds"] / results["queries"], search["precision_at_k"][9])
             for name, search in results["searches"].items()
             if name != "hdl" and len(search["precision_at_k"]) >= 10]

    def draw(axes):
        for name in dict.fromkeys(row[0] for row in rows):
            own = [row for row in rows if row[0] == name]
            axes.plot([row[2] for row in own], [row[3] for row in own], "-o" if len(own) > 1 else "D", markersize=4,
                      color=OURS[name], label=search_name(name, results["searches"][name]))
        for _, radius, milliseconds, precision in rows[:len(sweep):3]:
            axes.annotate(f"T = {radius}", (milliseconds, precision), xytext=(3, 4), textcoords="offset points",
                          fontsize=8, color="#666666")
        axes.set(xscale="log", xlabel="milliseconds a query, all at once", ylabel="precision of the first 10")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=9)

    columns = dict(zip(("search", "T", "ms_per_query", "precision_at_10"), map(list, zip(*rows))))
    return figures.make("tradeoff", draw, columns)


def class_figure(figures: Figures, classes: dict, names: Callable) -> Drawing:
    """mAP by codes of each class, lowest at the bottom."""
    order = np.argsort(classes["map"])
    labels, values = [names(classes["classes"][i]) for i in order], [classes["map"][i] for i in order]

    def draw(axes):
        axes.barh(labels, values, color=OURS["bcs"], height=0.65)
        axes.set(xlabel="mAP", xlim=(0, 1.08))
        for row, value in enumerate(values):
            axes.annotate(f"{value:.3f}", (value, row), xytext=(3, 0), textcoords="offset points", va="center",
                          fontsize=8)
        axes.tick_params(axis="y", length=0)

    size = SIZE[0], max(2.2, 0.27 * len(labels) + 0.8)
    return figures.make("classes", draw, {"class": labels, "map": values}, size)


def confusion_figure(figures: Figures, classes: dict, names: Callable) -> Drawing:
    """Confusion of the classifier: rows are the truth, shares of a row."""
    counts = np.array(classes["confusion"])
    labels = [names(label) for label in classes["confusion_classes"]]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    def draw(axes):
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(labels)), labels)
        axes.set(xlabel="predicted", ylabel="true")
        axes.tick_params(length=0)
        if len(labels) <= 12:
            for i, j in np.ndindex(share.shape):
                if counts[i, j]:
                    axes.text(j, i, counts[i, j], ha="center", va="center", fontsize=7,
                              color="white" if share[i, j] > 0.5 else INK)

    return figures.make("confusion", draw, {"true": labels} | dict(zip(labels, counts.T.tolist())), (SIZE[0], 4.6))


def balance_figure(figures: Figures, codes: dict) -> Drawing:
    """Share of database images in which each bit is 1."""
    bits = list(range(1, len(codes["ones"]) + 1))

    def draw(axes):
        axes.bar(bits, codes["ones"], color=OURS["bcs"], width=0.75)
        axes.axhline(0.5, color=GREY, linewidth=1, linestyle=":")
        axes.set(xlabel="bit", ylabel="share of ones", ylim=(0, 1), xlim=(0, len(bits) + 1))

    return figures.make("bit_balance", draw, {"bit": bits, "ones": codes["ones"]})


def histogram_figure(figures: Figures, codes: dict) -> Drawing:
    """Hamming distances of pairs that share a class and of pairs that do not."""
    distances = list(range(len(codes["within"])))

    def draw(axes):
        for name, colour in (("within", OURS["bcs"]), ("between", OURS["hdl"])):
            axes.fill_between(distances, codes[name], step="mid", alpha=0.25, color=colour, linewidth=0)
            axes.step(distances, codes[name], where="mid", color=colour, label=f"{name} classes")
        axes.set(xlabel="Hamming distance", ylabel="share of pairs", ylim=(0, None), xlim=(0, len(distances) - 1))
        axes.legend(fontsize=9)

    columns = {"distance": distances, "within": codes["within"], "between": codes["between"]}
    return figures.make("distances", draw, columns)


def training_figure(figures: Figures, log: dict[str, list]) -> Drawing:
    """Loss (left) and accuracy on the test set (right) over iterations. log: {column: list of float or None}."""
    def points(column):
        pairs = [(i, value) for i, value in zip(log["iteration"], log[column]) if value is not None]
        return list(zip(*pairs)) or [(), ()]

    def draw(axes):
        axes.plot(*points("loss"), color=INK, linewidth=0.9, label="training loss")
        if points("test_loss")[0]:
            axes.plot(*points("test_loss"), color=INK, linestyle="--", marker="o", markersize=3, label="test loss")
        axes.set(xlabel="iteration", ylabel="loss", ylim=(0, None))
        handles = axes.get_legend_handles_labels()
        if points("test_accuracy")[0]:
            accuracy = axes.twinx()
            accuracy.plot(*points("test_accuracy"), color=OURS["bcs"], marker="o", markersize=3, label="test accuracy")
            accuracy.set(ylabel="test accuracy", ylim=(0, 1))
            accuracy.yaxis.label.set_color(OURS["bcs"])
            accuracy.spines["right"].set_visible(True)
            handles = [a + b for a, b in zip(handles, accuracy.get_legend_handles_labels())]
        axes.legend(*handles, fontsize=9, loc="center right")

    return figures.make("training", draw, log)
