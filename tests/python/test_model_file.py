"""Models of others: without a deploy net, with other names, with binarised codes, and files that are no such model."""
import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from caffe_cases import change, write_lmdb
from lenet_cases import write_lenet
from nets.definitions import DATASETS, Setting, deploy
from nets.model_file import Model, deploy_net, identify, write_deploy
from old_format_cases import legacy_blob
from process.errors import DriverError

BITS = (12, 16, 32, 48, 64, 128)


def caffenet_layers(bits=48, classes=10):
    """{layer: shapes} of a released model, from the publication: CaffeNet with the latent layer."""
    convolutions = {
        "conv1": (96, 3, 11),
        "conv2": (256, 48, 5),
        "conv3": (384, 256, 3),
        "conv4": (384, 192, 3),
        "conv5": (256, 192, 3),
    }
    inner = {"fc6": (4096, 9216), "fc7": (4096, 4096), "fc8_kevin": (bits, 4096), "fc8_pascal": (classes, bits)}
    return {name: (out, channels, side, side) for name, (out, channels, side) in convolutions.items()} | \
        {name: (1, 1, *shape) for name, shape in inner.items()}


def v1_file(path, layers):
    """A V1 file of these layers without values: shapes are all that tells what a model is."""
    net = caffe_pb2.NetParameter(name="CaffeNet")
    for name, shape in layers.items():
        layer = net.layers.add(name=name)
        for dims in (shape, (1, 1, 1, max(shape[0], shape[2] if shape[0] == 1 else 0))):
            layer.blobs.add(num=dims[0], channels=dims[1], height=dims[2], width=dims[3])
    path.write_bytes(net.SerializeToString())
    return path


@pytest.mark.parametrize("bits", BITS)
def test_the_six_released_code_lengths_are_told_by_their_layers(tmp_path, bits):
    assert identify(v1_file(tmp_path / "m.caffemodel", caffenet_layers(bits))) == Model("caffenet", bits, 10)


def test_its_deploy_net_is_the_template_s(tmp_path):
    net = deploy_net(identify(v1_file(tmp_path / "m.caffemodel", caffenet_layers())))
    assert net.layer == deploy(Setting(DATASETS["cifar10"], "caffenet", 48)).layer


def test_without_the_classifier_the_deploy_net_ends_with_the_codes(tmp_path):
    layers = caffenet_layers(32)
    del layers["fc8_pascal"]
    model = identify(v1_file(tmp_path / "m.caffemodel", layers))
    assert model == Model("caffenet", 32, None)
    assert str(model) == "CaffeNet, 32 bits, no classifier"
    assert deploy_net(model).layer[-1].name == "fc8_kevin_encode"


def wrong(change):
    layers = caffenet_layers()
    change(layers)
    return layers


@pytest.mark.parametrize(
    "layers, words",
    [
        (
            wrong(lambda layers: layers.pop("fc8_kevin")),
            "has no latent layer fc8_kevin or latent .it has conv1, .*--latent-blob",
        ),
        (
            wrong(lambda layers: layers.pop("conv3")),
            "another architecture than the template's CaffeNet: layer conv3 is missing.*--net",
        ),
        (
            wrong(lambda layers: layers.update(fc7=(1, 1, 2048, 4096))),
            r"layer fc7 has \(outputs, kernel\) \(2048, None\), not \(4096, None\)",
        ),
        (
            wrong(lambda layers: layers.update(conv1=(96, 3, 7, 7))),
            r"layer conv1 has .outputs, kernel. \(96, 7\), not \(96, 11\)",
        ),
        (wrong(lambda layers: layers.update(conv6=(9, 9, 3, 3))), "it has a layer conv6, which the template has not"),
    ],
)
def test_another_model_is_named(tmp_path, layers, words):
    with pytest.raises(DriverError, match=words):
        identify(v1_file(tmp_path / "m.caffemodel", layers))


@pytest.fixture
def lenet(tmp_path, monkeypatch):
    """A 12-bit LeNet from its fillers, as a V1 file without deploy net, and a database. Returns its activations."""
    monkeypatch.chdir(tmp_path)
    caffe.set_random_seed(3)
    net = caffe.Net(str(write_lenet(tmp_path / "train.prototxt")), caffe.TEST)
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 28, 28)).astype(np.uint8)
    write_lmdb(tmp_path / "images_lmdb", images, range(5))
    old = caffe_pb2.NetParameter()
    for name, blobs in net.params.items():
        layer = old.layers.add(name=name)
        for blob in blobs:
            stored = caffe_pb2.BlobProto(data=blob.data.ravel().tolist())
            stored.shape.dim.extend(blob.data.shape)
            layer.blobs.append(legacy_blob(stored))
    (tmp_path / "old.caffemodel").write_bytes(old.SerializeToString())
    net.blobs["data"].reshape(*images.shape)
    net.blobs["data"].data[:] = images.astype(np.float32) / 256
    net.forward()
    return {
        name: net.blobs[blob].data.copy()
        for name, blob in (("latent", "fc8_kevin_encode"), ("fc7", "fc7"), ("prob", "prob"))
    }


def extract(call, *options, out="features/test"):
    return call(
        "extract",
        "--weights",
        "old.caffemodel",
        "--lmdb",
        "images_lmdb",
        "--mean",
        "none",
        "--scale",
        1 / 256,
        "--gpu",
        "none",
        "--out",
        out,
        *options,
    )


def test_a_model_without_deploy_net_is_extracted(lenet, call, tmp_path):
    status, said = extract(call)
    assert status == 0
    assert (
        "no --net: old.caffemodel is LeNet, 12 bits, 7 classes; its deploy net is written to features/deploy.prototxt"
        in said
    )
    for name in ("latent", "fc7"):
        np.testing.assert_allclose(np.load(f"features/test/{name}.npy"), lenet[name], rtol=1e-5, atol=1e-6)
    assert np.load("features/test/latent.npy").std() > 0.01
    assert (np.load("features/test/predictions.npy") == lenet["prob"].argmax(1)).all()
    assert "kept, made from the same" in extract(call)[1]


def test_other_blob_names(lenet, call, tmp_path):
    """Blobs named as another project's; the layers keep their names, by which weights are taken."""
    write_deploy(tmp_path / "old.caffemodel", tmp_path / "deploy.prototxt")
    for old, new in (("fc8_kevin_encode", "encode_neuron"), ("fc7", "hidden")):
        for end in ("top", "bottom"):
            change(tmp_path / "deploy.prototxt", f'{end}: "{old}"', f'{end}: "{new}"')
    status, said = extract(call, "--net", "deploy.prototxt")
    assert status == 1
    assert "has no blob 'fc8_kevin_encode' (--latent-blob). It has: data, " in said
    assert "encode_neuron" in said
    status, said = extract(
        call, "--net", "deploy.prototxt", "--latent-blob", "encode_neuron", "--feature-blob", "hidden"
    )
    assert status == 0, said
    np.testing.assert_allclose(np.load("features/test/latent.npy"), lenet["latent"], rtol=1e-5)
    np.testing.assert_allclose(np.load("features/test/fc7.npy"), lenet["fc7"], rtol=1e-5, atol=1e-6)


def test_a_latent_layer_that_is_binarised_already(lenet, call, tmp_path):
    write_deploy(tmp_path / "old.caffemodel", tmp_path / "deploy.prototxt")
    with open("deploy.prototxt", "a") as file:
        file.write(
            'layer { name: "bits" type: "Threshold" bottom: "fc8_kevin_encode" top: "bits" '
            'threshold_param { threshold: 0.5 } }\n'
        )
    status, said = extract(call, "--net", "deploy.prototxt", "--latent-blob", "bits")
    assert status == 0, said
    bits = np.load("features/test/latent.npy")
    assert set(np.unique(bits)) == {0.0, 1.0}
    assert (bits == (lenet["latent"] > 0.5)).all()
    assert (np.load("features/test/predictions.npy") == lenet["prob"].argmax(1)).all()


def test_codes_before_the_sigmoid_are_refused(lenet, call):
    status, said = extract(call, "--latent-blob", "fc8_kevin")
    assert status == 1
    assert "blob fc8_kevin goes from" in said
    assert "behind the Sigmoid" in said


def test_another_code_length_than_the_deploy_net_s(lenet, call, tmp_path):
    write_deploy(tmp_path / "old.caffemodel", tmp_path / "deploy.prototxt")
    change(tmp_path / "deploy.prototxt", "num_output: 12", "num_output: 16")
    status, said = extract(call, "--net", "deploy.prototxt")
    assert status == 1
    assert "layer fc8_kevin has shape (1, 1, 12, 500), the net wants (16, 500)" in said
    assert "code length" in said
    assert "Traceback" not in said
    assert not (tmp_path / "features/test").exists()


def test_a_model_without_a_latent_layer_and_a_broken_download(lenet, call, tmp_path):
    whole = (tmp_path / "old.caffemodel").read_bytes()
    net = caffe_pb2.NetParameter.FromString(whole)
    kept = [layer for layer in net.layers if layer.name != "fc8_kevin"]
    write_deploy(tmp_path / "old.caffemodel", tmp_path / "deploy.prototxt")
    del net.layers[:]
    net.layers.extend(kept)
    for content, words in ((net.SerializeToString(), "has no weights for layer fc8_kevin"), (whole[:5000], "cut off"),
                           (b"<!DOCTYPE html><html>Dropbox - Error</html>", "web page"), (b"", "no layer with "
                                                                                               "weights")):
        (tmp_path / "old.caffemodel").write_bytes(content)
        for options in (("--net", "deploy.prototxt"), ()):
            status, said = extract(call, *options)
            assert status == 1, said
            assert "old.caffemodel" in said, said
            assert words in said or "has no latent layer" in said, said
