"""What a make target starts from is there, or is fetched: asked for before anything long begins.

experiment: images (the user's, databases made before, or public files) and initial weights.
released: the model that the paper's authors published. Everything that is missing is named at once.
name: prints the name of a data set of the user's, by what it holds and how its file or folder is called.
"""
import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from prep.errors import PrepError, run_program

# isort: split
from databases.origin import check_made_from
from downloads.needed import Experiment, Released
from sources.naming import dataset_name


@dataclass(frozen=True)
class Named:
    """data: the user's images, file or directory."""
    data: Path

    def check(self) -> None:
        """Prints the data set's name. PrepError for what is not there or holds no images."""
        if not self.data.exists():
            raise PrepError(f"DATA={self.data}: no such file or directory")
        print(dataset_name(self.data))


def main(argv: list[str] | None = None) -> int:
    asked = parse(argv)
    asked.check()
    if isinstance(asked, Experiment) and asked.data:
        check_made_from(asked.databases, asked.data)
    return 0


def parse(argv: list[str] | None) -> Experiment | Released | Named:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    inputs = parser.add_subparsers(dest="inputs", required=True)
    experiment = inputs.add_parser("experiment", help="images and initial weights")
    experiment.add_argument("--dataset", required=True, help="name of the data set")
    experiment.add_argument("--data", type=_path, help="images of the user's, file or directory; empty: none")
    experiment.add_argument("--weights", type=Path, required=True, metavar="FILE|none", help="initial weights")
    experiment.add_argument("--databases", type=Path, required=True, metavar="DIR", help="data/<set>")
    experiment.add_argument("--target", default="train-cifar", help="the make target that the advice names")
    released = inputs.add_parser("released", help="the authors' released model")
    released.add_argument("--bits", required=True, help="its code length")
    released.add_argument("--file", type=_path, help="a caffemodel of the user's; empty: none")
    named = inputs.add_parser("name", help="the name of a data set of the user's")
    named.add_argument("--data", type=Path, required=True, metavar="PATH", help="images, file or directory")
    for program in (experiment, released):
        program.add_argument("--to", type=Path, default=Path("data/downloads"), metavar="DIR", help="for downloads")
    args = vars(parser.parse_args(argv))
    return {"experiment": Experiment, "released": Released, "name": Named}[args.pop("inputs")](**args)


def _path(text: str) -> Path | None:
    return Path(text) if text else None


if __name__ == "__main__":
    sys.exit(run_program(main))
