"""A small net and databases for the driver's tests: what a CaffeNet run has (crop, mirror, mean image, dropout, latent
layer), in milliseconds. Written as text, so that nothing of the driver makes its own test data."""
import os
import signal
import subprocess
import sys

import cv2
import lmdb
import numpy as np
from caffe.proto import caffe_pb2

REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SIDE, CROP, CLASSES, BITS, BATCH = 36, 20, 4, 8, 8
TRAIN_IMAGES, TEST_IMAGES = 60, 50  # the batch divides neither
SCALE = 0.0078125


def images_of(count, seed, classes=CLASSES, side=SIDE, channels=3):
    """(images (N, C, H, W) uint8, labels (N,)): a bright quadrant or stripe tells the class, the rest is noise."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    images = rng.integers(0, 90, (count, channels, side, side)).astype(np.uint8)
    step = side // classes
    for image, label in zip(images, labels):
        image[:, label * step:(label + 1) * step] += 150
    return images, labels


def write_lmdb(path, images, labels, encoded=False):
    """An LMDB as Caffe's convert_imageset makes one, and nothing beside it."""
    os.makedirs(path)
    with lmdb.open(str(path), map_size=1 << 28) as database, database.begin(write=True) as transaction:
        for row, (image, label) in enumerate(zip(images, labels)):
            datum = caffe_pb2.Datum(label=int(label))
            if encoded:
                datum.encoded, datum.data = True, cv2.imencode(".png", np.moveaxis(image, 0, 2))[1].tobytes()
            else:
                datum.channels, datum.height, datum.width = image.shape
                datum.data = image.tobytes()
            transaction.put(b"%08d" % row, datum.SerializeToString())


def write_mean(path, images):
    mean = images.mean(0, dtype=np.float64).astype(np.float32)
    blob = caffe_pb2.BlobProto(
        num=1, channels=mean.shape[0], height=mean.shape[1], width=mean.shape[2], data=mean.ravel().tolist()
    )
    with open(path, "wb") as file:
        file.write(blob.SerializeToString())
    return mean


def data_layer(phase, source, batch=BATCH, mirror=""):
    return f"""layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: {phase} }}
  transform_param {{ crop_size: {CROP} {mirror} mean_file: "mean.binaryproto" scale: {SCALE} }}
  data_param {{ source: "{source}" batch_size: {batch} backend: LMDB }} }}
"""


def inner(name, bottom, outputs):
    return f"""layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}"
  inner_product_param {{ num_output: {outputs} weight_filler {{ type: "xavier" }} }} }}
"""


BODY = (
    """layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 8 kernel_size: 5 stride: 2 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
"""
    + inner("fc6", "conv1", 32)
    + """layer { name: "relu6" type: "ReLU" bottom: "fc6" top: "fc6" }
layer { name: "drop6" type: "Dropout" bottom: "fc6" top: "fc6" }
"""
    + inner("fc7", "fc6", 16)
    + """layer { name: "relu7" type: "ReLU" bottom: "fc7" top: "fc7" }
layer { name: "drop7" type: "Dropout" bottom: "fc7" top: "fc7" dropout_param { dropout_ratio: 0.25 } }
"""
    + inner("fc8_kevin", "fc7", BITS)
    + """layer { name: "fc8_kevin_encode" type: "Sigmoid" bottom: "fc8_kevin" top: "fc8_kevin_encode" }
"""
    + inner("fc8_pascal", "fc8_kevin_encode", CLASSES)
)
TRAIN_VAL = (
    'name: "tiny"\n'
    + data_layer("TRAIN", "train_lmdb", mirror="mirror: true")
    + data_layer("TEST", "test_lmdb")
    + BODY
    + 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc8_pascal" bottom: "label" top: "loss" }\n'
)
DEPLOY = (
    'name: "tiny"\nlayer { name: "data" type: "Input" top: "data" input_param { shape { '
    f'dim: {BATCH} dim: 3 dim: {CROP} dim: {CROP} }} }} }}\n' + BODY
    + 'layer { name: "prob" type: "Softmax" bottom: "fc8_pascal" top: "prob" }\n'
)
SOLVER = """net: "train_val.prototxt" base_lr: 0.05 lr_policy: "step" gamma: 0.5 stepsize: 150 momentum: 0.9
weight_decay: 0.0005 max_iter: 200 snapshot: 50 test_iter: 7 test_interval: 100 display: 10 average_loss: 20
snapshot_prefix: "tiny"
"""


def write_problem(folder, train_val=TRAIN_VAL, deploy=DEPLOY, solver=SOLVER):
    """Databases, mean image and the three prototxt in a folder, to run programs in. Returns the mean image."""
    images, labels = images_of(TRAIN_IMAGES, 1)
    write_lmdb(folder / "train_lmdb", images, labels)
    write_lmdb(folder / "test_lmdb", *images_of(TEST_IMAGES, 2))
    for name, text in (("train_val", train_val), ("deploy", deploy), ("solver", solver)):
        (folder / f"{name}.prototxt").write_text(text)
    return write_mean(folder / "mean.binaryproto", images)


def change(path, old, new):
    """Replaces text that must be there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def start(program, *arguments, cwd):
    """A program of the driver in a session of its own; one thread keeps the tests' small nets quick."""
    return subprocess.Popen(
        [sys.executable, os.path.join(REPO, "python", program), *map(str, arguments)],
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=dict(os.environ, OMP_NUM_THREADS="1", GLOG_minloglevel="0"),
    )


def run(program, *arguments, cwd):
    """(exit status, what it said) of a program of the driver."""
    process = start(program, *arguments, cwd=cwd)
    out, err = process.communicate(timeout=600)
    return process.returncode, out + err


def kill(process):
    """kill -9 of the program; its children have to go with it."""
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)


def weights_of(path):
    """{(layer, blob number): float32 values} of a caffemodel."""
    net = caffe_pb2.NetParameter.FromString(path.read_bytes())
    return {
        (layer.name, i): np.array(blob.data, np.float32) for layer in net.layer for i, blob in enumerate(layer.blobs)
    }
