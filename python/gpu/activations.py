"""fc7 and latent activations of one fixed batch on the device that Caffe of this process is on."""
import json
from pathlib import Path

import caffe
import numpy as np

from caffe_files import weights
from caffe_files.prototxt import read_net
from caffe_files.trusted import check_net, check_training_net
from gpu import device, loaded_libraries
from gpu.options import ActivationOptions
from nets.blobs import FC7, codes_blob


def first_batch(train_val: Path) -> np.ndarray:
    """(B, C, H, W) as the test phase sees it: mean, scale and crop by Caffe's own Data layer."""
    net = caffe.Net(str(train_val), caffe.TEST)
    net._forward(0, 0)
    return net.blobs["data"].data.copy()


def fill(net: caffe.Net, seed: int, scale: float) -> None:
    """Seeded weights; those of the first layer are divided by the size of the input."""
    rng = np.random.default_rng(seed)
    for number, blobs in enumerate(net.params.values()):
        values = blobs[0].data
        spread = np.sqrt(2 / values[0].size) / (1 if number else scale)
        values[...] = rng.normal(0, spread, values.shape)
        blobs[1].data[...] = rng.normal(0, 0.1, blobs[1].data.shape)


def activations(options: ActivationOptions) -> dict[str, np.ndarray]:
    """{"fc7", "latent": (B, d) float32} of the first test batch."""
    train_val, deploy = options.setting / "train_val.prototxt", options.setting / "deploy.prototxt"
    check_training_net(read_net(train_val), train_val, trusted=False)
    check_net(read_net(deploy), deploy, trusted=False)
    batch = first_batch(train_val)
    net = caffe.Net(str(deploy), caffe.TEST)
    if options.weights:
        weights.load(options.weights, net)
    else:
        fill(net, options.seed, float(np.sqrt(np.mean(batch ** 2, dtype=np.float64))))
    net.blobs["data"].reshape(*batch.shape)
    net.reshape()
    net.blobs["data"].data[...] = batch
    net.forward()
    return {name: net.blobs[blob].data.copy() for name, blob in (("fc7", FC7), ("latent", codes_blob(net.blobs)))}


def write_activations(options: ActivationOptions) -> None:
    """Chooses the device and writes the .npz: activations and `versions`, JSON of the libraries in use."""
    device.use(device.choose(options.gpu))
    found = activations(options)
    np.savez(options.out, versions=json.dumps(loaded_libraries.versions()), **found)
