"""Weight files: what is in them, what of it a net takes, and what does not fit, before Caffe aborts on it."""
from dataclasses import dataclass
from math import prod
from pathlib import Path

import caffe
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf.message import DecodeError, Message

from process.errors import DriverError
from process.readers import read_bytes, regular_file

Shape = tuple[int, ...]


def read_caffemodel(path: Path) -> caffe_pb2.NetParameter:
    """NetParameter of a .caffemodel of any age. DriverError when the file is something else or cut off."""
    refuse_web_page(path)
    net = caffe_pb2.NetParameter()
    content = read_bytes(path, "caffemodel")
    try:
        net.ParseFromString(content)
    except DecodeError:
        raise DriverError(f"{path} is not a caffemodel, or cut off ({len(content):,} bytes): compare its checksum and "
                          "fetch it again") from None
    if not stored_layers(net):
        raise DriverError(f"{path} holds no layer with weights: is it a caffemodel?")
    return net


def _check_lengths(path: Path, net: caffe_pb2.NetParameter) -> None:
    """Each blob has as many values as its shape says: Caffe would abort without a word of the file."""
    for layer in _layers_with_weights(net):
        for blob in layer.blobs:
            values, shape = len(blob.data) or len(blob.double_data), _blob_shape(blob)
            if values != prod(shape):
                raise DriverError(f"{path}: layer {layer.name} has {values} values for the shape {shape}: the file is "
                                  "damaged. Fetch or make it again")


def refuse_web_page(path: Path) -> None:
    """DriverError when a file is the error page that some servers send in place of it."""
    with open(regular_file(path, "caffemodel"), "rb") as file:
        start = file.read(512).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DriverError(f"{path} is a web page, not a caffemodel: the download went wrong; fetch it again")


def stored_layers(net: caffe_pb2.NetParameter) -> dict[str, list[Shape]]:
    """{layer name: [shape of each blob]} of the layers with weights; V1 and V0 files (`layers`, 4-d blobs) as well."""
    return {layer.name: [_blob_shape(blob) for blob in layer.blobs] for layer in _layers_with_weights(net)}


def _layers_with_weights(net: caffe_pb2.NetParameter) -> list[Message]:
    old = [layer.layer if layer.HasField("layer") else layer for layer in net.layers]
    return [layer for layer in [*net.layer, *old] if layer.blobs]


def _blob_shape(blob: caffe_pb2.BlobProto) -> Shape:
    if blob.HasField("shape"):
        return tuple(blob.shape.dim)
    return (blob.num, blob.channels, blob.height, blob.width)


def shapes_agree(stored: Shape, wanted: Shape) -> bool:
    """Caffe's rule: equal, or a legacy 4-d shape that is the wanted one with ones put in front."""
    if len(stored) == 4 and len(wanted) < 4:
        return stored == (1,) * (4 - len(wanted)) + tuple(wanted)
    return tuple(stored) == tuple(wanted)


@dataclass(frozen=True)
class Match:
    """Layers of a net that a weight file fills, those it leaves to their fillers, and the file's own others."""
    loaded: list[str]
    initialised: list[str]
    unused: list[str]

    def sentence(self, path: Path) -> str:
        """What was loaded and what was not, for the terminal."""
        parts = [f"loaded from {path}: {', '.join(self.loaded)}"]
        if self.initialised:
            parts.append(f"initialised by their fillers: {', '.join(self.initialised)}")
        if self.unused:
            parts.append(f"in the file but not in the net: {', '.join(self.unused)}")
        return "; ".join(parts)


def match(path: Path, net: caffe.Net) -> Match:
    """Compares a weight file with a net. DriverError when no layer matches by name or a shape differs."""
    content = read_caffemodel(path)
    _check_lengths(path, content)
    stored = stored_layers(content)
    wanted = {name: [tuple(blob.data.shape) for blob in blobs] for name, blobs in net.params.items()}
    loaded = [name for name in wanted if name in stored]
    if not loaded:
        raise DriverError(f"{path}: none of its layers ({', '.join(stored)}) is in the net ({', '.join(wanted)}), so "
                          "nothing would be loaded. Give the weights of this kind of net, or WEIGHTS=none for a start "
                          "from the fillers")
    for name in loaded:
        _same_shapes(path, name, stored[name], wanted[name])
    return Match(loaded, initialised=[name for name in wanted if name not in stored],
                 unused=[name for name in stored if name not in wanted])


def load(path: Path, net: caffe.Net) -> Match:
    """Fills a net from a weight file. DriverError as match(), and for values that are NaN or infinite."""
    found = match(path, net)
    net.copy_from(str(path))
    broken = layer_not_finite(net)
    if broken:
        raise DriverError(f"{path}: layer {broken} has weights that are not finite (NaN or infinite): the file is "
                          "broken, or its training diverged. Take another one")
    return found


def layer_not_finite(net: caffe.Net) -> str | None:
    """The first layer of a net with a NaN or infinite weight; None when there is none."""
    return next((name for name, blobs in net.params.items()
                 if not all(np.isfinite(blob.data.sum(dtype=np.float64)) for blob in blobs)), None)


def _same_shapes(path: Path, name: str, stored: list[Shape], wanted: list[Shape]) -> None:
    if len(stored) != len(wanted):
        raise DriverError(f"{path}: layer {name} has {len(stored)} blobs, the net wants {len(wanted)}")
    for have, want in zip(stored, wanted):
        if not shapes_agree(have, want):
            raise DriverError(f"{path}: layer {name} has shape {have}, the net wants {want}. Rename the layer in the "
                              "net to train it anew, or use weights of the same code length and classes")
