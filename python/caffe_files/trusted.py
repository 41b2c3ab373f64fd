"""Which layers a net may hold that comes from somewhere: those that compute, and the Data layers that were asked for.

A net is data to those who hand it on, and a program to Caffe: a Python layer imports any module, HDF5Output writes any
file, and several layers read any.
"""
from collections.abc import Sequence

import caffe
from caffe.proto import caffe_pb2

from caffe_files.prototxt import data_layer, label_layer
from process.errors import DriverError

# All of BVLC Caffe's layers that touch no file and no code but Caffe's own. InfogainLoss is not there: it reads one.
COMPUTING = frozenset("""
    AbsVal Accuracy ArgMax BNLL BatchNorm BatchReindex Bias Clip Concat ContrastiveLoss Convolution Crop Deconvolution
    Dropout DummyData ELU Eltwise Embed EuclideanLoss Exp Filter Flatten HingeLoss Im2col Input InnerProduct LRN LSTM
    LSTMUnit Log MVN MultinomialLogisticLoss PReLU Parameter Pooling Power RNN ReLU Reduction Reshape SPP Scale Sigmoid
    SigmoidCrossEntropyLoss Silence Slice Softmax SoftmaxWithLoss Split Swish TanH Threshold Tile""".split())
# What a solver can name nets and weights by, beside `net`: the driver would check none of them.
ELSEWHERE = ("net_param", "train_net", "test_net", "train_net_param", "test_net_param", "weights")


def check_net(net: caffe_pb2.NetParameter, path: object, trusted: bool,
              data: Sequence[caffe_pb2.LayerParameter] = ()) -> None:
    """DriverError that names the first layer which does more than compute, unless the net is trusted, or has no size.

    net: in today's format. data: its Data layers that were asked for. path: of the net, for messages. A type that Caffe
    does not know is left to Caffe, which says so.
    """
    for layer in net.layer:
        wrong = next((side for shape in layer.input_param.shape for side in shape.dim if side < 1), None)
        if wrong is not None:
            raise DriverError(f"{path}: layer {layer.name!r} has a side of {wrong}: give the sizes of its images")
    if trusted:
        return
    known = set(caffe.layer_type_list())
    for layer in net.layer:
        if layer.type in known - COMPUTING and layer not in data:
            raise DriverError(f"{path}: layer {layer.name!r} is of type {layer.type}, which does more than compute: it "
                              "may read or write other files, or run code. Take it out, or say --trust-net if you "
                              "know where the net comes from")


def check_training_net(net: caffe_pb2.NetParameter, path: object, trusted: bool) -> None:
    """The same of a net for training, which starts with a Data layer in each phase, or two, of images and labels."""
    phases = (caffe_pb2.TRAIN, caffe_pb2.TEST)
    labels = [layer for phase in phases if (layer := label_layer(net, phase))]
    check_net(net, path, trusted, [data_layer(net, phase, path) for phase in phases] + labels)


def check_solver(solver: caffe_pb2.SolverParameter, path: object) -> None:
    """DriverError when a solver names nets or weights in a way that nobody would look at."""
    named = [field.name for field, _ in solver.ListFields() if field.name in ELSEWHERE]
    if named:
        raise DriverError(f"{path} has {named[0]}: the driver takes the net from  net: \"...\"  and weights from "
                          f"--weights. Take {named[0]} out")
