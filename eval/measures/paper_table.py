"""The paper's table of mAP@1000 on CIFAR-10 with our own runs over it."""

from collections.abc import Iterable
from pathlib import Path

from basics.files import read_json
from basics.program import EvalError
from measures.published import by_the_papers_protocol, figures, has_cifar10_sizes

Runs = dict[float, dict[int, dict]]  # {part of the schedule: {bits: results}}


def read_runs(paths: Iterable[Path]) -> Runs:
    """The results.json files. EvalError for a missing file, another protocol or data, or two runs for one place."""
    runs: Runs = {}
    for path in paths:
        if not path.exists():
            raise EvalError(f"{path} is missing: evaluate that run first (make train-cifar BITS=...)")
        results = read_json(path)
        check_run(path, results)
        row = runs.setdefault(schedule(results), {})
        if results["bits"] in row:
            raise EvalError(f"{path}: a second run with {results['bits']} bits: name one run for each code length")
        row[results["bits"]] = results
    return runs


def schedule(results: dict) -> float:
    """The part of the solver's schedule that the net was trained for."""
    return ((results.get("features") or {}).get("training") or {}).get("schedule", 1)


def check_run(path: Path, results: dict):
    """EvalError unless a run's figure may stand over the paper's."""
    if not by_the_papers_protocol(results):
        raise EvalError(f"{path}: protocol {results.get('protocol')}, K = {results.get('top_k')}; the paper's table is "
                        "cvprw15 with K = 1000, by codes: evaluate the run with the defaults")
    if not has_cifar10_sizes(results):
        raise EvalError(f"{path}: {results['queries']:,} queries against {results['database']:,} images; "
                        "the paper's table is CIFAR-10's 10,000 test against 50,000 training images")


def table_rows(runs: Runs) -> list[list[str]]:
    """Rows of text cells, the header first, ours (a row for each schedule) before the published ones."""
    published = figures()["map_at_1000"]
    at = {bits: column for column, bits in enumerate(published["bits"])}
    lengths = sorted({*at, *(bits for row in runs.values() for bits in row)})
    rows = [["mAP@1000 (%)"] + [f"{bits} bits" for bits in lengths]]
    for part, row in sorted(runs.items(), reverse=True):
        name = "this project" + (f", {part:g} of the schedule" if part != 1 else "")
        rows.append([name] + [f"{100 * row[bits]['map']:.2f}" if bits in row else "-" for bits in lengths])
    for method, values in published["methods"].items():
        rows.append([method] + [f"{100 * values[at[bits]]:.2f}" if bits in at else "-" for bits in lengths])
    return rows
