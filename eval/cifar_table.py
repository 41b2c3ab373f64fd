"""The paper's CIFAR-10 table with our own runs in it: mAP@1000 for each code length.

    .venv/bin/python eval/cifar_table.py runs/cifar10_caffenet_*/eval/results.json
"""

import argparse
import json
from pathlib import Path

from eval_errors import EvalError, run_main

CIFAR10_SIZES = (10_000, 50_000)  # queries and database of the paper's protocol
PUBLISHED = Path(__file__).with_name("published.json")


def read_runs(paths):
    """{bits: results} of results.json files. EvalError for a file of another protocol or data set or a code length given twice."""
    runs = {}
    for path in paths:
        if not path.exists():
            raise EvalError(f"{path} is missing: evaluate that run first (make train-cifar BITS=...)")
        results = json.loads(path.read_text(encoding="utf-8"))
        if (results.get("protocol"), results.get("top_k")) != ("cvprw15", 1000):
            raise EvalError(f"{path}: protocol {results.get('protocol')}, K = {results.get('top_k')}; the paper's table is "
                            "cvprw15 with K = 1000: evaluate the run with the defaults")
        if (results["queries"], results["database"]) != CIFAR10_SIZES:
            raise EvalError(f"{path}: {results['queries']:,} queries against {results['database']:,} images; the paper's table is "
                            "CIFAR-10's 10,000 test against 50,000 training images")
        if results["bits"] in runs:
            raise EvalError(f"{path}: a second run with {results['bits']} bits: name one run for each code length")
        runs[results["bits"]] = results
    return runs


def table_rows(runs, published):
    """(header, rows) of text cells; published figures only at the code lengths they were published for."""
    at = {bits: column for column, bits in enumerate(published["bits"])}
    lengths = sorted(set(runs) | set(at))
    rows = [["this project"] + [f"{100 * runs[bits]['map']:.2f}" if bits in runs else "-" for bits in lengths]]
    for method, values in published["methods"].items():
        rows.append([method] + [f"{100 * values[at[bits]]:.2f}" if bits in at else "-" for bits in lengths])
    return ["mAP@1000 (%)"] + [f"{bits} bits" for bits in lengths], rows


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="+", type=Path, help="results.json of one run for each code length")
    runs = read_runs(parser.parse_args(argv).results)
    header, rows = table_rows(runs, json.loads(PUBLISHED.read_text(encoding="utf-8"))["map_at_1000"])
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        print("  ".join([row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]))
    return 0


if __name__ == "__main__":
    run_main(main)
