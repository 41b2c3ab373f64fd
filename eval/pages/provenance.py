"""What made the numbers of a page: run, net, weights, data."""

from pathlib import Path

from basics.files import read_json

DATASETS = {"cifar10": "CIFAR-10", "mnist": "MNIST", "digits": "5,000 MNIST digits"}   # by how the name starts


def dataset_title(name: str) -> str:
    """A data set's usual name."""
    return next((title for start, title in DATASETS.items() if name.startswith(start)), name or "Retrieval")


def provenance(results: dict, run: Path) -> list[tuple]:
    """Rows (name, value): what made these numbers."""
    meta, made = results["features"], read_json(run / "run.json")
    data, weights = meta.get("data", {}), meta.get("weights") or {}
    start = made.get("weights") or {}
    return [("Run", run.name), ("Net", made.get("net") or meta.get("net", {}).get("file")),
            ("Weights", " ".join(filter(None, [base_name(weights), short(weights.get("sha256"))]))),
            ("Iterations", iterations(made)),
            ("Training started from",
             start.get("description") or base_name(start) or ("random weights" if made else None)),
            ("Data", " ".join(filter(None, [data.get("path"), short(data.get("fingerprint"))]))),
            ("Pre-processing", meta.get("protocol")), ("Seed", made.get("seed")),
            ("Commit", meta.get("commit") or made.get("commit")), ("Started", made.get("started")),
            ("Evaluation", f"{results['protocol']}: {results['queries']:,} queries, {results['database']:,} images "
                           "in the database")]


def iterations(made: dict) -> str | None:
    """How long a run was trained; made: its run.json, {} without."""
    if not made.get("iterations"):
        return None
    part = made.get("schedule", 1)
    return f"{made['iterations']:,}" + (f" ({part:g} of the solver's schedule)" if part != 1 else "")


def base_name(entry: dict) -> str:
    """The name of an entry's file, without the directories of the machine it lay on; "" without one."""
    return Path(entry.get("file") or "").name


def short(checksum: str | None) -> str | None:
    return f"({checksum[:12]})" if checksum else None
