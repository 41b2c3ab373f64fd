"""Ctrl-C while a program still loads its packages, the longest part of many a call."""
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
PROGRAMS = sorted(path for folder in ("python", "data_prep", "eval") for path in (REPO / folder).glob("*.py"))
PRESSED_AT_THE_FIRST_PACKAGE = """
import runpy, sys
class Pressed:
    def find_spec(self, name, path=None, target=None):
        if name in ("numpy", "cv2", "google", "fastjsonschema", "caffe", "numba", "uvicorn"):
            raise KeyboardInterrupt
sys.meta_path.insert(0, Pressed())
sys.argv = [sys.argv[1], "--help"]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_ctrl_c_while_a_program_loads_ends_in_a_sentence(program):
    done = subprocess.run([sys.executable, "-c", PRESSED_AT_THE_FIRST_PACKAGE, program], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    if "usage:" in done.stdout:  # it loads none of them before it answers --help
        return
    assert done.returncode == 130, done.stderr
    assert done.stderr.count("\n") in (1, 2)
