"""SSDH, the authors' follow-up: its values one by one, its two terms and their gradients against numpy, a whole run."""
import csv
import json

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from test_model_file import caffenet_layers, v1_file
from test_nets import AUTHORS_NET, AUTHORS_SOLVER, NEW, committed, data_layer, expected_layer, plain

from caffe_cases import DEPLOY, TRAIN_VAL, change, write_problem
from nets.definitions import DATASETS, Setting, train_val
from nets.heads import add_ssdh_terms
from nets.model_file import Model, identify

# What the authors' train_val and solver hold that the paper's do not, by hand.
HEAD = {
    "latent": ("InnerProduct", "fc7", {"num_output": 48}, (0.01, 0), [{"lr_mult": 1, "decay_mult": 1},
                                                                      {"lr_mult": 2, "decay_mult": 0}]),
    "latent_sigmoid": ("Sigmoid", "latent", {}),
    "fc9": ("InnerProduct", "latent_sigmoid", {"num_output": 10}, (0.2, 0), NEW),
}
BODY = {name: row for name, row in AUTHORS_NET.items() if not name.startswith("fc8")}
SOLVER = AUTHORS_SOLVER | {"net": "prototxt/cifar10_ssdh_48/train_val.prototxt", "snapshot_prefix": "cifar10_ssdh_48",
                           "test_iter": [200], "display": 100, "random_seed": "42"}


def ssdh_terms(codes):
    """(forcing-binary, 50%-fire-rate) of codes (N, h), by the sums that the authors' layers go through."""
    images, bits = codes.shape
    binary, fire = 0.0, 0.0
    for image in codes.astype(np.float64):
        for unit in image:
            binary -= (unit - 0.5) ** 2
        fire += (sum(image) / bits - 0.5) ** 2
    return binary / (2 * images * bits), fire / (2 * images)


def ssdh_gradient(codes):
    """Of the sum of both terms by the codes, derived by hand: -(a - 1/2)/(N h) + (m - 1/2)/(N h)."""
    images, bits = codes.shape
    return (codes.mean(1, keepdims=True) - codes) / (images * bits)


def test_the_net_is_the_authors_value_by_value():
    layers = {layer["name"]: layer for layer in map(plain, committed("cifar10_ssdh_48", "train_val").layer)
              if layer["type"] != "Data"}
    for name, row in {**BODY, **HEAD}.items():
        assert layers.pop(name) == expected_layer(name, *row)
    assert layers.pop("accuracy")["bottom"] == ["fc9", "label"]
    assert layers.pop("loss") == {"name": "loss", "type": "SoftmaxWithLoss", "bottom": ["fc9", "label"],
                                  "top": ["loss"]}
    assert {name: layer.get("loss_weight") for name, layer in layers.items()} == {
        "binary_squares": None, "forcing_binary": [1], "fire_mean": None, "fire_squares": None, "fire_rate": [1]}


def test_batches_of_training_and_test_are_the_authors():
    train, test = [plain(layer) for layer in committed("cifar10_ssdh_48", "train_val").layer if layer.type == "Data"]
    assert train == data_layer("TRAIN", "data/cifar10/train_lmdb", mirror=True)
    expected = data_layer("TEST", "data/cifar10/test_lmdb")
    expected["data_param"]["batch_size"] = 50
    assert test == expected


def test_the_solver_is_the_authors_but_for_snapshots():
    """They take one at the end; here one every 10,000 iterations, so that a stopped run goes on."""
    assert plain(committed("cifar10_ssdh_48", "solver")) == SOLVER


@pytest.fixture(params=[(1, 1), (7, 5), (32, 48)], ids=str)
def terms(request, tmp_path):
    """(a net of the two terms alone whose input gets a gradient, random codes)."""
    spec = caffe.NetSpec()
    spec.codes = caffe.layers.Input(shape=dict(dim=list(request.param)))
    add_ssdh_terms(spec, spec.codes)
    message = spec.to_proto()
    message.force_backward = True
    (tmp_path / "terms.prototxt").write_text(text_format.MessageToString(message))
    net = caffe.Net(str(tmp_path / "terms.prototxt"), caffe.TRAIN)
    return net, np.random.default_rng(sum(request.param)).random(request.param).astype(np.float32)


def losses_of(net, codes):
    net.blobs["codes"].data[...] = codes
    found = net.forward()
    return float(found["forcing_binary"]), float(found["fire_rate"])


def test_the_terms_are_the_sums_of_the_authors_layers(terms):
    net, codes = terms
    np.testing.assert_allclose(losses_of(net, codes), ssdh_terms(codes), rtol=1e-5, atol=1e-9)


def test_their_gradient_is_the_one_derived_by_hand_and_by_finite_differences(terms):
    net, codes = terms
    losses_of(net, codes)
    net.backward()
    gradient = net.blobs["codes"].diff.copy()
    np.testing.assert_allclose(gradient, ssdh_gradient(codes), rtol=1e-4, atol=1e-8)
    step = 1e-6
    for row, column in list(np.ndindex(codes.shape))[:20]:
        shifted = [codes.astype(np.float64) for _ in range(2)]
        shifted[0][row, column] += step
        shifted[1][row, column] -= step
        up, down = (sum(ssdh_terms(values)) for values in shifted)
        assert gradient[row, column] == pytest.approx((up - down) / (2 * step), abs=1e-7)


def test_codes_of_zeros_and_ones_in_equal_parts_have_the_least_terms(terms):
    net, codes = terms
    if codes.shape[1] % 2:
        return
    codes[:] = np.tile([0.0, 1.0], codes.shape[1] // 2)
    assert losses_of(net, codes) == pytest.approx((-0.125, 0))


def test_any_code_length_and_class_count_is_a_net_of_the_template():
    widths = {layer.name: layer.inner_product_param.num_output for layer in
              train_val(Setting(DATASETS["yahoo1m"], "ssdh", 128)).layer if layer.type == "InnerProduct"}
    assert widths == {"fc6": 4096, "fc7": 4096, "latent": 128, "fc9": 116}


def test_a_file_of_weights_is_told_from_the_papers(tmp_path):
    layers = caffenet_layers(48)
    layers = {{"fc8_kevin": "latent", "fc8_pascal": "fc9"}.get(name, name): shape for name, shape in layers.items()}
    assert identify(v1_file(tmp_path / "m.caffemodel", layers)) == Model("ssdh", 48, 10)


def as_ssdh(text):
    """The small problem's net with SSDH's names and terms."""
    for old, new in (("fc8_kevin_encode", "latent_sigmoid"), ("fc8_kevin", "latent"), ("fc8_pascal", "fc9")):
        text = text.replace(f'"{old}"', f'"{new}"')
    return text


def test_a_run_trains_all_three_terms_and_is_extracted_by_its_own_blob(tmp_path, monkeypatch, call):
    spec = caffe.NetSpec()
    spec.codes = caffe.layers.Input(shape=dict(dim=[1, 1]))
    add_ssdh_terms(spec, spec.codes)
    added = caffe_pb2.NetParameter()
    added.layer.extend(spec.to_proto().layer[1:])
    added = text_format.MessageToString(added).replace('"codes"', '"latent_sigmoid"')
    write_problem(tmp_path, as_ssdh(TRAIN_VAL) + added, as_ssdh(DEPLOY))
    monkeypatch.chdir(tmp_path)
    status, said = call("train", "--solver", "solver.prototxt", "--run", "run", "--weights", "none", "--gpu", "none")
    assert status == 0, said
    with open("run/train_log.csv", newline="") as file:
        last = [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]][-1]
    status, said = call("extract", "--run", "run", "--lmdb", "train_lmdb", "--out", "features", "--gpu", "none",
                        "--protocol", "caffe")
    assert status == 0, said
    codes = np.load("features/latent.npy")
    net = caffe.Net("run/train_val.prototxt", "run/final.caffemodel", caffe.TEST)
    net.forward()
    binary, fire = ssdh_terms(net.blobs["latent_sigmoid"].data)
    assert net.blobs["forcing_binary"].data == pytest.approx(binary, rel=1e-4)
    assert net.blobs["fire_rate"].data == pytest.approx(fire, rel=1e-4)
    assert last < 1.2  # of ln(4) = 1.39: the softmax loss is still the larger part
    assert codes.std() > 0.1
    np.testing.assert_allclose(codes.max(), 1, atol=0.5)


@pytest.mark.parametrize("given, seed", [((), 7), (("--seed", 3), 3)])
def test_the_seed_is_the_solvers_unless_one_is_given(problem, call, given, seed):
    change(problem / "solver.prototxt", "max_iter: 200", "max_iter: 1 random_seed: 7")
    status, said = call("train", "--solver", "solver.prototxt", "--run", "run", "--weights", "none", "--gpu", "none",
                        "--test-every", 0, *given)
    assert status == 0, said
    assert json.loads((problem / "run/run.json").read_text())["seed"] == seed
