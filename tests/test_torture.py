"""A short, seeded part of `make torture`: bad inputs drawn from its table."""
import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def test_bad_inputs_end_in_a_sentence_and_change_nothing():
    options = ("--seed", "11", "--inputs", "30", "--kills", "0", "--seconds", "0")
    done = subprocess.run([sys.executable, "-m", "torture", *options], cwd=TESTS, capture_output=True, text=True,
                          timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"tried 30, read \d+, refused \d+, traceback 0, silent 0, hang 0, harm 0", done.stdout)
