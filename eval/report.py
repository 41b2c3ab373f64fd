"""The report: one HTML file that needs no network and no other file."""

import html
import io
import os

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402  (the backend must be chosen first)

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1c1c; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } td, th { padding: .25rem .8rem .25rem 0; text-align: left; font-weight: normal; }
td { font-variant-numeric: tabular-nums; } th { color: #555; } svg { max-width: 100%; height: auto; }
"""


def write_report(out, results, queries, database, trial, rankings, run):
    """Write report.html from the contents of results.json."""
    path = out / "report.html"
    body = [f"<h1>Retrieval with {results['bits']}-bit codes</h1>", table(summary(results)),
            "<h2>Precision of the first k results</h2>", precision_figure(results)]
    page = ('<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>Retrieval report</title><style>{STYLE}</style></head><body>{''.join(body)}</body></html>")
    partial = path.with_name(path.name + ".part")
    partial.write_text(page, encoding="utf-8")
    os.replace(partial, path)


def summary(results):
    """Rows (name, value) of the first table."""
    rows = [(f"mAP@{results['top_k']} by codes", f"{results['map']:.4f}")]
    if "accuracy" in results:
        rows.insert(0, ("Accuracy of the classifier", f"{results['accuracy']:.4f}"))
    rows.append(("Queries, database", f"{results['queries']:,}, {results['database']:,}"))
    if "two_stage" in results:
        fine = results["two_stage"]
        rows.append(("Two-stage pool", f"Hamming distance &lt; {fine['radius']}; {fine['pool_mean']:,.0f} images on average"))
    return rows


def table(rows):
    """An HTML table of (name, value) rows; values are HTML."""
    cells = "".join(f"<tr><th>{html.escape(name)}</th><td>{value}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"


def precision_figure(results):
    """Precision@k of both searches, as inline SVG."""
    figure, axes = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
    k = range(1, len(results["precision_at_k"]) + 1)
    axes.plot(k, results["precision_at_k"], label="codes")
    if "two_stage" in results:
        axes.plot(k, results["two_stage"]["precision_at_k"], label="codes, then fc7")
    axes.set(xlabel="k", ylabel="precision")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    pyplot.close(figure)
    return buffer.getvalue()[buffer.getvalue().index("<svg"):]
