"""Which version of the project made a result."""
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def commit() -> str | None:
    """Short commit of the checkout this file is in, with + when it has changes; None outside git or without it."""
    try:
        described = subprocess.run(["git", "-C", Path(__file__).parent, "describe", "--always", "--dirty=+",
                                    "--exclude=*"], capture_output=True, text=True)
    except FileNotFoundError:  # a copy on a machine that only computes
        return None
    return described.stdout.strip() or None
