"""<run>/run.json: what a run was started with, so that it goes on with nothing else."""
from typing import Any

from process.errors import DriverError
from process.files import write_json
from process.identity import without_places
from process.run_folder import RunFolder

# What may differ when a run goes on: how long it trains, and where things lie.
MAY_CHANGE = ("iterations", "started", "commit", "solver_file")
LATER_ONES = ("iter_size", "devices", "threads")  # not in run.json of earlier versions
CALLED = {"threads": "number of threads"}  # in a message, where the name alone says too little
SHOWN = 80  # characters of a setting in a message


def check_unchanged(run: RunFolder, settings: dict[str, Any]) -> None:
    """DriverError when the run was started with other settings. For a run that has something to go on from."""
    if not run.settings.exists():
        raise DriverError(f"{run} has snapshots and no run.json that tells of what: remove it, or give the new run "
                          "another name")
    before = run.read_settings()
    if "engine" in settings:
        before.setdefault("engine", "caffe")  # of earlier versions: the only one there was
    may_change = MAY_CHANGE + (("threads",) if settings.get("engine") == "onednn" else ())  # it changes no bit
    for name, now in settings.items():
        if name in may_change or (name in LATER_ONES and name not in before):
            continue
        if isinstance(now, dict) and "entries" not in (before.get(name) or {}):  # of earlier versions
            now = {part: value for part, value in now.items() if part != "entries"}
        if without_places(before.get(name)) != without_places(now):
            raise DriverError(f"{run} was started with another {CALLED.get(name, name)} "
                              f"({_short(before.get(name))}; now {_short(now)}). "
                              "Give the new run another name (RUN=, --run) or remove the old one")


def write_settings(run: RunFolder, settings: dict[str, Any], going_on: bool) -> None:
    """Writes run.json; of a run that goes on only its length changes."""
    write_json(run.settings, {**run.read_settings(), "iterations": settings["iterations"]} if going_on else settings)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SHOWN else text[:SHOWN - 3] + "..."
