"""Convolutions that the CPU engine computes by Winograd's algorithm, beside Caffe's own; run by test_caffe_winograd.py.

A program of its own, since oneDNN reads once which instructions it may use. In: a folder and cases: "stride 1 SEED",
"stride 4 SEED" or a layer of CaffeNet. Out: JSON, {case: {what: [largest difference, largest value]}}. Caffe's log
names each layer that goes this way.
"""
import json
import sys
from pathlib import Path

import numpy as np

from engine_cases import both, layer_text


def random_square_convolution(rng):
    """(layer, shape): kernels of 3 and 5, maps that no tile divides, groups, all pads, with and without bias."""
    group = int(rng.choice([1, 1, 2, 3]))
    channels, outputs = (group * int(rng.choice([32, 33, 40, 48, 65])) for _ in range(2))
    kernel = int(rng.choice([3, 5]))
    pad_h, pad_w = (int(rng.integers(0, kernel)) for _ in range(2))
    top_height, top_width = rng.choice([7, 8, 11, 12, 15, 16], 2)
    options = (f"num_output: {outputs} kernel_size: {kernel} pad_h: {pad_h} pad_w: {pad_w} group: {group} "
               f"bias_term: {rng.choice(['true', 'false'])}")
    shape = (int(rng.choice([1, 2, 7, 19])), channels, int(top_height) + kernel - 1 - 2 * pad_h,
             int(top_width) + kernel - 1 - 2 * pad_w)
    return layer_text("Convolution", "convolution_param", options), shape


def random_with_stride_four(rng):
    """(layer, shape): few channels, kernels that squares of 4 x 4 divide or not, all pads, groups, one image."""
    group = int(rng.choice([1, 2]))
    channels, outputs = group * int(rng.choice([2, 3, 5])), group * int(rng.choice([32, 40, 65]))
    kernel = int(rng.choice([9, 10, 11, 12, 17, 20]))
    pad_h, pad_w = (int(rng.integers(0, kernel)) for _ in range(2))
    options = (f"num_output: {outputs} kernel_size: {kernel} stride: 4 pad_h: {pad_h} pad_w: {pad_w} group: {group} "
               f"bias_term: {rng.choice(['true', 'false'])}")
    shape = int(rng.choice([1, 2, 7])), channels, *(int(side) for side in rng.integers(40, 80, 2))
    return layer_text("Convolution", "convolution_param", options), shape


RANDOM = {"stride 1": random_square_convolution, "stride 4": random_with_stride_four}
# With a training batch: the longest sums that the project's nets have, over channels and over tiles.
CAFFENET = {"conv1": ("num_output: 96 kernel_size: 11 stride: 4", (32, 3, 227, 227)),
            "conv2": ("num_output: 256 kernel_size: 5 pad: 2 group: 2", (32, 96, 27, 27)),
            "conv3": ("num_output: 384 kernel_size: 3 pad: 1", (32, 256, 13, 13))}


def convolution(case):
    """(layer, shape, seed of the values) of a case."""
    if case in CAFFENET:
        options, shape = CAFFENET[case]
        return layer_text("Convolution", "convolution_param", options), shape, 0
    kind, seed = case.rsplit(" ", 1)
    return *RANDOM[kind](np.random.default_rng(int(seed))), int(seed)


def differences(folder, case):
    """{blob: [largest difference between the engines, largest value of Caffe's own]}"""
    stock, ours = both(folder, *convolution(case))
    return {what: [float(np.abs(ours[what] - wanted).max()), float(np.abs(wanted).max())]
            for what, wanted in stock.items()}


def main():
    folder = Path(sys.argv[1])
    print(json.dumps({case: differences(folder, case) for case in sys.argv[2:]}))


if __name__ == "__main__":
    main()
