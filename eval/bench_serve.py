"""How many requests the server of serve.py answers, and what it costs beside the bare search.

    .venv/bin/python eval/bench_serve.py                              60,000 made-up images, by row
    .venv/bin/python eval/bench_serve.py --run runs/demo --net ...    also uploads, through the net of a LeNet run
    .venv/bin/python eval/bench_serve.py --large 1000000              also a million codes, fc7 on disk

The served and the bare search of a query are timed in turn; every list is compared. Times on a shared machine vary.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

from basics.program import EvalError, positive, run_program

# isort: split
import numpy as np

from basics.files import write_json
from benchmarks.served import Server, asked_database, beside_bare, images_of, radius_for, write_features

CLIENTS = (1, 8, 64)


@dataclass(frozen=True)
class BenchOptions:
    """run: whose pictures are uploaded to its net; net: the words that start the net's process."""

    images: int
    large: int
    bits: int
    units: int
    large_units: int
    queries: int
    run: Path | None
    scratch: Path | None
    out: Path | None
    net: list[str]


def parse_arguments(argv: list[str] | None) -> BenchOptions:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--images", type=positive, default=60_000, help="default: %(default)s")
    add("--large", type=int, default=0, metavar="IMAGES", help="also a database of so many, by row alone")
    add("--bits", type=positive, default=48, help="default: %(default)s")
    add("--units", type=positive, default=500, help="of fc7 (default: %(default)s, LeNet's)")
    add("--large-units", type=positive, default=4096, help="of the large database's fc7 (default: %(default)s)")
    add("--queries", type=positive, default=400, help="default: %(default)s")
    add("--run", type=Path, help="a LeNet run with thumbs.npy: its pictures are uploaded")
    add("--scratch", type=Path, help="folder for the made-up features (default: the system's)")
    add("--out", type=Path, help="JSON of what was measured")
    add("--net", nargs=argparse.REMAINDER, default=[], help="last: the command of the run's net process")
    return BenchOptions(**vars(parser.parse_args(argv)))


def main(argv: list[str] | None = None) -> int:
    options = parse_arguments(argv)
    if bool(options.net) != bool(options.run):
        raise EvalError("--run and --net go together: the pictures of a run are uploaded to its own net")
    told = {"small": bench(options, options.images, options.units, options.net)}
    if options.large:
        told["large"] = bench(options, options.large, options.large_units, [])
    if options.out:
        write_json(options.out, told)
    return 0


def bench(options: BenchOptions, images: int, units: int, net: list[str]) -> dict:
    """Everything that is measured of one database, printed as it comes."""
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        features = Path(folder) / "features"
        write_features(Path(folder), images, options.bits, units)
        split, asked = asked_database(features)
        rows = np.random.default_rng(1).integers(0, images, options.queries)
        radius = radius_for(asked, split, rows[:50])
        print(f"\n{images:,} images, {options.bits} bits, fc7 of {units:,} units, T = {radius}, k = 10")
        with Server(features, net) as server:
            told = {"beside_bare": compare(server, split, asked, rows, radius)}
            paths = [(f"/api/search?of=train/{row}&k=10&T={radius}", b"") for row in rows]
            told["by_row"] = loads(server, "by row", paths)
            if net:
                uploads = images_of(options.run / "features/test/thumbs.npy", options.queries)
                told["uploads"] = loads(server, "uploads", [(f"/api/search?k=10&T={radius}", body) for body in uploads])
    return told


def compare(server: Server, split, asked, rows: np.ndarray, radius: int) -> dict:
    """What the server costs at one client: lists alone, and with the histogram and classes that the page shows."""
    told = {}
    for name, words in (("lists", "&search=hdl&pool=0"), ("page", "")):
        seconds, processor = beside_bare(server, split, asked, rows, radius, words)
        bare, served = (1000 * np.quantile(seconds[side], [0.5, 0.99]) for side in ("bare", "served"))
        cost = 1000 * float(np.median(np.subtract(seconds["served"], seconds["bare"])))
        told[name] = {"bare_p50_ms": bare[0], "bare_p99_ms": bare[1], "served_p50_ms": served[0],
                      "served_p99_ms": served[1], "cost_p50_ms": cost,
                      "processor_ms": {side: 1000 * spent for side, spent in processor.items()}}
        print(f"  {name:<8} bare p50 {bare[0]:6.1f} ms, p99 {bare[1]:6.1f} ms; served p50 {served[0]:6.1f} ms, "
              f"p99 {served[1]:6.1f} ms; the server costs {cost:.1f} ms (median); "
              f"processor time a query {1000 * processor['bare']:.1f} and {1000 * processor['served']:.1f} ms")
    return told


def loads(server: Server, name: str, requests: list[tuple[str, bytes]]) -> list[dict]:
    """1, 8 and 64 clients."""
    found = [server.load(clients, requests).told() for clients in CLIENTS]
    for row in found:
        print(f"  {name:<8} {row['clients']:>2} clients: {row['per_second']:6.0f} requests/s, "
              f"p50 {row['p50_ms']:7.1f} ms, p99 {row['p99_ms']:7.1f} ms, told to wait: {row['refused']}")
    return found


if __name__ == "__main__":
    run_program(main)
