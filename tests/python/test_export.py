"""ONNX files against Caffe, layer type by layer type, and OpenCV's own Caffe importer as a second opinion."""
import io

import caffe
import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

import export
import onnx_export.run
from caffe_cases import DEPLOY, run
from caffe_files.prototxt import read_net
from lenet_cases import write_lenet
from onnx_export import graph as graph_module
from onnx_export.graph import Graph
from process.errors import DriverError

FILLER = 'weight_filler { type: "gaussian" std: 0.08 } bias_filler { type: "uniform" min: -0.2 max: 0.2 }'


def layer(name, kind, bottom, top, options=""):
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{top}" {options} }}\n'


def input_layer(*shape):
    return (
        'layer { name: "data" type: "Input" top: "data" input_param { shape { '
        + " ".join(f"dim: {d}" for d in shape)
        + " } } }\n"
    )


# CaffeNet in small: every layer type and option it has, and sizes at which Caffe's pooling rounds up (17 -> 8 -> 4).
SMALL = (input_layer(2, 3, 39, 39)
         + layer("conv1", "Convolution", "data", "conv1", "convolution_param "
                                                          f"{{ num_output: 8 kernel_size: 7 stride: 2 {FILLER} }}")
         + layer("relu1", "ReLU", "conv1", "conv1")
         + layer("pool1", "Pooling", "conv1", "pool1", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }")
         + layer("norm1", "LRN", "pool1", "norm1", "lrn_param { local_size: 5 alpha: 0.01 beta: 0.75 }")
         + layer("conv2", "Convolution", "norm1", "conv2",
                 f"convolution_param {{ num_output: 12 kernel_size: 5 pad: 2 group: 2 {FILLER} }}")
         + layer("relu2", "ReLU", "conv2", "conv2")
         + layer("pool2", "Pooling", "conv2", "pool2", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }")
         + layer("fc7", "InnerProduct", "pool2", "fc7", f"inner_product_param {{ num_output: 24 {FILLER} }}")
         + layer("relu7", "ReLU", "fc7", "fc7") + layer("drop7", "Dropout", "fc7", "fc7")
         + layer("fc8_kevin", "InnerProduct", "fc7", "fc8_kevin", f"inner_product_param {{ num_output: 12 {FILLER} }}")
         + layer("fc8_kevin_encode", "Sigmoid", "fc8_kevin", "fc8_kevin_encode")
         + layer("fc8_pascal", "InnerProduct", "fc8_kevin_encode", "fc8_pascal",
                 'inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 2 } }')
         + layer("prob", "Softmax", "fc8_pascal", "prob"))


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The small CaffeNet with random weights as deploy.prototxt and model.caffemodel in the current directory."""
    monkeypatch.chdir(tmp_path)
    return make_net(tmp_path, SMALL)


def make_net(folder, text):
    """A pycaffe net of a text, its weights drawn by its fillers, saved beside."""
    caffe.set_random_seed(5)
    (folder / "deploy.prototxt").write_text(text)
    net = caffe.Net(str(folder / "deploy.prototxt"), caffe.TEST)
    net.save(str(folder / "model.caffemodel"))
    return net


def images_for(net, count, seed=0):
    return np.random.default_rng(seed).normal(0, 2, (count, *net.blobs["data"].data.shape[1:])).astype(np.float32)


def by_caffe(net, images, blobs):
    net.blobs["data"].reshape(*images.shape)
    net.reshape()
    net.blobs["data"].data[...] = images
    net.forward()
    return [net.blobs[blob].data.copy() for blob in blobs]


def by_onnx(model, images, blobs):
    options = onnxruntime.SessionOptions()  # no threads in this process: other tests fork it
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model if isinstance(model, (str, bytes)) else model.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
    )
    return session.run(blobs, {session.get_inputs()[0].name: images})


def exported(folder, *options, net="deploy.prototxt"):
    """(exit status, what it said) of the program, in a process of its own: onnxruntime's threads survive no fork."""
    return run("export.py", "--net", net, "--weights", "model.caffemodel", "--out", "model.onnx", *options, cwd=folder)


BLOBS = ["fc7", "fc8_kevin_encode", "prob"]


def test_the_file_computes_what_caffe_computes_for_any_number_of_images(small, tmp_path):
    status, said = exported(tmp_path)
    assert status == 0
    assert "model.onnx: 0.0 MB, outputs fc8_kevin_encode, fc7, prob" in said
    assert "fc8_kevin_encode: onnxruntime differs from Caffe by at most" in said
    for count in (1, 2, 5):
        images = images_for(small, count)
        for blob, wanted, found in zip(BLOBS, by_caffe(small, images, BLOBS), by_onnx("model.onnx", images, BLOBS)):
            assert found.shape == wanted.shape, blob
            assert wanted.std() > 0.01, blob
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5, err_msg=blob)


def test_opencv_reads_the_same_latent_activations(small):
    images = images_for(small, 4)
    net = cv2.dnn.readNetFromCaffe("deploy.prototxt", "model.caffemodel")
    net.setInput(images)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # as above
    found = net.forward("fc8_kevin_encode")
    cv2.setNumThreads(threads)
    latent, = by_caffe(small, images, ["fc8_kevin_encode"])
    assert latent.std() > 0.05
    np.testing.assert_allclose(found, latent, atol=1e-4)


def test_the_file_tells_what_it_is(small, tmp_path):
    assert exported(tmp_path)[0] == 0
    model = onnx.load("model.onnx")
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert "BGR" in facts["input"]
    assert facts["outputs"] == "latent: fc8_kevin_encode, fc7: fc7, class scores: prob"
    assert facts["weights"].startswith("model.caffemodel sha256:")
    assert [value.name for value in model.graph.input] == ["data"]
    assert not any(node.op_type == "Dropout" for node in model.graph.node)


def test_a_run_is_exported_with_its_own_pre_processing(tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tiny_run.folder)
    status, said = run("export.py", "--run", "run", "--out", tmp_path / "run.onnx", cwd=tiny_run.folder)
    assert status == 0, said
    facts = {entry.key: entry.value for entry in onnx.load(str(tmp_path / "run.onnx")).metadata_props}
    assert facts["input"] == ("BGR (or grey), 0..255, minus mean image mean.binaryproto, times 0.0078125, "
                              "central crop of 20")
    net = caffe.Net("run/deploy.prototxt", "run/final.caffemodel", caffe.TEST)
    images = images_for(net, 3)
    np.testing.assert_allclose(
        by_onnx(str(tmp_path / "run.onnx"), images, ["prob"])[0], by_caffe(net, images, ["prob"])[0], atol=1e-5
    )


def test_only_codes_of_a_model_without_classifier(small, tmp_path):
    text = SMALL[:SMALL.index('layer { name: "fc8_pascal"')]
    (tmp_path / "codes.prototxt").write_text(text)
    assert exported(tmp_path, "--feature-blob", "none", net="codes.prototxt")[0] == 0
    assert [value.name for value in onnx.load("model.onnx").graph.output] == ["fc8_kevin_encode"]


VARIANTS = {
    "max pooling with padding": "pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 1 }",
    "max pooling of unequal sides": "pooling_param { pool: MAX kernel_h: 2 kernel_w: 3 stride_h: 2 stride_w: 1 }",
    "average pooling rounded up": "pooling_param { pool: AVE kernel_size: 3 stride: 2 }",
    "average pooling with padding": "pooling_param { pool: AVE kernel_size: 3 stride: 1 pad: 1 }",
    "stride beyond the kernel": "pooling_param { pool: MAX kernel_size: 1 stride: 4 }",
    "global maximum": "pooling_param { pool: MAX global_pooling: true }",
    "global mean": "pooling_param { pool: AVE global_pooling: true }",
}


@pytest.mark.parametrize("side", [8, 9, 10])
@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_pooling_sizes_are_caffe_s(tmp_path, options, side):
    check_graph(tmp_path, input_layer(2, 3, side, side) + layer("pool", "Pooling", "data", "out", options))


@pytest.mark.parametrize(
    "text",
    [
        layer(
            "c",
            "Convolution",
            "data",
            "out",
            f"convolution_param {{ num_output: 4 kernel_size: 3 dilation: 2 pad: 1 bias_term: false {FILLER} }}",
        ),
        layer(
            "c",
            "Convolution",
            "data",
            "out",
            f"convolution_param {{ num_output: 4 kernel_h: 3 kernel_w: 2 pad_h: 1 pad_w: 0 {FILLER} }}",
        ),
        layer("r", "ReLU", "data", "out", "relu_param { negative_slope: 0.1 }"),
        layer("t", "TanH", "data", "out"),
        layer("t", "Threshold", "data", "out", "threshold_param { threshold: 0.5 }"),
        layer("f", "Flatten", "data", "out"),
        layer(
            "i",
            "InnerProduct",
            "data",
            "out",
            f"inner_product_param {{ num_output: 4 transpose: true bias_term: false {FILLER} }}",
        ),
        layer("s", "Softmax", "data", "out"),
        layer("n", "LRN", "data", "out", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.6 k: 2 }"),
        layer("r", "ReLU", "data", "data") + layer("s", "Sigmoid", "data", "mid") + layer("d", "Dropout", "mid", "out"),
    ],
    ids=[
        "dilation",
        "kernel sides",
        "leaky",
        "tanh",
        "threshold",
        "flatten",
        "transposed",
        "softmax",
        "lrn",
        "dropout last",
    ],
)
def test_other_layers_and_options(tmp_path, text):
    check_graph(tmp_path, input_layer(2, 3, 9, 9) + text)


def check_graph(folder, text):
    """A graph of a text computes what Caffe computes, in every element."""
    net = make_net(folder, text)
    model = Graph(read_net(folder / "deploy.prototxt"), net, ["out"]).model("t", {})
    images = images_for(net, 3)
    wanted, found = by_caffe(net, images, ["out"])[0], by_onnx(model, images, ["out"])[0]
    assert found.shape == wanted.shape
    assert wanted.std() > 0.01
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "text, words",
    [
        (layer("odd", "Power", "data", "out"), "layer odd is of type Power, which export does not know"),
        (
            layer("n", "LRN", "data", "out", "lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 }"),
            r"layer n .LRN.: normalisation within",
        ),
        (layer("p", "Pooling", "data", "out", "pooling_param { pool: STOCHASTIC kernel_size: 2 }"), "stochastic"),
        (
            layer("p", "Pooling", "data", "out", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }"),
            "padding is cut at one end",
        ),
    ],
)
def test_what_has_no_counterpart_is_named(tmp_path, text, words):
    net = make_net(tmp_path, input_layer(2, 3, 8, 8) + text)
    with pytest.raises(DriverError, match=words):
        Graph(read_net(tmp_path / "deploy.prototxt"), net, ["out"])


def test_a_layer_behind_the_outputs_does_not_matter(tmp_path):
    net = make_net(
        tmp_path, input_layer(2, 3, 8, 8) + layer("s", "Sigmoid", "data", "out") + layer("odd", "Power", "out", "end")
    )
    assert len(Graph(read_net(tmp_path / "deploy.prototxt"), net, ["out"]).nodes) == 1


def test_a_wrong_graph_is_not_written(small, monkeypatch, tmp_path):
    """A converter that gets an option wrong, as a mistake of ours would: nothing may be written."""
    monkeypatch.setitem(graph_module.LAYERS, "LRN", lambda graph, lrn: graph.node("Relu", lrn, [graph.bottom(lrn)]))
    options = export.parse_arguments(
        ["--net", "deploy.prototxt", "--weights", "model.caffemodel", "--out", "model.onnx"]
    )
    with pytest.raises(DriverError, match="differs from Caffe's by .* no rounding"):
        onnx_export.run.export(options, io.StringIO())
    assert not list(tmp_path.glob("model.onnx*"))


def test_a_model_without_deploy_net_gets_the_template_s(tmp_path):
    make_net(tmp_path, write_lenet(tmp_path / "lenet.prototxt").read_text())
    (tmp_path / "deploy.prototxt").write_text("mine")
    status, said = run("export.py", "--weights", "model.caffemodel", "--out", "lenet.onnx", cwd=tmp_path)
    assert status == 0
    assert "model.caffemodel is LeNet, 12 bits, 7 classes; its deploy net is written to lenet.deploy.prototxt" in said
    assert (tmp_path / "deploy.prototxt").read_text() == "mine"
    assert [value.name for value in onnx.load(str(tmp_path / "lenet.onnx")).graph.output] == [
        "fc8_kevin_encode",
        "fc7",
        "prob",
    ]


def test_an_unknown_layer_and_an_existing_file_are_one_sentence(small, tmp_path):
    (tmp_path / "deploy.prototxt").write_text(SMALL.replace('"Sigmoid"', '"BNLL"'))
    status, said = exported(tmp_path)
    assert status == 1
    assert "layer fc8_kevin_encode is of type BNLL" in said
    assert "Traceback" not in said
    (tmp_path / "model.onnx").write_text("mine")
    status, said = exported(tmp_path)
    assert status == 1
    assert "model.onnx exists" in said
    assert (tmp_path / "model.onnx").read_text() == "mine"


def test_the_small_problem_s_deploy_net_has_only_known_layers(tmp_path):
    net = make_net(tmp_path, DEPLOY)
    assert Graph(read_net(tmp_path / "deploy.prototxt"), net, ["fc8_kevin_encode"]).nodes


def test_a_file_that_is_there_stays_and_no_log_is_begun(small, tmp_path, call):
    (tmp_path / "model.onnx").write_text("mine")
    before = sorted(path.name for path in tmp_path.iterdir())
    status, said = call("export", "--weights", "model.caffemodel", "--net", "deploy.prototxt", "--out", "model.onnx")
    assert status == 1
    assert "model.onnx exists" in said
    assert (tmp_path / "model.onnx").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == before
