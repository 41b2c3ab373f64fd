"""A short, seeded part of `make torture`: bad inputs drawn from its table."""
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from torture.__main__ import table
from torture.planted import PLANTS

TESTS = Path(__file__).parent


def test_bad_inputs_end_in_a_sentence_and_change_nothing():
    # Downloads and make wait for other processes: they are left to make torture.
    options = ("--seed", "11", "--inputs", "20", "--kills", "0", "--seconds", "0", "--only", "^(?!fetch|make)")
    done = subprocess.run([sys.executable, "-m", "torture", *options], cwd=TESTS, capture_output=True, text=True,
                          timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"tried 20, read \d+, refused \d+, traceback 0, silent 0, hang 0, harm 0", done.stdout)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.what)
def test_the_defects_to_be_planted_still_have_their_place(plant):
    """make torture-planted takes too long for this; it edits these lines."""
    for file, text, instead in plant.edits:
        assert text in (TESTS.parent / file).read_text(), f"plant {plant.what!r} anew in {file}"
        assert text != instead


def test_the_table_of_the_trial_has_thousands_of_cases():
    with tempfile.TemporaryDirectory() as place:
        good = Path(place)
        for name in ("run/run.json", "run/snapshots/iter_20.json", "run/features/train/meta.json", "results.json",
                     "run/features/test/meta.json", "run/final.caffemodel", "photos/class0/1.jpg",
                     "photos/class0/0.png", "photos/class1/1.jpg", "photos/class1/0.png"):
            (good / name).parent.mkdir(parents=True, exist_ok=True)
            (good / name).write_text('{"key": 1}')
        names = [str(case) for case in table(good, 1, "")]
    assert len(set(names)) > 2300
