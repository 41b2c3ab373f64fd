"""Small features as any tool would write them, and runs of evaluate.py on them."""

import json
from pathlib import Path

import numpy as np

import evaluate

QUICK = ("--no-sweep", "--no-report", "--baselines", "none")   # 5 units are too few for 8 bits' baselines


def write_split(folder, count, rng, **more):
    """`count` images of three classes: 8 bits, and the arrays of `more`."""
    folder.mkdir(parents=True)
    np.save(folder / "labels.npy", rng.integers(0, 3, count).astype(np.int32))
    np.save(folder / "latent.npy", rng.random((count, 8)))
    for name, array in more.items():
        np.save(folder / f"{name}.npy", array)


def call(features, out, *options):
    """evaluate.py, which must succeed."""
    assert evaluate.main(["--features", str(features), "--out", str(out), *options]) == 0


def run(features, out, *options):
    """results.json of a run of the program; no report, no sweep, no baselines."""
    call(features, out, *QUICK, *options)
    return json.loads((Path(out) / "results.json").read_text())
