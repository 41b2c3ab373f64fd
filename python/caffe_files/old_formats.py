"""Caffe's older formats of nets, solvers and weights: recognised, and brought into today's by Caffe's own tools.

V0            2013: `layers { layer { name type ... } bottom top }`. The authors' training nets.
V1            2014: `layers { name type: CONVOLUTION ... }`, weights of four dimensions. Their deploy net and models.
input fields  2014-2016: `input:` and `input_dim:` in front of today's layers.

Caffe upgrades whatever it loads, so none of this has to be done before a file is used.
"""
import subprocess
import tempfile
from pathlib import Path

from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_files.tools import caffe_tool
from process.errors import DriverError

TODAY = "today's format"
LEGACY_BLOBS = "today's layers with blobs of four dimensions"
LEGACY_DIMENSIONS = ("num", "channels", "height", "width")
# Of V0's window data layer. The authors' training nets have them in their data layers, where they mean nothing: Caffe
# logs them as unknown and goes on, its upgrade tools stop.
WINDOW_OPTIONS = ("det_context_pad", "det_crop_mode", "det_fg_threshold", "det_bg_threshold", "det_fg_fraction")
# Dimensions of a layer's weights; biases have one. Other layers with weights are younger than the old shapes.
WEIGHT_DIMENSIONS = {"Convolution": 4, "Deconvolution": 4, "InnerProduct": 2}


def generation(net: caffe_pb2.NetParameter) -> str:
    """Name of the format of a NetParameter; TODAY when nothing has to be renewed."""
    if any(layer.HasField("layer") for layer in net.layers):
        return "Caffe's V0 format"
    if net.layers:
        return "Caffe's V1 format"
    if net.input:
        return "today's layers with input fields"
    if any(not blob.HasField("shape") for layer in net.layer for blob in layer.blobs):
        return LEGACY_BLOBS
    return TODAY


def solver_generation(solver: caffe_pb2.SolverParameter) -> str:
    """Name of the format of a SolverParameter."""
    return "the format with solver_type" if solver.HasField("solver_type") else TODAY


def options_without_use(net: caffe_pb2.NetParameter) -> list[str]:
    """Options of V0 layers that Caffe ignores, as "option of layer"."""
    return [f"{option} of {layer.name}" for layer, option in _without_use(net)]


def _without_use(net: caffe_pb2.NetParameter) -> list[tuple[caffe_pb2.V0LayerParameter, str]]:
    layers = [outer.layer for outer in net.layers if outer.HasField("layer")]
    return [(layer, option) for layer in layers if layer.type != "window_data"
            for option in WINDOW_OPTIONS if layer.HasField(option)]


def upgraded_net(net: caffe_pb2.NetParameter, path: Path, folder: Path | None = None) -> caffe_pb2.NetParameter:
    """NetParameter in today's format, weights included; the same object when it is already. path is for messages.

    Data layers that read LevelDB, which the old formats took for granted, read LMDB then: today's builds have none.
    What options_without_use() lists is left out.
    """
    if generation(net) == TODAY:
        return net
    old = caffe_pb2.NetParameter()
    old.CopyFrom(net)
    for layer, option in _without_use(old):
        layer.ClearField(option)
    net = old
    if generation(net) != LEGACY_BLOBS:
        content = _by_tool("upgrade_net_proto_binary", net.SerializeToString(), path, folder)
        net = caffe_pb2.NetParameter.FromString(content)
    for layer in net.layer:
        _renew_shapes(layer)
        if layer.type == "Data":
            layer.data_param.backend = caffe_pb2.DataParameter.LMDB
    return net


def upgraded_solver(solver: caffe_pb2.SolverParameter, path: Path,
                    folder: Path | None = None) -> caffe_pb2.SolverParameter:
    """SolverParameter in today's format; the same object when it is already."""
    if solver_generation(solver) == TODAY:
        return solver
    text = text_format.MessageToString(solver).encode()
    return text_format.Parse(_by_tool("upgrade_solver_proto_text", text, path, folder), caffe_pb2.SolverParameter())


def _by_tool(name: str, content: bytes, path: Path, folder: Path | None) -> bytes:
    """What one of Caffe's upgrade tools makes of a file's content. folder: for its two temporary files."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        old, new = Path(place) / "old", Path(place) / "new"
        old.write_bytes(content)
        done = subprocess.run([caffe_tool(name), old, new], capture_output=True, text=True)
        if done.returncode:
            words = [line.split("] ", 1)[-1] for line in done.stderr.splitlines() if line.startswith(("E", "F"))]
            why = words[0] if words else f"{name} ended with {done.returncode}"
            raise DriverError(f"{path} cannot be upgraded: {why}")
        return new.read_bytes()


def _renew_shapes(layer: caffe_pb2.LayerParameter) -> None:
    """Blobs of (num, channels, height, width) get today's shape, e.g. (1, 1, 48, 4096) -> (48, 4096)."""
    for number, blob in enumerate(layer.blobs):
        if blob.HasField("shape") or layer.type not in WEIGHT_DIMENSIONS:
            continue
        dimensions = WEIGHT_DIMENSIONS[layer.type] if number == 0 else 1
        blob.shape.dim.extend([getattr(blob, name) for name in LEGACY_DIMENSIONS][4 - dimensions:])
        for name in LEGACY_DIMENSIONS:
            blob.ClearField(name)
