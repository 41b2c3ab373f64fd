"""The whole trial: every bad input of the table in random order, then kills and full disks until the time is up.

    .venv/bin/python -m torture --seed 1 --seconds 1500        (from tests/; make torture does it)
"""
import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
for room in ("python", "data_prep", "eval"):
    sys.path.insert(0, str(TESTS.parent / room))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GLOG_logtostderr", "1")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the order, the bits and the moments")
    parser.add_argument("--seconds", type=float, default=1500, help="for everything; kills take what inputs leave")
    parser.add_argument("--inputs", type=int, help="so many bad inputs, drawn from the table (default: all)")
    parser.add_argument("--kills", type=int, default=100, help="at least so many, full disks not counted")
    parser.add_argument("--only", default="", help="bad inputs of the commands whose name begins so")
    options = parser.parse_args()
    from torture import cases, good, kills, trial  # behind the path and the environment
    started, rng = time.monotonic(), random.Random(options.seed)
    trial.load_everything()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "good"
        folder.mkdir()
        good.build(folder)
        bad = try_inputs(trial, cases, folder, rng, options.inputs, options.only)
        killed, lost = Counter(), 0
        disturbances = kills.disturbed(folder, rng)
        while killed["kill"] < options.kills or time.monotonic() - started < options.seconds:
            if options.kills == 0:
                break
            kind, outcome = next(disturbances)
            killed[kind] += 1
            if outcome != "kept":
                lost += 1
                print(f"LOST   {kind}: {outcome}", flush=True)
    print(f"seed {options.seed}: kills {killed['kill']}, full disks {killed['full disk']}, lost {lost}; "
          f"{time.monotonic() - started:.0f} s")
    return 1 if bad or lost else 0


def try_inputs(trial, cases, good: Path, rng: random.Random, number: int | None, only: str) -> int:
    """Tries bad inputs, prints what is wrong and the figures; returns how many were wrong."""
    table = [case for case in cases.all_cases(good) if case.command.name.startswith(only)]
    rng.shuffle(table)
    wanted, outcomes = {}, []
    for case in table[:number]:
        if case.command not in wanted:
            wanted[case.command] = undisturbed(trial, case.command, good)
        outcome, said = trial.judge(case, good, wanted[case.command], rng)
        outcomes.append(outcome)
        if outcome not in ("read", "refused"):
            print(f"{outcome.upper():9s} {case}\n          {said[-600:]}", flush=True)
    print(trial.count(outcomes), flush=True)
    return len([outcome for outcome in outcomes if outcome not in ("read", "refused")])


def undisturbed(trial, command, good: Path) -> dict[str, str]:
    """What the good inputs give. The trial would tell nothing where they are refused."""
    import shutil  # of this one step
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(good, Path(place) / "here")
        status, said = trial.run_command(command, Path(place) / "here", Path(place) / "log")
        if status and command.name != "table":
            raise RuntimeError(f"{command.name} refuses good inputs: {said}")
        return trial.results_of(command, Path(place) / "here")


if __name__ == "__main__":
    sys.exit(main())
