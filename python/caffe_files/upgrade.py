"""Tells what an old net, solver or caffemodel is, and writes it in today's format."""
import re
from pathlib import Path

from caffe.proto import caffe_pb2

from caffe_files.old_formats import (
    TODAY,
    generation,
    options_without_use,
    solver_generation,
    upgraded_net,
    upgraded_solver,
)
from caffe_files.prototxt import message_text, read_text
from caffe_files.weights import read_caffemodel, refuse_web_page
from process import readers
from process.errors import DriverError
from process.files import refuse_existing, whole_file

Net, Solver = caffe_pb2.NetParameter, caffe_pb2.SolverParameter


def upgrade(path: Path, out: Path | None) -> str:
    """Writes `out` when given; returns the sentence that tells what the file is and what became of it."""
    kind, message = read_any(path)
    found = solver_generation(message) if kind == "solver" else generation(message)
    about = f"{path}: {kind} in {found}{_left_out(kind, message)}"
    if not out:
        advice = "; make upgrade FILE= OUT= writes it in today's (Caffe reads it as it is, too)"
        return about + ("" if found == TODAY else advice)
    refuse_existing(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    today = (upgraded_solver if kind == "solver" else upgraded_net)(message, path, out.parent)
    with whole_file(out) as file:
        file.write(today.SerializeToString() if kind == "weights" else message_text(today).encode())
    return f"{about}; {'copied' if found == TODAY else 'upgraded'} to {out}"


def _left_out(kind: str, message: Net | Solver) -> str:
    without_use = [] if kind == "solver" else options_without_use(message)
    return f", without what Caffe ignores ({', '.join(without_use)})" if without_use else ""


def read_any(path: Path) -> tuple[str, Net | Solver]:
    """("net", "solver" or "weights", its message as it is)."""
    refuse_web_page(path)
    return _read_prototxt(path) if _is_text(path) else ("weights", read_caffemodel(path))


def _is_text(path: Path) -> bool:
    """Whether a file is text: weights hold zero bytes (a length, a bias) near their start."""
    with open(readers.regular_file(path), "rb") as file:
        return b"\0" not in file.read(1 << 16)


def _read_prototxt(path: Path) -> tuple[str, Net | Solver]:
    """("net" or "solver", its message). A net has layers, a solver names nets."""
    if re.search(r"^\s*(layers?|input|input_dim|input_shape)\s*[:{]", readers.read_text(path), re.MULTILINE):
        return "net", read_text(path, Net(), "net")
    solver = read_text(path, Solver(), "solver")
    if not solver.ByteSize():
        raise DriverError(f"{path} holds neither a net nor a solver")
    return "solver", solver
