"""The nets and solvers: the authors' definition value by value, BVLC's CaffeNet up to fc7; Caffe takes them as is."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from google.protobuf.json_format import MessageToDict

from caffe_cases import REPO, images_of, write_lmdb
from caffe_files.prototxt import message_text
from caffe_files.tools import caffe_tool
from nets import template
from nets.definitions import DATASETS, DataSet, Setting, deploy, solver, train_val

LEARNED = [{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}]
NEW = [{"lr_mult": 10, "decay_mult": 1}, {"lr_mult": 20, "decay_mult": 0}]


def fillers(std, bias):
    return {"weight_filler": {"type": "gaussian", "std": std}, "bias_filler": {"type": "constant", "value": bias}}


# The definition by hand, from the paper's release: CaffeNet, latent layer of h units, classifier on its activations.
MAX_POOL = {"pooling_param": {"pool": "MAX", "kernel_size": 3, "stride": 2}}
LRN = {"lrn_param": {"local_size": 5, "alpha": 0.0001, "beta": 0.75}}
HALF = {"dropout_param": {"dropout_ratio": 0.5}}
TRANSFORM = {"crop_size": 227, "mean_file": "data/ilsvrc_2012_mean.binaryproto"}
AUTHORS_NET = {
    "conv1": ("Convolution", "data", {"num_output": 96, "kernel_size": [11], "stride": [4]}, (0.01, 0), LEARNED),
    "relu1": ("ReLU", "conv1", {}),
    "pool1": ("Pooling", "conv1", MAX_POOL),
    "norm1": ("LRN", "pool1", LRN),
    "conv2": (
        "Convolution",
        "norm1",
        {"num_output": 256, "pad": [2], "kernel_size": [5], "group": 2},
        (0.01, 1),
        LEARNED,
    ),
    "relu2": ("ReLU", "conv2", {}),
    "pool2": ("Pooling", "conv2", MAX_POOL),
    "norm2": ("LRN", "pool2", LRN),
    "conv3": ("Convolution", "norm2", {"num_output": 384, "pad": [1], "kernel_size": [3]}, (0.01, 0), LEARNED),
    "relu3": ("ReLU", "conv3", {}),
    "conv4": (
        "Convolution",
        "conv3",
        {"num_output": 384, "pad": [1], "kernel_size": [3], "group": 2},
        (0.01, 1),
        LEARNED,
    ),
    "relu4": ("ReLU", "conv4", {}),
    "conv5": (
        "Convolution",
        "conv4",
        {"num_output": 256, "pad": [1], "kernel_size": [3], "group": 2},
        (0.01, 1),
        LEARNED,
    ),
    "relu5": ("ReLU", "conv5", {}),
    "pool5": ("Pooling", "conv5", MAX_POOL),
    "fc6": ("InnerProduct", "pool5", {"num_output": 4096}, (0.005, 1), LEARNED),
    "relu6": ("ReLU", "fc6", {}),
    "drop6": ("Dropout", "fc6", HALF),
    "fc7": ("InnerProduct", "fc6", {"num_output": 4096}, (0.005, 1), LEARNED),
    "relu7": ("ReLU", "fc7", {}),
    "drop7": ("Dropout", "fc7", HALF),
    "fc8_kevin": ("InnerProduct", "fc7", {"num_output": 48}, (0.005, 1), LEARNED),
    "fc8_kevin_encode": ("Sigmoid", "fc8_kevin", {}),
    "fc8_pascal": ("InnerProduct", "fc8_kevin_encode", {"num_output": 10}, (0.01, 0), NEW),
}
IN_PLACE = ("ReLU", "Dropout")
AUTHORS_SOLVER = {
    "net": "prototxt/cifar10_caffenet_48/train_val.prototxt",
    "test_iter": [313],
    "test_interval": 1000,
    "base_lr": 0.001,
    "display": 20,
    "max_iter": 50000,
    "lr_policy": "step",
    "gamma": 0.1,
    "stepsize": 25000,
    "momentum": 0.9,
    "weight_decay": 0.0005,
    "snapshot": 10000,
    "snapshot_prefix": "cifar10_caffenet_48",
    "average_loss": 20,
}


def expected_layer(name, kind, bottom, values, filler=None, param=None):
    layer = {"name": name, "type": kind, "bottom": [bottom], "top": [bottom if kind in IN_PLACE else name]}
    if filler is None:
        return layer | values
    key = "convolution_param" if kind == "Convolution" else "inner_product_param"
    return layer | {"param": param, key: values | fillers(*filler)}


def data_layer(phase, source, **transform):
    return {
        "name": "data",
        "type": "Data",
        "top": ["data", "label"],
        "include": [{"phase": phase}],
        "transform_param": TRANSFORM | transform,
        "data_param": {"source": source, "batch_size": 32, "backend": "LMDB"},
    }


def plain(message):
    """A message as a dict of what it sets, floats rounded to the 7 digits that float32 has."""
    def rounded(value):
        if isinstance(value, dict):
            return {name: rounded(part) for name, part in value.items()}
        if isinstance(value, list):
            return [rounded(part) for part in value]
        return float(f"{value:.6g}") if isinstance(value, float) else value
    return rounded(MessageToDict(message, preserving_proto_field_name=True))


def committed(name, role):
    with open(os.path.join(REPO, "prototxt", name, f"{role}.prototxt")) as file:
        return text_format.Parse(
            file.read(), caffe_pb2.SolverParameter() if role == "solver" else caffe_pb2.NetParameter()
        )


def test_train_net_is_the_authors():
    layers = [plain(layer) for layer in committed("cifar10_caffenet_48", "train_val").layer]
    scores = ["fc8_pascal", "label"]
    assert layers == [
        data_layer("TRAIN", "data/cifar10/train_lmdb", mirror=True), data_layer("TEST", "data/cifar10/test_lmdb"),
        *(expected_layer(name, *row) for name, row in AUTHORS_NET.items()),
        {"name": "accuracy", "type": "Accuracy", "bottom": scores, "top": ["accuracy"], "include": [{"phase": "TEST"}]},
        {"name": "loss", "type": "SoftmaxWithLoss", "bottom": scores, "top": ["loss"]}]


def test_deploy_net_is_the_same_without_what_trains():
    layers = [plain(layer) for layer in committed("cifar10_caffenet_48", "deploy").layer]
    expected = []
    for name, row in AUTHORS_NET.items():
        layer = expected_layer(name, *row)
        layer.pop("param", None)
        for key in ("convolution_param", "inner_product_param"):
            for filler in ("weight_filler", "bias_filler"):
                layer.get(key, {}).pop(filler, None)
        expected.append(layer)
    assert layers == [
        {
            "name": "data",
            "type": "Input",
            "top": ["data"],
            "input_param": {"shape": [{"dim": ["32", "3", "227", "227"]}]},
        },
        *expected,
        {"name": "prob", "type": "Softmax", "bottom": ["fc8_pascal"], "top": ["prob"]},
    ]


def test_solver_is_the_authors():
    assert plain(committed("cifar10_caffenet_48", "solver")) == AUTHORS_SOLVER


def test_conv1_to_fc7_are_those_of_caffes_own_file():
    path = os.path.join(os.path.dirname(caffe.__file__), "../../models/bvlc_reference_caffenet/train_val.prototxt")
    if not os.path.exists(path):
        pytest.skip(f"the Caffe in use has no {path}")
    with open(path) as file:
        reference = text_format.Parse(file.read(), caffe_pb2.NetParameter())
    theirs = [plain(layer) for layer in reference.layer]
    ours = [plain(layer) for layer in committed("cifar10_caffenet_48", "train_val").layer]
    names = list(AUTHORS_NET)[:list(AUTHORS_NET).index("drop7") + 1]
    assert [layer for layer in ours if layer["name"] in names] == [layer for layer in theirs if layer["name"] in names]
    assert len(names) == 21


def test_committed_files_are_the_templates_output(tmp_path):
    folders = sorted(entry.name for entry in os.scandir(os.path.join(REPO, "prototxt")) if entry.is_dir())
    assert folders == sorted(setting.name for setting in template.committed_settings())
    for setting in template.committed_settings():
        for name, text in template.files(setting, Path("prototxt", setting.name)).items():
            with open(os.path.join(REPO, "prototxt", setting.name, name)) as file:
                assert file.read() == text, f"prototxt/{setting.name}/{name}: run python/net_template.py --all"


@pytest.mark.parametrize(
    "dataset, classes, bits", [("cifar10", 10, b) for b in (12, 16, 32, 48, 64, 128)] + [("yahoo1m", 116, 128)]
)
def test_every_code_length_is_a_net_caffe_builds(tmp_path, dataset, classes, bits):
    """The deploy nets as they are but for a batch of one, the 4096 units narrowed: 230 MB a net say nothing here."""
    setting = Setting(DATASETS[dataset], "caffenet", bits)
    net = deploy(setting)
    net.layer[0].input_param.shape[0].dim[0] = 1
    for layer in net.layer:
        if layer.inner_product_param.num_output == 4096:
            layer.inner_product_param.num_output = 64
    (tmp_path / "deploy.prototxt").write_text(text_format.MessageToString(net))
    built = caffe.Net(str(tmp_path / "deploy.prototxt"), caffe.TEST)
    assert built.params["fc8_kevin"][0].data.shape == (bits, 64)
    assert built.params["fc8_pascal"][0].data.shape == (classes, bits)
    assert built.blobs["pool5"].data.shape == (1, 256, 6, 6)
    assert built.forward()["prob"].shape == (1, classes)
    widths = {
        layer.name: layer.inner_product_param.num_output
        for layer in train_val(setting).layer
        if layer.type == "InnerProduct"
    }
    assert widths == {"fc6": 4096, "fc7": 4096, "fc8_kevin": bits, "fc8_pascal": classes}


def test_the_solver_tests_the_whole_test_set():
    assert [
        solver(Setting(DATASETS[name], net, 48), "n").test_iter[0]
        for name, net in (("cifar10", "caffenet"), ("mnist", "lenet"), ("digits", "lenet"), ("yahoo1m", "caffenet"))
    ] == [313, 157, 16, 3512]
    assert Setting(DataSet("shoes", 7), "caffenet", 64).lmdb("train") == "data/shoes/train_lmdb"


def test_program_writes_nets_for_a_data_set_of_ones_own(tmp_path, call):
    status, said = call("net_template", "--dataset", "shoes", "--classes", 7, "--bits", 64, "--out", tmp_path)
    assert (status, said.strip()) == (0, str(tmp_path / "shoes_caffenet_64"))
    assert sorted(os.listdir(tmp_path / "shoes_caffenet_64")) == [
        "deploy.prototxt",
        "solver.prototxt",
        "train_val.prototxt",
    ]


@pytest.mark.parametrize("options, words", [
    (["--dataset", "shoes"], "give its number of classes"), (["--dataset", "cifar10", "--classes", 7], "cifar10 has "
                                                                                                       "10"),
    (["--dataset", "shoes", "--classes", 7, "--bits", 0], "--bits must be at least 1")])
def test_settings_that_make_no_net(tmp_path, options, words):
    made = subprocess.run(
        [sys.executable, os.path.join(REPO, "python/net_template.py"), *map(str, options), "--out", tmp_path],
        capture_output=True,
        text=True,
    )
    assert made.returncode == 1
    assert words in made.stderr
    assert "Traceback" not in made.stderr
    assert not os.listdir(tmp_path)


def test_caffe_train_takes_the_files_unchanged(tmp_path):
    """Caffe's own program on the committed LeNet solver, in a folder that has nothing but prototxt/ and data/."""
    os.symlink(os.path.join(REPO, "prototxt"), tmp_path / "prototxt")
    for split, count in (("train", 200), ("test", 100)):
        write_lmdb(tmp_path / f"data/digits28/{split}_lmdb", *images_of(count, 3, classes=10, side=28, channels=1))
    training = subprocess.Popen(
        [caffe_tool("caffe"), "train", "-solver", "prototxt/digits_lenet_48/solver.prototxt"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ, GLOG_minloglevel="0"),
    )
    log = []
    for line in training.stderr:
        log.append(line)
        if "Iteration 60 " in line:
            training.send_signal(signal.SIGINT)  # 1,000 iterations say no more: Caffe takes a snapshot and stops
    assert training.wait(60) == 0
    log = "".join(log)
    losses = [
        float(line.split("loss = ")[1]) for line in log.splitlines() if "Iteration" in line and ", loss = " in line
    ]
    assert len(losses) >= 4
    assert np.isfinite(losses).all()
    assert "Test net output #0: accuracy" in log
    assert "Snapshotting to binary proto file digits_lenet_48_iter_" in log


def test_numbers_are_written_as_people_write_them_and_read_back_the_same():
    solver = caffe_pb2.SolverParameter(base_lr=0.001, gamma=1, power=1 / 3, momentum=5e-5, stepsize=25000, net="std: "
                                                                                                               "1.0")
    text = message_text(solver)
    assert {"base_lr: 0.001", "gamma: 1", "momentum: 5e-05", "stepsize: 25000", 'net: "std: 1.0"'} <= set(
        text.splitlines()
    )
    assert text_format.Parse(text, caffe_pb2.SolverParameter()) == solver
