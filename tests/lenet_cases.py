"""A LeNet of the project's template whose weights Caffe itself draws."""
from pathlib import Path

from google.protobuf import text_format

from nets.model_file import Model, deploy_net


def write_lenet(path: Path) -> Path:
    """Writes the deploy net of a 12-bit LeNet of seven classes, with fillers; returns the path."""
    net = deploy_net(Model("lenet", 12, 7))
    for layer in net.layer:
        if layer.type in ("Convolution", "InnerProduct"):
            options = layer.convolution_param if layer.type == "Convolution" else layer.inner_product_param
            options.weight_filler.type = "xavier"
    path.write_text(text_format.MessageToString(net))
    return path
