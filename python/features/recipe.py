"""What turns images into features: net, weights, blobs and pre-processing, decided from the options and the run."""
import json
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from caffe.proto import caffe_pb2

from caffe_files.databases import first_shape
from caffe_files.mean_image import read_mean
from caffe_files.prototxt import data_layer, input_dims, read_net
from caffe_files.trusted import check_net
from features.options import ExtractOptions
from features.preprocess import Preprocessor
from nets.blobs import wanted_blobs
from nets.model_file import deploy_for
from process.errors import DriverError
from process.identity import file_identity, without_places
from process.package_folder import PackageFolder


@dataclass(frozen=True)
class Recipe:
    """mean: file of the mean image, None for a net without one. batch: images a forward pass. engine: None on a GPU."""
    net: Path
    weights: Path
    blobs: dict[str, str]
    mean: Path | None
    preprocess: Preprocessor
    batch: int
    engine: str | None

    def identity(self) -> dict[str, Any]:
        """All of it that features depend on, as meta.json tells it: part of the cache's key."""
        prepared = self.preprocess
        return {"weights": file_identity(self.weights), "net": file_identity(self.net), "blobs": self.blobs,
                "protocol": prepared.protocol, "mean": file_identity(self.mean) if self.mean else None,
                "scale": prepared.scale, "resize": prepared.size,
                "input": [prepared.channels, prepared.crop, prepared.crop],
                # Caffe's own, the only one once, is not named: features of earlier versions stay what they are.
                **({"engine": self.engine} if self.engine == "onednn" else {})}


def expected(recipe: Recipe) -> str:
    """What another machine must have for the same recipe, as --expect takes it: contents, not places; no engine."""
    identity = without_places(replace(recipe, engine=None).identity())
    return json.dumps(identity, sort_keys=True)


def check_expected(recipe: Recipe, words: str) -> None:
    """DriverError that names what this machine has otherwise than `words`, those of expected(), say."""
    try:
        wanted = dict(json.loads(words))
    except (ValueError, TypeError):
        raise DriverError(f"--expect {words}: not what extract_cluster.py gives") from None
    named = replace(recipe, engine=None).identity()
    for name, value in json.loads(expected(recipe)).items():
        if wanted.get(name) != value:
            place = named[name]["file"] if isinstance(named[name], dict) and "file" in named[name] else value
            raise DriverError(f"{socket.gethostname()} has another {name} than the extraction that this part is of "
                              f"({place} there): give this machine the same files")


@dataclass(frozen=True)
class _Asked:
    """Pre-processing that the options and the run ask for. resize: None for the net's input."""
    mean: Path | None
    scale: float
    resize: int | None


def decide(options: ExtractOptions, engine: str | None, console: TextIO) -> Recipe:
    """The recipe. --run or --package give what the options do not name. DriverError for what is missing or unfit."""
    if options.package:
        options = _as_packed(options, options.package)
    net, weights = _net_and_weights(options)
    asked = _asked(options)
    if not net:
        net = deploy_for(weights, options.written_net, console)
    batch, channels, crop, _ = input_shape(net)
    message = read_net(net)
    check_net(message, net, options.trust_net)
    tops = {top for layer in message.layer for top in layer.top}
    mean = read_mean(asked.mean) if asked.mean else None
    size = asked.resize or crop if mean is None else mean.shape[1]
    return Recipe(net, weights, wanted_blobs(options.latent_blob, options.feature_blob, tops), asked.mean,
                  Preprocessor(options.protocol, channels, crop, size, mean, asked.scale), options.batch or batch,
                  engine)


def _as_packed(options: ExtractOptions, package: PackageFolder) -> ExtractOptions:
    """The options with all that the package's codes were made by."""
    meta = package.meta
    try:
        return replace(options, net=package.deploy, weights=package.weights, mean=str(package.mean or "none"),
                       scale=meta["scale"], resize=meta["resize"], protocol=meta["protocol"],
                       latent_blob=meta["blobs"]["latent"], feature_blob=meta["blobs"].get("fc7", "none"))
    except (KeyError, TypeError, AttributeError):
        raise DriverError(f"{package.file('meta.json')} does not tell how the package's codes were made: get the "
                          "package again") from None


def _net_and_weights(options: ExtractOptions) -> tuple[Path | None, Path]:
    """Those named, else the run's; net None: the template's has to do."""
    run, net, weights = options.run, options.net, options.weights
    if run:
        net = net or run.deploy
        weights = weights or (run.initial_weights() if options.initial else run.final_model)
    if not weights:
        raise DriverError(f"--{'weights' if net else 'net'} is missing (or give --run)")
    for path in filter(None, (net, weights)):
        if not path.is_file():
            raise DriverError(f"{path}: no such file")
    return net, weights


def _asked(options: ExtractOptions) -> _Asked:
    """The options' pre-processing, else that of the run's test phase."""
    if options.run:
        return _as_the_run(options, options.run.train_val)
    if not options.mean:
        raise DriverError("--mean is missing (or give --run): name the mean image, or none if the net was trained "
                          "without")
    return _Asked(_path(options.mean), 1.0 if options.scale is None else options.scale, options.resize)


def _as_the_run(options: ExtractOptions, train_val: Path) -> _Asked:
    layer = data_layer(read_net(train_val), caffe_pb2.TEST, train_val)
    transform = layer.transform_param
    if transform.mean_value and not options.mean:
        raise DriverError(f"{train_val} subtracts mean_value, a colour: extraction knows mean images. Make one of that "
                          "colour and give it with --mean")
    mean = _path(options.mean or transform.mean_file or "none")
    resize = options.resize
    if not mean and transform.crop_size and not resize:
        resize = first_shape(Path(layer.data_param.source))[1]
    return _Asked(mean, transform.scale if options.scale is None else options.scale, resize)


def _path(mean: str) -> Path | None:
    return None if mean == "none" else Path(mean)


def input_shape(net_file: Path) -> list[int]:
    """[batch, channels, height, width] of a deploy prototxt; height and width are equal."""
    shape = input_dims(read_net(net_file))
    if shape is None:
        raise DriverError(f"{net_file} has no 4-d input: extraction takes a deploy net, not a train_val net")
    if shape[2] != shape[3]:
        raise DriverError(f"{net_file}: input {shape} is not square")
    return shape
