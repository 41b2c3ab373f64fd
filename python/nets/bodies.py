"""Nets from their images to fc7."""
from typing import Any

from caffe import NetSpec
from caffe import layers as L

from nets.layers import XAVIER, conv, gaussian, hidden, lrn, max_pool


def caffenet_body(n: NetSpec) -> Any:
    """BVLC reference CaffeNet up to fc7: AlexNet with pooling before LRN, two groups in conv2, conv4 and conv5."""
    n.conv1 = conv(n.data, 96, 11, gaussian(0.01, 0), stride=4)
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    n.pool1 = max_pool(n.relu1, 3)
    n.norm1 = lrn(n.pool1)
    n.conv2 = conv(n.norm1, 256, 5, gaussian(0.01, 1), pad=2, group=2)
    n.relu2 = L.ReLU(n.conv2, in_place=True)
    n.pool2 = max_pool(n.relu2, 3)
    n.norm2 = lrn(n.pool2)
    n.conv3 = conv(n.norm2, 384, 3, gaussian(0.01, 0), pad=1)
    n.relu3 = L.ReLU(n.conv3, in_place=True)
    n.conv4 = conv(n.relu3, 384, 3, gaussian(0.01, 1), pad=1, group=2)
    n.relu4 = L.ReLU(n.conv4, in_place=True)
    n.conv5 = conv(n.relu4, 256, 3, gaussian(0.01, 1), pad=1, group=2)
    n.relu5 = L.ReLU(n.conv5, in_place=True)
    n.pool5 = max_pool(n.relu5, 3)
    n.fc6 = hidden(n.pool5, 4096, gaussian(0.005, 1))
    n.relu6 = L.ReLU(n.fc6, in_place=True)
    n.drop6 = L.Dropout(n.relu6, dropout_ratio=0.5, in_place=True)
    n.fc7 = hidden(n.drop6, 4096, gaussian(0.005, 1))
    n.relu7 = L.ReLU(n.fc7, in_place=True)
    n.drop7 = L.Dropout(n.relu7, dropout_ratio=0.5, in_place=True)
    return n.drop7


def lenet_body(n: NetSpec) -> Any:
    """Caffe's MNIST LeNet, its hidden layer of 500 units named fc7."""
    n.conv1 = conv(n.data, 20, 5, XAVIER)
    n.pool1 = max_pool(n.conv1, 2)
    n.conv2 = conv(n.pool1, 50, 5, XAVIER)
    n.pool2 = max_pool(n.conv2, 2)
    n.fc7 = hidden(n.pool2, 500, XAVIER)
    n.relu7 = L.ReLU(n.fc7, in_place=True)
    return n.relu7
