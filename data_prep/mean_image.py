"""ImageNet's mean image from the Caffe sources (a numpy file) -> the .binaryproto that Caffe's Data layer reads."""
import argparse
import sys
from pathlib import Path

from prep.errors import run_program

# isort: split
from databases.mean import MEAN_NPY, Options, convert


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    convert(options)
    print(f"{options.out}: mean image 3x256x256 BGR from {options.npy}")
    return 0


def parse(argv: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--npy", type=Path, default=MEAN_NPY, metavar="FILE", help="mean image, (3, 256, 256) BGR")
    parser.add_argument("--own", action="store_true", help="it is a mean image of your own: do not check its SHA-256")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the .binaryproto to write")
    return Options(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(run_program(main))
