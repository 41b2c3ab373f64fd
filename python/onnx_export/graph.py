"""A Caffe deploy net with weights as an ONNX graph: one function a layer type, values in single assignment.

Caffe's in-place layers (ReLU after fc7) write the same blob again; here every value has a name of its own, and the last
one of a blob carries the blob's name. Dropout does nothing in a deploy net and is left out.
"""
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import caffe
import numpy as np
import onnx
from caffe.proto.caffe_pb2 import LayerParameter, NetParameter
from onnx import TensorProto, helper, numpy_helper

from process.errors import DriverError

OPSET = 13       # read by every runtime since 2020
IR_VERSION = 8
BATCH = "batch"  # symbolic: any number of images


class Graph:
    """An ONNX graph in the making, of the layers of `net` (NetParameter) that `outputs` (blob names) need.

    blobs: the loaded pycaffe net, for weights and shapes. DriverError names a layer that has no counterpart here.
    """

    def __init__(self, net: NetParameter, blobs: caffe.Net, outputs: Sequence[str]) -> None:
        self.caffe_net = blobs
        self.layers = needed_layers(net, outputs)
        self.nodes, self.weights, self.inputs = [], [], []
        self.value = {}  # blob -> name of its present value
        self.last_writer = {top: layer.name for layer in self.layers if layer.type not in ("Dropout", "Input")
                            for top in layer.top}
        for layer in self.layers:  # an input keeps its name: what is written into its blob gets another
            if layer.type == "Input":
                self.last_writer[layer.top[0]] = layer.name
        for layer in self.layers:
            self._add(layer)
        self.outputs = [self._output(blob) for blob in outputs]

    def _shape(self, blob: str) -> list[str | int]:
        """The same with a batch of any size."""
        return [BATCH, *self.shape(blob)[1:]]

    def _output(self, blob: str) -> onnx.ValueInfoProto:
        """An output with its blob's name, whichever value the blob holds last."""
        if self.value[blob] != blob:  # Dropout alone wrote it
            self.nodes.append(helper.make_node("Identity", [self.value[blob]], [blob], name=f"{blob}.output"))
        return helper.make_tensor_value_info(blob, TensorProto.FLOAT, self._shape(blob))

    def shape(self, blob: str) -> tuple[int, ...]:
        """Shape of a blob (batch, ...)."""
        return self.caffe_net.blobs[blob].data.shape

    def _add(self, layer: LayerParameter) -> None:
        if layer.type not in LAYERS:
            raise DriverError(f"layer {layer.name} is of type {layer.type}, which export does not know (it knows "
                              f"{', '.join(sorted(LAYERS))}). Name blobs before it with --latent-blob and "
                              "--feature-blob, or leave it out")
        if layer.type == "Dropout":
            self.value[layer.top[0]] = self.value[layer.bottom[0]]
            return
        LAYERS[layer.type](self, layer)

    def add_input(self, blob: str) -> None:
        """An input of the graph, named as its blob."""
        self.inputs.append(helper.make_tensor_value_info(blob, TensorProto.FLOAT, self._shape(blob)))
        self.value[blob] = blob

    def weight(self, layer: LayerParameter, number: int) -> str:
        """Name of an initializer with a layer's weights (0) or bias (1)."""
        name = f"{layer.name}.{('weight', 'bias')[number]}"
        values = np.array(self.caffe_net.params[layer.name][number].data)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def parameters(self, layer: LayerParameter) -> list[str]:
        """Names of all of a layer's weights."""
        return [self.weight(layer, number) for number in range(len(self.caffe_net.params[layer.name]))]

    def constant(self, name: str, value: np.ndarray) -> str:
        """Name of an initializer with this value."""
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def node(self, kind: str, layer: LayerParameter, inputs: Sequence[str], between: str = "",
             **attributes: Any) -> str:
        """Adds a node; its value is the layer's top, or, with `between`, one on the way to it. Returns its name."""
        top = layer.top[0]
        final = not between and self.last_writer[top] == layer.name
        name = top if final else f"{layer.name}.{between or top}"
        node_name = f"{layer.name}.{between}" if between else layer.name
        self.nodes.append(helper.make_node(kind, inputs, [name], name=node_name, **attributes))
        if not between:
            self.value[top] = name
        return name

    def bottom(self, layer: LayerParameter) -> str:
        """Present value of a layer's (first) bottom."""
        return self.value[layer.bottom[0]]

    def model(self, name: str, metadata: dict[str, str]) -> onnx.ModelProto:
        """The checked ModelProto. metadata: {key: text} kept in the file."""
        graph = helper.make_graph(self.nodes, name or "net", self.inputs, self.outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
                                  producer_name="python/export.py")
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        return model


def needed_layers(net: NetParameter, outputs: Sequence[str]) -> list[LayerParameter]:
    """The layers that the wanted blobs depend on, in their order."""
    wanted, kept = set(outputs), []
    for layer in reversed(net.layer):
        if wanted & set(layer.top):
            kept.append(layer)
            wanted |= set(layer.bottom)
    return kept[::-1]


def unsupported(layer: LayerParameter, what: str) -> NoReturn:
    """DriverError about an option of a layer."""
    raise DriverError(f"layer {layer.name} ({layer.type}): {what} has no counterpart in ONNX that export knows")


def each(option: Sequence[int], default: int, count: int = 2) -> list[int]:
    """Caffe's repeated spatial options: none given, one for all axes, or one for each."""
    values = list(option) or [default]
    return values * count if len(values) == 1 else values


def spatial(options: Any, name: str, repeated: bool, default: int) -> list[int]:
    """(height, width) of kernel, stride or pad, whichever way the prototxt says it."""
    high, wide = ("kernel_h", "kernel_w") if name == "kernel_size" else (f"{name}_h", f"{name}_w")
    if options.HasField(high) or options.HasField(wide):
        return [getattr(options, high), getattr(options, wide)]
    value = getattr(options, name)
    return each(value, default) if repeated else [value if options.HasField(name) else default] * 2


def add_input(graph: Graph, layer: LayerParameter) -> None:
    graph.add_input(layer.top[0])


def add_convolution(graph: Graph, layer: LayerParameter) -> None:
    options = layer.convolution_param
    pad = spatial(options, "pad", True, 0)
    graph.node("Conv", layer, [graph.bottom(layer), *graph.parameters(layer)],
               kernel_shape=spatial(options, "kernel_size", True, 1), strides=spatial(options, "stride", True, 1),
               pads=pad * 2, dilations=each(options.dilation, 1), group=options.group)


def add_inner_product(graph: Graph, layer: LayerParameter) -> None:
    options = layer.inner_product_param
    if options.axis != 1:
        unsupported(layer, f"axis {options.axis}")
    flat = graph.bottom(layer)
    if len(graph.shape(layer.bottom[0])) != 2:
        flat = graph.node("Flatten", layer, [flat], "flat", axis=1)
    graph.node("Gemm", layer, [flat, *graph.parameters(layer)], transB=0 if options.transpose else 1)


def add_relu(graph: Graph, layer: LayerParameter) -> None:
    slope = layer.relu_param.negative_slope
    if slope:
        graph.node("LeakyRelu", layer, [graph.bottom(layer)], alpha=slope)
    else:
        graph.node("Relu", layer, [graph.bottom(layer)])


def add_pooling(graph: Graph, layer: LayerParameter) -> None:
    """Caffe rounds the size up; the end is padded by what that takes, so that ONNX's rounding down gives the same."""
    options = layer.pooling_param
    maximum = options.pool == options.MAX
    if not maximum and options.pool != options.AVE:
        unsupported(layer, "stochastic pooling")
    if options.global_pooling:
        graph.node("GlobalMaxPool" if maximum else "GlobalAveragePool", layer, [graph.bottom(layer)])
        return
    kernel, stride, pad = (spatial(options, name, False, default)
                           for name, default in (("kernel_size", 1), ("stride", 1), ("pad", 0)))
    sizes = zip(graph.shape(layer.bottom[0])[2:], graph.shape(layer.top[0])[2:])
    end = [max(0, (out - 1) * s + k - size - p) for (size, out), k, s, p in zip(sizes, kernel, stride, pad)]
    attributes = {"kernel_shape": kernel, "strides": stride, "pads": pad + end}
    if maximum:
        graph.node("MaxPool", layer, [graph.bottom(layer)], **attributes)
    elif any(pad) and end != pad:
        unsupported(layer, "average pooling whose padding is cut at one end")
    else:  # Caffe divides by the window within the padded image, which here ends where the image or its padding does
        graph.node("AveragePool", layer, [graph.bottom(layer)], count_include_pad=int(any(pad)), **attributes)


def add_lrn(graph: Graph, layer: LayerParameter) -> None:
    options = layer.lrn_param
    if options.norm_region != options.ACROSS_CHANNELS:
        unsupported(layer, "normalisation within channels")
    graph.node("LRN", layer, [graph.bottom(layer)], size=options.local_size, alpha=options.alpha, beta=options.beta,
               bias=options.k)


def add_softmax(graph: Graph, layer: LayerParameter) -> None:
    graph.node("Softmax", layer, [graph.bottom(layer)], axis=layer.softmax_param.axis)


def add_threshold(graph: Graph, layer: LayerParameter) -> None:
    """1 where the value is above the threshold: a latent layer that is binarised in the net."""
    limit = graph.constant(f"{layer.name}.threshold", np.float32(layer.threshold_param.threshold))
    above = graph.node("Greater", layer, [graph.bottom(layer), limit], "above")
    graph.node("Cast", layer, [above], to=TensorProto.FLOAT)


def add_flatten(graph: Graph, layer: LayerParameter) -> None:
    if (layer.flatten_param.axis, layer.flatten_param.end_axis) != (1, -1):
        unsupported(layer, "flattening of some axes")
    graph.node("Flatten", layer, [graph.bottom(layer)], axis=1)


def unary(kind: str) -> Callable[[Graph, LayerParameter], None]:
    """For a layer that is one ONNX node without attributes."""
    return lambda graph, layer: graph.node(kind, layer, [graph.bottom(layer)])


LAYERS = {"Input": add_input, "Convolution": add_convolution, "InnerProduct": add_inner_product, "ReLU": add_relu,
          "Pooling": add_pooling, "LRN": add_lrn, "Sigmoid": unary("Sigmoid"), "TanH": unary("Tanh"),
          "Softmax": add_softmax, "Threshold": add_threshold, "Flatten": add_flatten, "Dropout": None}
