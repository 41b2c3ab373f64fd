"""The small net of caffe_cases in Caffe's V0 and V1 formats, and today's weights written as files of those years."""

from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_cases import BATCH, BITS, CLASSES, CROP, SCALE

INPUT = f'name: "tiny"\ninput: "data"\ninput_dim: {BATCH}\ninput_dim: 3\ninput_dim: {CROP}\ninput_dim: {CROP}\n'

# (name, V1 type, bottom, top, V1 parameters, V0 type, V0 parameters)
LAYERS = (
    (
        "conv1",
        "CONVOLUTION",
        "data",
        "conv1",
        "convolution_param { num_output: 8 kernel_size: 5 stride: 2 %s }",
        "conv",
        "num_output: 8 kernelsize: 5 stride: 2 %s",
    ),
    ("relu1", "RELU", "conv1", "conv1", "", "relu", ""),
    (
        "fc6",
        "INNER_PRODUCT",
        "conv1",
        "fc6",
        "inner_product_param { num_output: 32 %s }",
        "innerproduct",
        "num_output: 32 %s",
    ),
    ("relu6", "RELU", "fc6", "fc6", "", "relu", ""),
    ("drop6", "DROPOUT", "fc6", "fc6", "", "dropout", ""),
    (
        "fc7",
        "INNER_PRODUCT",
        "fc6",
        "fc7",
        "inner_product_param { num_output: 16 %s }",
        "innerproduct",
        "num_output: 16 %s",
    ),
    ("relu7", "RELU", "fc7", "fc7", "", "relu", ""),
    ("drop7", "DROPOUT", "fc7", "fc7", "dropout_param { dropout_ratio: 0.25 }", "dropout", "dropout_ratio: 0.25"),
    (
        "fc8_kevin",
        "INNER_PRODUCT",
        "fc7",
        "fc8_kevin",
        f"inner_product_param {{ num_output: {BITS} %s }}",
        "innerproduct",
        f"num_output: {BITS} %s",
    ),
    ("fc8_kevin_encode", "SIGMOID", "fc8_kevin", "fc8_kevin_encode", "", "sigmoid", ""),
    (
        "fc8_pascal",
        "INNER_PRODUCT",
        "fc8_kevin_encode",
        "fc8_pascal",
        f"inner_product_param {{ num_output: {CLASSES} %s }}",
        "innerproduct",
        f"num_output: {CLASSES} %s",
    ),
)
FILLER = 'weight_filler { type: "xavier" }'


def v1_layer(name, kind, bottom, top, options):
    return f'layers {{ name: "{name}" type: {kind} bottom: "{bottom}" top: "{top}" {options} }}\n'


def v0_layer(name, kind, bottom, top, options):
    return f'layers {{ layer {{ name: "{name}" type: "{kind}" {options} }} bottom: "{bottom}" top: "{top}" }}\n'


def body(form, filler=""):
    """Text of conv1 to fc8_pascal in the format "v0" or "v1"."""
    lines = []
    for name, kind, bottom, top, options, old_kind, old_options in LAYERS:
        v1 = form == "v1"
        text = options if v1 else old_options
        lines.append(
            (v1_layer if v1 else v0_layer)(name, kind if v1 else old_kind, bottom, top, text.replace("%s", filler))
        )
    return "".join(lines)


def deploy(form, classifier=True):
    """A deploy net with `input:` and `input_dim:`; without classifier it ends with the codes, as the authors' does."""
    text = INPUT + body(form)
    if not classifier:
        return text[:text.rindex("layers")]
    return text + (v1_layer if form == "v1" else v0_layer)(
        "prob", "SOFTMAX" if form == "v1" else "softmax", "fc8_pascal", "prob", ""
    )


V1_TRAIN = "".join(f"""layers {{ name: "data" type: DATA top: "data" top: "label" include {{ phase: {phase} }}
  data_param {{ source: "{source}" batch_size: {BATCH} backend: LMDB }}
  transform_param {{ crop_size: {CROP} {mirror} mean_file: "mean.binaryproto" scale: {SCALE} }} }}
""" for phase, source, mirror in (("TRAIN", "train_lmdb", "mirror: true"), ("TEST", "test_lmdb", "")))
V1_TRAIN += body("v1", FILLER) + 'layers { name: "loss" type: SOFTMAX_LOSS bottom: "fc8_pascal" bottom: "label" }\n'
V0_TRAIN = (
    f"""layers {{ layer {{ name: "data" type: "data" source: "train_lmdb" meanfile: "mean.binaryproto"
  batchsize: {BATCH} cropsize: {CROP} scale: {SCALE} mirror: true
  det_context_pad: 16 det_crop_mode: "warp" }} top: "data" top: "label" }}
"""
    + body("v0", FILLER)
    + 'layers { layer { name: "loss" type: "softmax_loss" } bottom: "fc8_pascal" bottom: "label" }\n'
)


def legacy_blob(blob):
    """The blob with its dimensions as (num, channels, height, width), ones in front."""
    old = caffe_pb2.BlobProto(data=blob.data)
    dims = [1] * (4 - len(blob.shape.dim)) + list(blob.shape.dim)
    old.num, old.channels, old.height, old.width = dims
    return old


def old_weights(content, text):
    """Bytes of an old caffemodel: the net of an old deploy text with the blobs of today's file, as written then."""
    stored = {layer.name: layer.blobs for layer in caffe_pb2.NetParameter.FromString(content).layer}
    net = text_format.Parse(text, caffe_pb2.NetParameter())
    for layer in net.layers:
        layer = layer.layer if layer.HasField("layer") else layer
        layer.blobs.extend(legacy_blob(blob) for blob in stored.get(layer.name, ()))
    return net.SerializeToString()
