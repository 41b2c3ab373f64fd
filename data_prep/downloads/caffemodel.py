"""Whether a file is the caffemodel it should be, told without Caffe: downloads come before it is built."""
from collections.abc import Mapping
from functools import cache
from math import prod
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError, Message

from prep.errors import PrepError

Shape = tuple[int, ...]
# The part of caffe.proto that tells layers and shapes, of all three generations of the format; under a name of its own.
DESCRIPTION = """
name: "stored_weights.proto" package: "stored_weights" syntax: "proto2"
message_type { name: "Shape" field { name: "dim" number: 1 type: TYPE_INT64 label: LABEL_REPEATED } }
message_type { name: "Blob"
  field { name: "num" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL }
  field { name: "channels" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL }
  field { name: "height" number: 3 type: TYPE_INT32 label: LABEL_OPTIONAL }
  field { name: "width" number: 4 type: TYPE_INT32 label: LABEL_OPTIONAL }
  field { name: "data" number: 5 type: TYPE_FLOAT label: LABEL_REPEATED }
  field { name: "shape" number: 7 type: TYPE_MESSAGE type_name: ".stored_weights.Shape" label: LABEL_OPTIONAL }
  field { name: "double_data" number: 8 type: TYPE_DOUBLE label: LABEL_REPEATED } }
message_type { name: "OldestLayer"
  field { name: "name" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "blobs" number: 50 type: TYPE_MESSAGE type_name: ".stored_weights.Blob" label: LABEL_REPEATED } }
message_type { name: "OldLayer"
  field { name: "layer" number: 1 type: TYPE_MESSAGE type_name: ".stored_weights.OldestLayer" label: LABEL_OPTIONAL }
  field { name: "name" number: 4 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "blobs" number: 6 type: TYPE_MESSAGE type_name: ".stored_weights.Blob" label: LABEL_REPEATED } }
message_type { name: "Layer"
  field { name: "name" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "blobs" number: 7 type: TYPE_MESSAGE type_name: ".stored_weights.Blob" label: LABEL_REPEATED } }
message_type { name: "Net"
  field { name: "layers" number: 2 type: TYPE_MESSAGE type_name: ".stored_weights.OldLayer" label: LABEL_REPEATED }
  field { name: "layer" number: 100 type: TYPE_MESSAGE type_name: ".stored_weights.Layer" label: LABEL_REPEATED } }
"""


def check_layers(path: Path, wanted: Mapping[str, Shape]) -> None:
    """PrepError unless the file is a whole caffemodel with these layers: weights of that shape, and a bias.

    wanted: {layer: shape of its weights}. Layers beside them are no fault; shapes may have ones in front, as old files
    have.
    """
    net = _net_class()()
    try:
        net.ParseFromString(path.read_bytes())
    except DecodeError:
        raise PrepError(f"{path}: not a caffemodel, or cut short; {_ADVICE}") from None
    found = {layer.name: layer.blobs for layer in _stored(net)}
    for name, shape in wanted.items():
        if name not in found:
            raise PrepError(f"{path}: a caffemodel without the layer {name} (it has {', '.join(found) or 'none'}): "
                            f"another model; {_ADVICE}")
        shapes = [_shape(path, name, blob) for blob in found[name]]
        if shapes != [shape, shape[:1]]:
            raise PrepError(f"{path}: layer {name} has blobs of shape {shapes}, expected {[shape, shape[:1]]}: another "
                            f"model; {_ADVICE}")


_ADVICE = "remove it and fetch it again, or name another address"


@cache
def _net_class() -> type[Message]:
    file = text_format.Parse(DESCRIPTION, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("stored_weights.Net"))


def _stored(net: Message) -> list[Message]:
    """Its layers with weights."""
    old = [layer.layer if layer.HasField("layer") else layer for layer in net.layers]
    return [layer for layer in [*net.layer, *old] if layer.blobs]


def _shape(path: Path, name: str, blob: Message) -> Shape:
    """Without ones in front. PrepError when the blob holds another number of values."""
    shape = tuple(blob.shape.dim) if blob.HasField("shape") else (blob.num, blob.channels, blob.height, blob.width)
    values = len(blob.data) or len(blob.double_data)
    if values != prod(shape):
        raise PrepError(f"{path}: layer {name} has {values} values for the shape {shape}: damaged; {_ADVICE}")
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return shape
