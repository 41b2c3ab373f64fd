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


PRESSED_WHILE_A_BAR_IS_MADE = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
from tqdm import tqdm
def pressed(self, *_, **__):
    raise KeyboardInterrupt
tqdm.__init__ = pressed
run_program = importlib.import_module(sys.argv[2]).run_program
work = lambda *_: tqdm(range(3))
sys.exit(run_program("program", lambda _: None, work, []) if sys.argv[1].endswith("python") else run_program(work))
"""


@pytest.mark.parametrize("room, module", [("python", "process.program"), ("data_prep", "prep.errors"),
                                          ("eval", "basics.program")])
def test_ctrl_c_while_a_progress_bar_is_half_made(room, module):
    done = subprocess.run([sys.executable, "-c", PRESSED_WHILE_A_BAR_IS_MADE, REPO / room, module], capture_output=True,
                          text=True)
    assert done.returncode == 130
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr
