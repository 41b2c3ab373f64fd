"""Estimates the GPU memory a net needs, before Caffe is put on the card, where it aborts when that is full.

Counted are the blobs (data, and diff in training), what layers keep beside them, weights with gradient and momentum,
the batches read ahead, and allowances for cuDNN's workspaces and for CUDA itself. What a training or an extraction
makes of it is in their rooms.

An estimate. CaffeNet in training with batches of 32 took 2.98 GiB of an H200 (CUDA 13, cuDNN 9.19), where this says
3.04; that one run is all it was compared with.
"""
import json
import tempfile
from collections.abc import Sequence

from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_files.prototxt import layers_of_phase
from gpu.nvidia import Gpu, in_words
from process import abort_words
from process.errors import DriverError
from process.modules import run_module

# Bytes: CUDA's context, cuBLAS and cuDNN with the kernels that they load. On an H200 the small net of gpu/probe.py
# took 0.6 GiB, and CaffeNet in training 1.4 more than its arrays.
ALLOWANCE = 3 << 29
ANYWAY = "an estimate: --any-memory tries all the same"
NONE_FITS = "Not even one image at a time fits: free some (nvidia-smi tells who uses it), or say GPU=none"
ENGINES = {"Convolution": "convolution_param", "Pooling": "pooling_param", "LRN": "lrn_param", "ReLU": "relu_param",
           "Sigmoid": "sigmoid_param", "Softmax": "softmax_param", "SoftmaxWithLoss": "softmax_param",
           "TanH": "tanh_param"}


def input_net(net: caffe_pb2.NetParameter, phase: int, shapes: Sequence[Sequence[int]]) -> caffe_pb2.NetParameter:
    """The layers of a phase without their Data layer: Input of the shapes in its place, plain fillers, no cuDNN."""
    copy = caffe_pb2.NetParameter(name=net.name)
    copy.layer.extend(layers_of_phase(net, phase))
    first = next(layer for layer in copy.layer if layer.type in ("Data", "Input"))
    dims = [{"dim": shape} for shape in shapes]
    first.CopyFrom(caffe_pb2.LayerParameter(name=first.name, type="Input", top=first.top, input_param={"shape": dims}))
    for layer in copy.layer:
        layer.ClearField("include")
        layer.ClearField("exclude")
        for options in (layer.convolution_param, layer.inner_product_param):
            options.ClearField("weight_filler")
        if layer.type in ENGINES:
            options = getattr(layer, ENGINES[layer.type])
            options.engine = options.CAFFE
    return copy


def ask(net: caffe_pb2.NetParameter, phase: str, batches: Sequence[int]) -> tuple[int, list[dict[str, int]]]:
    """(bytes of the weights, what gpu.net_sizes tells of each batch) of a net that starts with an Input layer."""
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
        file.write(text_format.MessageToString(net))
        file.flush()
        asked = run_module("gpu.net_sizes", file.name, phase, *batches, CUDA_VISIBLE_DEVICES="")
    if asked.returncode:
        raise DriverError(f"Caffe cannot build the net {net.name!r}: "
                          f"{abort_words.last_words(asked.stderr) or asked.stderr[-500:]}")
    answer = json.loads(asked.stdout.splitlines()[-1])
    return answer["weights"], answer["sizes"]


def too_small(need: int, batch: int, gpu: Gpu) -> str:
    """Start of the sentence on a card that has less free than is needed."""
    return f"batches of {batch} need about {in_words(need)} of memory; {gpu}"
