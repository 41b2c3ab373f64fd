"""Whether Caffe can compute on a GPU: one pass of a small net.

    python -m gpu.probe 0     status 0 when it can

Caffe aborts on a GPU it cannot use, so this is a process of its own. `caffe device_query` would not tell: it starts no
kernel, so that a build for other architectures passes it.
"""
import os
import resource
import sys
import tempfile

import caffe
import numpy as np

# The convolution goes through cuDNN where Caffe was built with it, ReLU and Dropout through kernels of Caffe's own (and
# cuRAND), InnerProduct through cuBLAS.
NET = """name: "probe" force_backward: true
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "constant" value: 0.1 } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "relu" relu_param { engine: CAFFE } }
layer { name: "drop" type: "Dropout" bottom: "relu" top: "drop" }
layer { name: "ip" type: "InnerProduct" bottom: "drop" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "constant" value: 0.1 } } }
"""


def probe(gpu: int) -> bool:
    """Whether the small net gives the numbers it must. Caffe aborts where the GPU cannot be used."""
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
        file.write(NET)
        file.flush()
        caffe.set_device(gpu)
        caffe.set_mode_gpu()
        net = caffe.Net(file.name, caffe.TRAIN)
    net.blobs["data"].data[...] = 1
    scores = net.forward()["ip"]
    net.blobs["ip"].diff[...] = 1
    net.backward()
    # 2.7 = 27 weights of 0.1; with half of 144 such values dropped and the others doubled, sums lie about
    # 0.1 * 144 * 2.7
    kept = scores.sum() / (6 * 0.1 * 144 * 2.7)
    return bool(np.isfinite(net.blobs["data"].diff).all() and 0.4 < kept < 1.6)


def main(gpu: int) -> int:
    """Probes the GPU; returns the exit status."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # an abort is an answer here
    if not probe(gpu):
        print("a small net gives wrong numbers on this GPU", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    status = main(int(sys.argv[1]))
    sys.stderr.flush()
    os._exit(status)  # Caffe's destructors may run after CUDA's
