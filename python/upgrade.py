#!/usr/bin/env python3
"""Brings nets, solvers and weights of older Caffe formats into today's. Without --out it only says what a file is.

    upgrade.py KevinNet_CIFAR10_48.caffemodel --out released_48.caffemodel
    upgrade.py old_deploy.prototxt
"""
import argparse
import os
import re
import sys

from driver_errors import DriverError
from run_files import refuse_existing, whole_file


def is_text(path):
    """Whether a file is text: weights hold zero bytes (a length, a bias) near their start."""
    with open(path, "rb") as file:
        return b"\0" not in file.read(1 << 16)


def read_prototxt(path):
    """("net" or "solver", its message). A net has layers, a solver names nets."""
    from caffe.proto import caffe_pb2
    from prototxt_files import read_text
    with open(path) as file:
        is_net = re.search(r"^\s*(layers?|input|input_dim|input_shape)\s*[:{]", file.read(), re.MULTILINE)
    if is_net:
        return "net", read_text(path, caffe_pb2.NetParameter(), "net")
    solver = read_text(path, caffe_pb2.SolverParameter(), "solver")
    if not solver.ByteSize():
        raise DriverError(f"{path} holds neither a net nor a solver")
    return "solver", solver


def read_old(path):
    """("net", "solver" or "weights", its message as it is)."""
    from weights import read_caffemodel, refuse_web_page
    refuse_web_page(path)
    return read_prototxt(path) if is_text(path) else ("weights", read_caffemodel(path))


def upgrade(path, out):
    """Writes `out` when given; returns the sentence that tells what the file is and what became of it."""
    from old_formats import TODAY, generation, solver_generation, upgraded_net, upgraded_solver
    from prototxt_files import message_text
    kind, message = read_old(path)
    found = solver_generation(message) if kind == "solver" else generation(message)
    about = f"{path}: {kind} in {found}"
    if not out:
        return about + ("" if found == TODAY else "; make upgrade FILE= OUT= writes it in today's (Caffe reads it as it is, too)")
    refuse_existing(out)
    folder = os.path.dirname(out) or "."
    os.makedirs(folder, exist_ok=True)
    today = upgraded_solver(message, path, folder) if kind == "solver" else upgraded_net(message, path, folder)
    with whole_file(out) as file:
        file.write(today.SerializeToString() if kind == "weights" else message_text(today).encode())
    return f"{about}; {'copied' if found == TODAY else 'upgraded'} to {out}"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="net or solver (prototxt), or caffemodel")
    parser.add_argument("--out", help="file to write; must not exist")
    options = parser.parse_args(argv)
    print(upgrade(options.file, options.out))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (DriverError, OSError) as error:
        sys.exit(f"upgrade: {error}")
