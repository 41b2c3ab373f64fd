"""How fast the evaluation is, as ratios within one run.

    .venv/bin/python eval/bench_eval.py                    codes and fc7 of the size of CIFAR-10
    .venv/bin/python eval/bench_eval.py --large 1000000    also one query against a million images, fc7 on disk

Times on a shared machine vary; ratios of things timed in turn, best of several rounds, vary less.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from basics.program import EvalError, run_program

# isort: split
import numpy as np

from basics.files import write_json
from basics.rows import default_threads
from benchmarks.contests import TOP_K, bench_codes, bench_cost, bench_defeat, bench_fine, bench_sizes
from benchmarks.large import bench_large
from benchmarks.made_up import Side, synthetic, uniform
from benchmarks.multi_index import MOST_BITS, bench_multi_index
from benchmarks.tradeoff import bench_tradeoff
from benchmarks.whole_program import bench_program
from search.feature_set import load_features

CONTESTS = ("codes", "program", "sizes", "fine", "defeat", "cost", "tradeoff", "multi-index")
MULTI_INDEX_FROM = 1_000_000    # codes from which a multi-index is worth a thought
SIZES = (1000, 10_000, 100_000, 1_000_000, 10_000_000)


@dataclass(frozen=True)
class BenchOptions:
    """bits: code lengths; sizes: databases that few queries are asked of; large: images of the largest, 0 for none."""

    queries: int
    database: int
    dimension: int
    bits: list[int]
    sizes: list[int]
    features: Path | None
    rounds: int
    only: list[str]
    large: int
    scratch: Path | None
    picture: Path | None
    out: Path | None

    @property
    def size(self) -> str:
        return f"{self.queries:,} x {self.database:,}"

    @property
    def bits_of_one(self) -> int:
        """The code length of a contest that is held for one."""
        return 48 if 48 in self.bits else self.bits[0]


def parse_arguments(argv: list[str] | None) -> BenchOptions:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--queries", type=int, default=10000, help="default: %(default)s")
    add("--database", type=int, default=50000, help="default: %(default)s")
    add("--dimension", type=int, default=4096, help="units of fc7 (default: %(default)s)")
    add("--bits", type=int, nargs="+", default=[12, 32, 48, 64, 128, 256], help="default: 12 32 48 64 128 256")
    add("--sizes", type=int, nargs="+", default=list(SIZES),
        help="databases that few queries are asked of (default: 1,000 to 10,000,000)")
    add("--features", type=Path, help="time a run's own codes and fc7 as well")
    add("--rounds", type=int, default=3, help="best of so many (default: %(default)s)")
    add("--only", nargs="*", choices=CONTESTS, default=list(CONTESTS), help="default: all")
    add("--large", type=int, default=0, metavar="IMAGES",
        help="single queries against so many; needs 4 bytes a unit on disk")
    add("--scratch", type=Path, help="where --large and the program write (default: the system's)")
    add("--picture", type=Path, help="file for the picture of precision against time (PNG, SVG or PDF)")
    add("--out", type=Path, help="JSON file for the figures")
    options = BenchOptions(**vars(parser.parse_args(argv)))
    if min(options.queries, options.database, options.rounds, *options.bits, *options.sizes) < 1:
        raise EvalError("--queries, --database, --rounds, --bits and --sizes must be at least 1")
    return options


def bench(options: BenchOptions) -> dict:
    """All figures that were asked for, printed as they are found."""
    figures = {"threads": default_threads()}
    if "codes" in options.only:
        figures |= bench_code_lengths(options)
    if "program" in options.only:
        figures["program"] = bench_whole_program(options)
    if "sizes" in options.only:
        figures["sizes"] = {str(bits): bench_sizes(bits, options.sizes, options.rounds) for bits in options.bits}
    if "defeat" in options.only:
        title = f"fc7 that no screen helps with, {options.size} x {options.dimension:,}"
        figures["defeat"] = bench_defeat(title, options.queries, options.database, options.dimension, options.rounds)
    if {"fine", "cost", "tradeoff"} & set(options.only):
        figures |= bench_fc7(options)
    if "multi-index" in options.only:
        sizes = [size for size in options.sizes if size >= MULTI_INDEX_FROM] or options.sizes
        figures["multi_index"] = bench_multi_index(min(options.bits_of_one, MOST_BITS), sizes, options.rounds)
    if options.features:
        figures["features"] = bench_features(options)
    if options.large:
        figures["large"] = bench_large(options.large, options.dimension, options.bits[0], options.scratch)
    return figures


def bench_code_lengths(options: BenchOptions) -> dict:
    rng, found = np.random.default_rng(0), {}
    for bits in options.bits:
        sides = [uniform(count, bits, rng) for count in (options.queries, options.database)]
        title = f"mAP@{TOP_K}, {options.size} uniform codes of {bits} bits"
        found[f"codes_{bits}"] = bench_codes(title, *sides, options.rounds)
    return found


def bench_whole_program(options: BenchOptions) -> dict:
    rng, bits = np.random.default_rng(0), options.bits_of_one
    sides = [uniform(count, bits, rng) for count in (options.queries, options.database)]
    title = f"evaluate.py, codes alone, report included, {options.size} uniform codes of {bits} bits"
    return bench_program(title, *sides, options.rounds, options.scratch)


def bench_fc7(options: BenchOptions) -> dict:
    sides, found = synthetic(options.queries, options.database, options.bits[0], options.dimension), {}
    if "fine" in options.only:
        found["fine"] = bench_fine(f"fc7, {options.size} x {options.dimension:,}", *sides, options.rounds)
    if "cost" in options.only:
        found["cost"] = bench_cost(*sides)
    if "tradeoff" in options.only:
        title = f"{options.size}, {options.bits[0]} bits, fc7 of {options.dimension:,}: precision against time"
        found["tradeoff"] = bench_tradeoff(title, *sides, options.picture)
    return found


def bench_features(options: BenchOptions) -> dict:
    """The same races on a run's own features."""
    sides = [Side(split.codes(), split.labels, split.fc7) for split in load_features(options.features)]
    size = (f"{len(sides[0].codes):,} x {len(sides[1].codes):,}, {sides[0].codes.shape[1]} bits "
            f"of {options.features}")
    found = {"codes": bench_codes(f"mAP@{TOP_K}, {size}", *sides, options.rounds)}
    if "fine" in options.only and all(side.fc7 is not None for side in sides):
        found["fine"] = bench_fine(f"fc7, {size}", *sides, options.rounds)
    if "tradeoff" in options.only and all(side.fc7 is not None for side in sides):
        found["tradeoff"] = bench_tradeoff(f"precision against time, {size}", *sides, options.picture)
    return found


def main(argv: list[str] | None = None) -> int:
    options = parse_arguments(argv)
    figures = bench(options)
    if options.out:
        write_json(options.out, figures)
    return 0


if __name__ == "__main__":
    run_program(main)
