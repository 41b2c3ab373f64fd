"""Cut a run's database into shards for the nodes of a cluster.

    .venv/bin/python eval/shards.py --features runs/demo/features --out runs/demo/shards --shards 4

`make shards RUN=demo` calls it so. Shards of the same features that are there already are kept.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from basics.program import run_program
from engines.shards import cut
from search.feature_set import load_split

SHARDS = 4


@dataclass(frozen=True)
class ShardOptions:
    """fc7: dtype of fc7 in the shards, None for that of the features.."""

    features: Path
    out: Path
    shards: int
    fc7: str | None


def parse_arguments(argv: list[str] | None) -> ShardOptions:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--features", type=Path, required=True, help="features of the run; its train/ is the database")
    add("--out", type=Path, help="folder of the shards (default: shards beside the features)")
    add("--shards", type=int, default=SHARDS, help="how many (default: %(default)s)")
    add("--fc7", choices=("float16", "float32"), help="fc7 in the shards (default: as in the features; float16 halves "
        "them, and rounds)")
    given = parser.parse_args(argv)
    return ShardOptions(given.features, given.out or given.features.parent / "shards", given.shards, given.fc7)


def main(argv: list[str] | None = None) -> int:
    options = parse_arguments(argv)
    database = load_split(options.features / "train")
    manifest, made = cut(database, options.out, options.shards, options.fc7)
    fc7 = f", fc7 of {manifest.fc7['units']:,} units as {manifest.fc7['dtype']}" if manifest.fc7 else ", no fc7"
    print(f"{options.out}: {len(manifest.shards)} shards of {manifest.count:,} images, {manifest.bits} bits{fc7}"
          f"{'' if made else '; kept, made from these features'}")
    return 0


if __name__ == "__main__":
    run_program(main)
