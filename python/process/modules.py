"""Modules and programs of the driver, run in a process of their own."""
import os
import subprocess
import sys
from pathlib import Path

DRIVER = Path(__file__).resolve().parents[1]  # python/, which holds the programs and the rooms


def run_module(module: str, *arguments: object, timeout: float | None = None,
               **environment: str) -> subprocess.CompletedProcess:
    """Runs `python -m module` with the rooms on its path; what it says comes back as text.

    environment: variables to set. subprocess.TimeoutExpired after `timeout` seconds.
    """
    # -P: the user's current directory is no place to import from
    command = [sys.executable, "-P", "-m", module, *map(str, arguments)]
    path = os.pathsep.join(filter(None, (str(DRIVER), os.environ.get("PYTHONPATH"))))
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, "PYTHONPATH": path, **environment})


def program_command(name: str, *arguments: object) -> list[str]:
    """The command line of a program of the driver, "train.py" say."""
    return [sys.executable, str(DRIVER / name), *map(str, arguments)]
