"""Evaluate made-up features of Yahoo-1M's size on this machine: time, precision, memory and disk of each search.

    .venv/bin/python eval/bench_yahoo1m.py --out build/yahoo1m      1,011,723 images, 112,363 queries

The features are synthetic, the size and the program that evaluates them are not. They stay below --out and are used
again; a search that was finished is not made again.
"""

import argparse
import json
import os
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from basics.program import EvalError, positive, run_program

# isort: split
import numpy as np

from basics.files import read_json, write_json
from benchmarks.yahoo_size import Recipe, write_features

PROGRAM = Path(__file__).with_name("evaluate.py")
SEARCHES = ("bcs", "hdl", "es")
SPARE_BYTES = 8 << 30    # for lists and the system


def parse_arguments(argv: list[str] | None) -> tuple[Recipe, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, usual = parser.add_argument, Recipe()
    add("--out", type=Path, required=True, help="where features and results go")
    add("--search", nargs="+", choices=SEARCHES, default=list(SEARCHES), help="default: all")
    add("--database", type=positive, default=usual.database, help="default: %(default)s")
    add("--queries", type=positive, default=usual.queries, help="default: %(default)s")
    add("--es-queries", type=positive, help="es for the first so many queries alone: its time grows with their number, "
                                            "and over all it takes hours (default: all)")
    add("--bits", type=positive, default=usual.bits, help="default: %(default)s")
    add("--units", type=positive, default=usual.units, help="of fc7 (default: %(default)s)")
    add("--dtype", choices=("float16", "float32"), default=usual.dtype, help="of fc7 on disk (default: %(default)s)")
    add("--seed", type=int, default=usual.seed, help="default: %(default)s")
    given = parser.parse_args(argv)
    recipe = Recipe(given.database, given.queries, given.bits, given.units, given.dtype, given.seed)
    return recipe, given


def check_space(folder: Path, recipe: Recipe):
    """EvalError unless the features that are missing have room."""
    folder.mkdir(parents=True, exist_ok=True)
    present = sum(path.stat().st_size for path in folder.rglob("fc7.npy"))
    needed, free = recipe.fc7_bytes - present + SPARE_BYTES, shutil.disk_usage(folder).free
    if needed > free:
        raise EvalError(f"{folder} has {free / 2**30:.0f} GiB of space, {needed / 2**30:.0f} are needed: choose "
                        "another --out, or fewer --database images")


def evaluate(features: Path, out: Path, search: str) -> dict:
    """{seconds, resident_gib, results} of evaluate.py with one search, in a process of its own."""
    command = [sys.executable, str(PROGRAM), "--features", str(features), "--out", str(out), "--search", search,
               "--baselines", "none", "--no-sweep"]
    forget_peak()
    started = time.perf_counter()
    child = os.posix_spawn(sys.executable, command, os.environ)
    _, status, usage = os.wait4(child, 0)
    if os.waitstatus_to_exitcode(status):
        raise EvalError(f"evaluate.py --search {search} ended with status {os.waitstatus_to_exitcode(status)}")
    return {"seconds": time.perf_counter() - started, "resident_gib": usage.ru_maxrss / 2**20,
            "results": json.loads((out / "results.json").read_text(encoding="utf-8"))}


def forget_peak():
    """Set this process's largest resident size to the present one: a child's begins with it (Linux, clear_refs(5))."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def measure(folder: Path, recipe: Recipe, search: str) -> dict:
    """The row of the table of one search; kept in a file beside its results, and used again for the same recipe."""
    kept = folder / search / "measured.json"
    row = read_json(kept)
    if row.get("recipe") == asdict(recipe):
        return row
    found = evaluate(folder / "features", folder / search, search)
    entry = found["results"]["searches"][search]
    row = {"recipe": asdict(recipe), "search": search, "search_seconds": entry["seconds"],
           "program_seconds": found["seconds"], "resident_gib": found["resident_gib"], "map_at_1000": entry["map"],
           "precision_at_10": entry["precision_at_k"][9], "radius": entry.get("radius"),
           "pool_mean": entry.get("pool_mean")}
    write_json(kept, row)
    return row


def first_queries(folder: Path, recipe: Recipe, count: int) -> tuple[Path, Recipe]:
    """(folder with the same database and the first `count` queries, their recipe)."""
    count = min(count, recipe.queries)
    some = folder / f"first_{count}"
    for split, rows in (("train", recipe.database), ("test", count)):
        (some / "features" / split).mkdir(parents=True, exist_ok=True)
        for path in (folder / "features" / split).glob("*.npy"):
            link = some / "features" / split / path.name
            link.unlink(missing_ok=True)
            if split == "train":
                os.link(path, link)
            else:
                np.save(link, np.load(path, mmap_mode="r")[:rows])
        write_json(some / "features" / split / "meta.json", replace(recipe, queries=count).meta(split))
    return some, replace(recipe, queries=count)


def report(recipe: Recipe, rows: list[dict]):
    print(f"\n{recipe.queries:,} queries, {recipe.database:,} images, {recipe.bits} bits, fc7 of {recipe.units:,} as "
          f"{recipe.dtype} ({recipe.fc7_bytes / 2**30:.1f} GiB on disk); synthetic features")
    print(f"{'search':<8}{'search':>11}{'program':>11}{'resident':>12}{'mAP@1000':>10}{'P@10':>8}")
    for row in rows:
        asked = row["recipe"]["queries"]
        of = f"   {asked:,} queries" if asked != recipe.queries else ""
        pool = f"   T = {row['radius']}, pool {row['pool_mean']:,.0f}" if row["radius"] else ""
        print(f"{row['search']:<8}{row['search_seconds']:>9,.0f} s{row['program_seconds']:>9,.0f} s"
              f"{row['resident_gib']:>8.1f} GiB{row['map_at_1000']:>10.4f}{row['precision_at_10']:>8.4f}{pool}{of}")


def main(argv: list[str] | None = None) -> int:
    recipe, given = parse_arguments(argv)
    check_space(given.out, recipe)
    write_features(given.out / "features", recipe)
    where = {search: (given.out, recipe) for search in given.search}
    if given.es_queries and "es" in where:
        where["es"] = first_queries(given.out, recipe, given.es_queries)
    report(recipe, [measure(*where[search], search) for search in given.search])
    return 0


if __name__ == "__main__":
    run_program(main)
