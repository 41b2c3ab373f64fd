"""One call of export.py, from its options to its exit status. Behind the guard's fork."""
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import caffe
from caffe.proto import caffe_pb2

from caffe_files.prototxt import data_layer, read_net
from caffe_files.trusted import check_net
from features.extractor import Extractor
from nets.blobs import wanted_blobs
from nets.model_file import deploy_for
from onnx_export.check import compare, report
from onnx_export.graph import Graph
from onnx_export.options import ExportOptions
from process.errors import DriverError
from process.files import whole_file
from process.identity import sha256
from process.run_folder import RunFolder

IMAGES = 3  # compared; another number than the deploy net's batch


@dataclass(frozen=True)
class Prepared:
    """How an image becomes the net's input: in words, and the factor on its pixels."""
    words: str
    scale: float


def export(options: ExportOptions, console: TextIO) -> None:
    """Writes the file when onnxruntime gets from it what Caffe computes."""
    caffe.set_mode_cpu()
    net_file, weights = _net_and_weights(options, console)
    net = read_net(net_file)
    check_net(net, net_file, options.trust_net)
    tops = {top for layer in net.layer for top in layer.top}
    extractor = Extractor(net_file, weights, wanted_blobs(options.latent_blob, options.feature_blob, tops), IMAGES)
    classes = {"class scores": extractor.classifier} if extractor.classifier else {}
    outputs = {**extractor.blobs, **classes}
    blobs = list(dict.fromkeys(outputs.values()))
    prepared = _pre_processing(options.run)
    model = Graph(net, extractor.net, blobs).model(net.name, _metadata(weights, outputs, prepared))
    content = model.SerializeToString()
    report(compare(content, extractor.net, blobs, prepared.scale), console)
    with whole_file(options.out) as file:
        file.write(content)
    print(f"{options.out}: {len(content) / 1e6:.1f} MB, outputs {', '.join(blobs)}", file=console)


def _net_and_weights(options: ExportOptions, console: TextIO) -> tuple[Path, Path]:
    """Those given, those of --run, or the template's net where only weights are."""
    weights = options.weights or (options.run and options.run.final_model)
    if not weights:
        raise DriverError("--weights is missing (or give --run)")
    net = options.net or (options.run and options.run.deploy)
    return net or deploy_for(weights, options.beside("deploy.prototxt"), console), weights


def _metadata(weights: Path, outputs: dict[str, str], prepared: Prepared) -> dict[str, str]:
    """{key: text} for the file: what it was made from and what its input has to be."""
    return {"weights": f"{weights.name} sha256:{sha256(weights)}",
            "outputs": ", ".join(f"{name}: {blob}" for name, blob in outputs.items()),
            "input": prepared.words, "code": "bit j is 1 where latent unit j is >= 0.5"}


def _pre_processing(run: RunFolder | None) -> Prepared:
    """Of a run, by its own test phase."""
    if not run:
        return Prepared("BGR, 0..255, minus the mean image, as the net was trained", 1)
    transform = data_layer(read_net(run.train_val), caffe_pb2.TEST, run.train_val).transform_param
    steps = ["BGR (or grey), 0..255"]
    steps += [f"minus mean image {Path(transform.mean_file).name}"] if transform.mean_file else []
    steps += [f"times {transform.scale:g}"] if transform.scale != 1 else []
    steps += [f"central crop of {transform.crop_size}"] if transform.crop_size else []
    return Prepared(", ".join(steps), transform.scale)
