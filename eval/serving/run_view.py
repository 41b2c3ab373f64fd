"""What the page shows of the run itself."""

from pathlib import Path

from basics.program import EvalError
from pages.provenance import dataset_title, provenance
from pages.summary import search_name, shown_k
from serving.collection import Collection
from serving.faults import Fault
from serving.net import NetProcess

# In the order in which the page shows them, with what it writes below.
FIGURES = {"precision": "Precision of the first k results", "sweep": "What T does: precision and pool",
           "recall_precision": "Recall and precision by Hamming radius", "classes": "mAP by codes of each class",
           "confusion": "Confusion of the classifier", "training": "Loss and accuracy in training",
           "distances": "Distances within and between classes", "bit_balance": "Balance of each bit",
           "baselines": "Beside unsupervised codes"}


def run_facts(collection: Collection, net: NetProcess | None) -> dict:
    """What /api/run returns (eval/README.md lists it)."""
    database = collection.database
    return {"name": collection.place.name, "title": title_of(collection),
            "images": {name: len(split) for name, split in collection.splits.items()}, "bits": database.bits,
            "fc7": database.fc7.shape[1] if collection.has_fc7 else None,
            "thumbs": {name: split.thumbs is not None for name, split in collection.splits.items()},
            "classes": [str(name) for name in database.meta.get("classes") or []],
            "default_T": collection.default_radius, "net": net.state if net else "none",
            "net_error": net.error if net else "",
            "about": about(collection), "searches": searches_of(collection.results),
            "figures": [{"name": name, "title": title} for name, title in FIGURES.items()
                        if figure_file(collection.place.evaluation, name).is_file()],
            "report": (collection.place.evaluation / "report.html").is_file()}


def title_of(collection: Collection) -> str:
    return dataset_title((collection.database.meta.get("data") or {}).get("dataset") or "")


def about(collection: Collection) -> list[tuple[str, str]]:
    """Rows (name, value) of what made the run, as its report has them."""
    if not collection.results:
        return []
    try:
        rows = provenance(collection.results, collection.place.evaluation.parent)
    except (EvalError, KeyError):   # results.json of another version
        return []
    return [(name, str(value)) for name, value in rows if value not in (None, "")]


def searches_of(results: dict) -> dict:
    """{"k": [...], "rows": [[search, mAP, precision@k ...]]} of results.json; {} without."""
    searches = results.get("searches") or {}
    if not searches:
        return {}
    shown = shown_k(*(search["precision_at_k"] for search in searches.values()))
    rows = [[search_name(name, search), search["map"], *(search["precision_at_k"][k - 1] for k in shown)]
            for name, search in searches.items()]
    return {"map_k": results["top_k"], "k": shown, "rows": rows}


def figure_file(evaluation: Path, name: str) -> Path:
    return evaluation / "figures" / f"{name}.svg"


def figure_path(evaluation: Path, name: str) -> Path:
    """The SVG of a figure of the report. Fault 404 unless it is one of them and there."""
    if name not in FIGURES or not figure_file(evaluation, name).is_file():
        raise Fault(404, f"This run has no figure {name!r}.")
    return figure_file(evaluation, name)
