"""evaluate.py as a user calls it, from features on disk to report, beside a search alone."""

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from basics.program import EvalError
from benchmarks.contests import TOP_K, faiss_searches
from benchmarks.made_up import Side
from benchmarks.races import race, report_race

PROGRAM = Path(__file__).parents[1] / "evaluate.py"


def bench_program(title: str, queries: Side, database: Side, rounds: int, scratch: Path | None = None) -> dict:
    """The whole process of evaluate.py on codes alone, report included, beside faiss's search alone (report_race).

    It reads and writes below `scratch`. Compiled loops are there already when it is timed.
    """
    top_k = min(TOP_K, len(database.codes))
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        features, out = Path(folder) / "features", Path(folder) / "eval"
        for split, side in (("train", database), ("test", queries)):
            write_codes(features / split, side)
        ours = partial(evaluate, features, out, top_k)
        ours()      # compiles what has not been compiled
        times = race(rounds, evaluate_py=ours, **faiss_searches(queries.codes, database.codes, top_k))
    return report_race(title, times, "evaluate_py")


def write_codes(folder: Path, side: Side):
    """A features folder with codes and labels alone, as another tool would write it."""
    folder.mkdir(parents=True)
    np.save(folder / "latent.npy", side.codes.astype(np.float32))
    np.save(folder / "labels.npy", side.labels)


def evaluate(features: Path, out: Path, top_k: int):
    """evaluate.py in a process of its own. EvalError where it fails."""
    done = subprocess.run([sys.executable, PROGRAM, "--features", features, "--out", out, "--top-k", str(top_k)],
                          capture_output=True, text=True)
    if done.returncode:
        raise EvalError(f"evaluate.py ended with status {done.returncode}: {done.stderr.strip()}")
