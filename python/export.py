#!/usr/bin/env python3
"""Writes a deploy net with its weights as ONNX, and compares the file, run by onnxruntime, with Caffe.

    export.py --run runs/cifar10_caffenet_48 --out cifar10_48.onnx
    export.py --weights KevinNet_CIFAR10_48.caffemodel --out released_48.onnx

Input: (batch, channels, height, width) float32, prepared as for Caffe (BGR, mean image subtracted, cropped). Outputs: the
features, the latent activations (bit j of the code is 1 where they are >= 0.5) and, where the net classifies, probabilities.
"""
import argparse
import os
import sys
from dataclasses import dataclass

import numpy as np

from driver_errors import DriverError
from native_guard import run_guarded
from run_files import refuse_existing, whole_file

TOLERANCE = 1e-4  # of the largest activation of an output: float32 sums in another order
IMAGES = 3        # compared; another number than the deploy net's batch


@dataclass(frozen=True)
class Prepared:
    """How an image becomes the net's input: in words, and the factor on its pixels."""
    words: str
    scale: float


def export(options, console):
    """The work of this program, in the guarded child."""
    try:
        from onnx_graph import Graph
    except ImportError as error:
        raise DriverError(f"{error}: export needs the packages onnx and onnxruntime (make setup installs what requirements.txt "
                          "names)") from None
    import caffe
    caffe.set_mode_cpu()
    fill_from_run(options, console)
    net, extractor = load(options)
    outputs = {**extractor.blobs, **({"class scores": extractor.classifier} if extractor.classifier else {})}
    blobs = list(dict.fromkeys(outputs.values()))
    prepared = pre_processing(options)
    content = Graph(net, extractor.net, blobs).model(net.name, metadata(options, outputs, prepared)).SerializeToString()
    report(compare(content, extractor.net, blobs, prepared.scale), console)
    with whole_file(options.out) as file:
        file.write(content)
    print(f"{options.out}: {os.path.getsize(options.out) / 1e6:.1f} MB, outputs {', '.join(blobs)}", file=console)
    return 0


def fill_from_run(options, console):
    """Net and weights: those of --run, those given, or the template's net where only weights are."""
    from model_file import write_deploy
    if options.run:
        options.net = options.net or os.path.join(options.run, "deploy.prototxt")
        options.weights = options.weights or os.path.join(options.run, "final.caffemodel")
    if not options.weights:
        raise DriverError("--weights is missing (or give --run)")
    refuse_existing(options.out)
    if not options.net:
        options.net = beside(options.out, "deploy.prototxt")
        model = write_deploy(options.weights, options.net)
        print(f"no --net: {options.weights} is {model}; its deploy net is written to {options.net}", file=console)


def beside(out, ending):
    """A file that goes with the one written: model.onnx, model.deploy.prototxt."""
    return f"{os.path.splitext(out)[0]}.{ending}"


def load(options):
    """(NetParameter in today's format, extract.Extractor with the weights loaded): its checks of blobs and weights are ours."""
    from extract import Extractor, wanted_blobs
    from prototxt_files import read_net
    net = read_net(options.net)
    return net, Extractor(options.net, options.weights, wanted_blobs(options), IMAGES)


def metadata(options, outputs, prepared):
    """{key: text} for the file: what it was made from and what its input has to be."""
    from weights import sha256
    return {"weights": f"{os.path.basename(options.weights)} sha256:{sha256(options.weights)}",
            "outputs": ", ".join(f"{name}: {blob}" for name, blob in outputs.items()),
            "input": prepared.words, "code": "bit j is 1 where latent unit j is >= 0.5"}


def pre_processing(options):
    """Prepared: how an image becomes input; of a run, by its own test phase."""
    if not options.run:
        return Prepared("BGR, 0..255, minus the mean image, as the net was trained", 1)
    from caffe.proto import caffe_pb2
    from prototxt_files import data_layer, read_net
    path = os.path.join(options.run, "train_val.prototxt")
    transform = data_layer(read_net(path), caffe_pb2.TEST, path).transform_param
    steps = ["BGR (or grey), 0..255"]
    steps += [f"minus mean image {os.path.basename(transform.mean_file)}"] if transform.mean_file else []
    steps += [f"times {transform.scale:g}"] if transform.scale != 1 else []
    steps += [f"central crop of {transform.crop_size}"] if transform.crop_size else []
    return Prepared(", ".join(steps), transform.scale)


def compare(content, net, blobs, scale):
    """{blob: (largest difference, largest activation)} of onnxruntime and Caffe on the same random images, pixels times scale."""
    import onnxruntime
    images = np.random.default_rng(0).uniform(-120 * scale, 130 * scale, net.blobs[net.inputs[0]].data.shape).astype(np.float32)
    net.blobs[net.inputs[0]].data[...] = images
    net.forward()
    one_thread = onnxruntime.SessionOptions()
    one_thread.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, one_thread, providers=["CPUExecutionProvider"])
    found = session.run(blobs, {session.get_inputs()[0].name: images})
    return {blob: (float(np.abs(value - net.blobs[blob].data).max()), float(np.abs(value).max())) for blob, value in zip(blobs, found)}


def report(differences, console):
    """Prints the differences. DriverError when one is more than rounding."""
    for blob, (difference, largest) in differences.items():
        print(f"{blob}: onnxruntime differs from Caffe by at most {difference:.2g} (largest activation {largest:.3g})", file=console)
        if not difference <= TOLERANCE * max(largest, 1e-6):
            raise DriverError(f"{blob} of the exported net differs from Caffe's by {difference:.3g}: that is no rounding, so nothing is "
                              "written. The net has a layer whose options export gets wrong")


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--run", help="a run's folder: its deploy net and final weights")
    parser.add_argument("--net", help="deploy prototxt (default: the run's; without one, the template's where the weights fit it)")
    parser.add_argument("--weights", help="caffemodel")
    parser.add_argument("--out", required=True, help="file to write; must not exist")
    parser.add_argument("--latent-blob", default="fc8_kevin_encode", help="blob of the latent layer, or none")
    parser.add_argument("--feature-blob", default="fc7", help="blob of the features, or none")
    options = parser.parse_args(argv)
    if options.latent_blob == options.feature_blob == "none":
        parser.error("nothing to export: --latent-blob and --feature-blob are both none")
    return options


def main(argv=None):
    options = parse_arguments(argv)
    return run_guarded(lambda console: export(options, console), beside(options.out, "caffe.log"), "export")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (DriverError, OSError) as error:
        sys.exit(f"export: {error}")
