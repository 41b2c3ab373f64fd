"""The paper's CIFAR-10 table with our own runs in it: mAP@1000 for each code length.

    .venv/bin/python eval/cifar_table.py runs/cifar10_caffenet_*/eval/results.json
"""

import argparse
from pathlib import Path

from basics.program import run_program
from measures.paper_table import read_runs, table_rows
from pages.summary import columns


def parse_arguments(argv: list[str] | None) -> tuple[Path, ...]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path, help="results.json of one run for each code length")
    return tuple(parser.parse_args(argv).results)


def main(argv: list[str] | None = None) -> int:
    print(columns(table_rows(read_runs(parse_arguments(argv)))))
    return 0


if __name__ == "__main__":
    run_program(main)
