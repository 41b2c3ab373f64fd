"""The whole trial: every bad input of the table in random order, then kills and full disks until the time is up.

    .venv/bin/python -m torture --seed 1 --seconds 1500        (from tests/; make torture does it)
"""
import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
for room in ("python", "data_prep", "eval"):
    sys.path.insert(0, str(TESTS.parent / room))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("GLOG_logtostderr", "1")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the order, the bits, the moments and Hypothesis")
    parser.add_argument("--seconds", type=float, default=1500, help="for everything; kills take what inputs leave")
    parser.add_argument("--inputs", type=int, help="so many bad inputs, drawn from the table (default: all)")
    parser.add_argument("--kills", type=int, default=100, help="at least so many, full disks not counted; 0: no disks")
    parser.add_argument("--only", default="", help="bad inputs whose name, `command: file: kind`, this pattern is in")
    parser.add_argument("--stages", default="", help="kills of the stages whose name this pattern is in")
    parser.add_argument("--examples", type=int, default=0, help="of Hypothesis for each reader; 0: none")
    parser.add_argument("--good", type=Path, help="a folder with good inputs of an earlier call (made if not there)")
    options = parser.parse_args()
    from torture import good, kills, servers, trial  # behind the path and the environment
    started, rng = time.monotonic(), random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        folder = options.good or Path(place) / "good"
        if not folder.exists():
            folder.mkdir(parents=True)
            good.build(folder)
        trial.load_everything()
        with servers.running(folder) as port:
            bad = try_inputs(table(folder, port, options.only), folder, rng, options.inputs)
        bad += any_input(options.seed, options.examples) if options.examples else 0
        killed, lost = Counter(), 0
        if options.kills:
            for kind, outcome in kills.disturbed(folder, rng, options.stages):
                killed[kind] += 1
                if outcome != "kept":
                    lost += 1
                    print(f"LOST   {kind}: {outcome}", flush=True)
                if killed["kill"] >= options.kills and time.monotonic() - started > options.seconds:
                    break
    print(f"seed {options.seed}: " + "".join(f"{kind}s {killed[kind]}, " for kind in sorted(killed))
          + f"lost {lost}; {time.monotonic() - started:.0f} s")
    return 1 if bad or lost else 0


def table(good: Path, port: int, only: str) -> list:
    """The cases whose name `only` is in."""
    from torture import again, cases, hostile, places, servers, words  # behind the path
    model = (good / "run/final.caffemodel").read_bytes()
    everything = [*cases.all_cases(good), *hostile.all_hostile(good), *places.all_places(), *again.all_again(),
                  *servers.all_downloads(port, model), *words.all_words()]
    return [case for case in everything if re.search(only, str(case))]


def try_inputs(cases: list, good: Path, rng: random.Random, number: int | None) -> int:
    """Tries bad inputs, prints what is wrong and the figures; returns how many were wrong."""
    from torture import trial  # behind the path
    rng.shuffle(cases)
    known, outcomes = {}, []

    def wanted(command):
        if command not in known:
            known[command] = undisturbed(command, good)
        return known[command]

    for count, case in enumerate(cases[:number]):
        if count and count % 200 == 0:
            print(f"{count} tried", flush=True)
        outcome, said = trial.judge(case, good, lambda command=case.command: wanted(command), rng)
        outcomes.append(outcome)
        if outcome not in ("read", "refused"):
            print(f"{outcome.upper():9s} {case}\n          {said[-600:]}", flush=True)
    print(trial.count(outcomes), flush=True)
    return len([outcome for outcome in outcomes if outcome not in ("read", "refused")])


def undisturbed(command, good: Path) -> dict[str, str]:
    """What the good inputs give. The trial would tell nothing where they are refused."""
    from torture import trial  # behind the path
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(good, Path(place) / "here")
        status, said = trial.run_command(command, Path(place) / "here", Path(place) / "log")
        if status:
            raise RuntimeError(f"{command.name} refuses good inputs: {said}")
        return trial.results_of(command, Path(place) / "here")


def any_input(seed: int, examples: int) -> int:
    """The readers under whatever Hypothesis makes up; 1 when it finds what one of them does not take or refuse."""
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_any_input.py",
                           f"--hypothesis-seed={seed}"], cwd=TESTS, capture_output=True, text=True,
                          env={**os.environ, "TORTURE_EXAMPLES": str(examples)})
    if done.returncode:
        print(f"TRACEBACK a reader\n{done.stdout[-3000:]}", flush=True)
    print(f"made up by Hypothesis: {examples} for each reader, {'found something' if done.returncode else 'all well'}")
    return int(done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
