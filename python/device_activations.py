#!/usr/bin/env python3
"""fc7 and latent activations of one fixed batch on one device: what gpu_check.py compares. A process for each device.

    device_activations.py --setting prototxt/digits_lenet_48 --gpu none --out cpu.npz

The batch is the first of the TEST phase. Weights are those of --weights, or seeded noise of a size that keeps activations near 1.
"""
import argparse
import json
import os
import sys

import numpy as np

from driver_errors import DriverError
from native_guard import run_guarded
from nets import CODES, FC7


def first_batch(train_val):
    """(B, C, H, W) as the test phase sees it: mean, scale and crop by Caffe's own Data layer."""
    import caffe
    net = caffe.Net(train_val, caffe.TEST)
    net._forward(0, 0)
    return net.blobs["data"].data.copy()


def fill(net, seed, scale):
    """Seeded weights; those of the first layer are divided by the size of the input."""
    rng = np.random.default_rng(seed)
    for number, blobs in enumerate(net.params.values()):
        weights = blobs[0].data
        spread = np.sqrt(2 / weights[0].size) / (1 if number else scale)
        weights[...] = rng.normal(0, spread, weights.shape)
        blobs[1].data[...] = rng.normal(0, 0.1, blobs[1].data.shape)


def activations(options):
    import caffe
    import weights
    batch = first_batch(os.path.join(options.setting, "train_val.prototxt"))
    net = caffe.Net(os.path.join(options.setting, "deploy.prototxt"), caffe.TEST)
    if options.weights == "none":
        fill(net, options.seed, float(np.sqrt(np.mean(batch ** 2, dtype=np.float64))))
    else:
        weights.match(options.weights, net)
        net.copy_from(options.weights)
    net.blobs["data"].reshape(*batch.shape)
    net.reshape()
    net.blobs["data"].data[...] = batch
    net.forward()
    return {name: net.blobs[blob].data.copy() for name, blob in (("fc7", FC7), ("latent", CODES))}


def work(options, console):
    import device
    import loaded_libraries
    device.use(device.choose(options.gpu))
    found = activations(options)
    np.savez(options.out, versions=json.dumps(loaded_libraries.versions()), **found)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--setting", required=True, help="folder with train_val.prototxt and deploy.prototxt")
    parser.add_argument("--weights", default="none", metavar="FILE|none", help="caffemodel, or none for seeded noise")
    parser.add_argument("--seed", type=int, default=1, help="of the noise")
    parser.add_argument("--gpu", required=True, metavar="none|N", help="device")
    parser.add_argument("--out", required=True, help=".npz file to write")
    options = parser.parse_args(argv)
    return run_guarded(lambda console: work(options, console), os.path.splitext(options.out)[0] + ".log", "device_activations")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (DriverError, OSError) as error:
        sys.exit(f"device_activations: {error}")
