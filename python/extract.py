#!/usr/bin/env python3
"""Extracts fc7 and the latent activations of every image in one pass, from an LMDB or straight from images.

    extract.py --run runs/cifar10_caffenet_48 --lmdb data/cifar10/test_originals_lmdb --out runs/.../features/test
    extract.py --net deploy.prototxt --weights KevinNet_CIFAR10_48.caffemodel --mean mean.binaryproto --images photos/ --out q

Row i of the arrays is image i of the source. Interrupted, the same command goes on; features made already from the same
weights, net, blobs, pre-processing and images are kept.
"""
import argparse
import os
import sys
import time

import numpy as np

import cpu_engine
from driver_errors import DriverError
from native_guard import run_guarded
from preprocess import PROTOCOLS, Preprocessor


def source_of(options):
    from image_source import FileSource, LmdbSource
    return LmdbSource(options.lmdb) if options.lmdb else FileSource(options.images, options.root)


def fill_from_run(options, console):
    """--run gives the net, the weights and the pre-processing of its test phase, unless options name others."""
    if options.run:
        options.net = options.net or os.path.join(options.run, "deploy.prototxt")
        if options.initial and not options.weights:
            from run_settings import initial_weights
            options.weights = initial_weights(options.run)
        options.weights = options.weights or os.path.join(options.run, "final.caffemodel")
        fill_pre_processing(options, os.path.join(options.run, "train_val.prototxt"))
    options.scale = 1.0 if options.scale is None else options.scale
    if options.weights and not options.net:
        options.net = deploy_for(options, console)
    for name in ("net", "weights", "mean"):
        if not getattr(options, name):
            raise DriverError(f"--{name} is missing (or give --run)" +
                              (": name the mean image, or none if the net was trained without" if name == "mean" else ""))
    for path in (options.net, options.weights):
        if not os.path.isfile(path):
            raise DriverError(f"{path}: no such file")


def deploy_for(options, console):
    """The template's deploy net, written beside the features, for a model that came without one."""
    from model_file import write_deploy
    net = os.path.join(os.path.dirname(options.out.rstrip("/")), "deploy.prototxt")
    model = write_deploy(options.weights, net)
    print(f"no --net: {options.weights} is {model}; its deploy net is written to {net}", file=console)
    return net


def fill_pre_processing(options, train_val):
    """Mean image, scale and size that the run's own test phase uses."""
    from caffe.proto import caffe_pb2
    from data_checks import first_image
    from prototxt_files import data_layer, read_net
    layer = data_layer(read_net(train_val), caffe_pb2.TEST, train_val)
    transform = layer.transform_param
    if transform.mean_value and not options.mean:
        raise DriverError(f"{train_val} subtracts mean_value, a colour: extraction knows mean images. Make one of that colour and "
                          "give it with --mean")
    options.mean = options.mean or transform.mean_file or "none"
    options.scale = transform.scale if options.scale is None else options.scale
    if options.mean == "none" and transform.crop_size and not options.resize:
        options.resize = first_image(layer.data_param.source)[1][1]


def input_shape(net_file):
    """(batch, channels, height, width) of a deploy prototxt."""
    from prototxt_files import read_net
    net = read_net(net_file)
    shapes = [list(layer.input_param.shape[0].dim) for layer in net.layer if layer.type == "Input" and layer.input_param.shape]
    if not shapes or len(shapes[0]) != 4:
        raise DriverError(f"{net_file} has no 4-d input: extraction takes a deploy net, not a train_val net")
    if shapes[0][2] != shapes[0][3]:
        raise DriverError(f"{net_file}: input {shapes[0]} is not square")
    return shapes[0]


class Extractor:
    """A deploy net with weights, run as far as the blobs wanted."""

    def __init__(self, net_file, weights, blobs, batch):
        import caffe
        from weights import match
        self.net = caffe.Net(net_file, caffe.TEST)
        for option, blob in blobs.items():
            if blob not in self.net.blobs:
                raise DriverError(f"{net_file} has no blob {blob!r} (--{option}-blob). It has: {', '.join(self.net.blobs)}")
        self.blobs = blobs
        self.classifier = self._classifier()
        self._load(net_file, weights, match)
        self.input = self.net.inputs[0]
        self.net.blobs[self.input].reshape(batch, *self.net.blobs[self.input].data.shape[1:])
        self.net.reshape()

    def _classifier(self):
        """The blob that the final Softmax or the end of the net gives, when the net goes on to class scores."""
        if "latent" not in self.blobs:
            return None
        ends = [blob for blob in self.net.outputs if self.net.blobs[blob].data.ndim == 2 and blob not in self.blobs.values()]
        return ends[-1] if ends else None

    def _load(self, net_file, weights, match):
        """Loads the weights; a layer that the wanted blobs depend on and that the file lacks is an error."""
        found = match(weights, self.net)
        needed = list(self.net._layer_names)[:self._last_layer() + 1]
        missing = [name for name in found.initialised if name in needed]
        if missing:
            raise DriverError(f"{weights} has no weights for layer {', '.join(missing)} of {net_file}: the features would be noise. "
                              "Is it the model of this net? If it has only the layers below, name a blob it reaches with "
                              "--feature-blob and leave the codes out with --latent-blob none")
        if any(name in found.initialised for name in self.net.params):
            self.classifier = None
        self.net.copy_from(weights)

    def _last_layer(self):
        """Index of the last layer that writes one of the wanted blobs (in-place layers write them too)."""
        names = list(self.net._layer_names)
        return max(i for i in range(len(names)) for top in self.net._top_ids(i)
                   if self.net._blob_names[top] in self.blobs.values())

    def width(self, name):
        """Columns of a wanted blob."""
        blob = self.net.blobs[self.blobs[name]]
        return blob.count // blob.data.shape[0]

    def __call__(self, images):
        """{name: (n, d) float32} for images (n, C, H, W), n at most the batch; predictions (n,) int64 where the net classifies."""
        count = len(images)
        self.net.blobs[self.input].data[:count] = images
        self.net._forward(0, len(self.net.layers) - 1 if self.classifier else self._last_layer())
        result = {name: self.net.blobs[blob].data[:count].reshape(count, -1) for name, blob in self.blobs.items()}
        check_activations(result, self.blobs)
        if self.classifier:
            result["predictions"] = self.net.blobs[self.classifier].data[:count].argmax(1)
        return result


def check_activations(result, blobs):
    """NaN, latent outside 0..1 and negative fc7 mean a wrong blob or broken weights: a silent wrong number otherwise."""
    for name, values in result.items():
        low, high = values.min(), values.max()
        if not np.isfinite(low + high):
            raise DriverError(f"blob {blobs[name]} has values that are not finite: the weights are broken or the input is")
        if name == "latent" and (low < 0 or high > 1):
            raise DriverError(f"blob {blobs[name]} goes from {low:g} to {high:g}: latent activations lie in 0..1. Name the blob behind "
                              "the Sigmoid with --latent-blob")
        if name == "fc7" and low < 0:
            raise DriverError(f"blob {blobs[name]} goes down to {low:g}: it is taken before its ReLU. Name the blob behind it with "
                              "--feature-blob")


def wanted_blobs(options):
    blobs = {"latent": options.latent_blob, "fc7": options.feature_blob}
    return {name: blob for name, blob in blobs.items() if blob != "none"}


def made_from(options, source, preprocess, engine):
    """Everything the features depend on: the cache's key, and what meta.json tells.

    engine: of the CPU, None on a GPU. Features without one were made when there was only Caffe's, or on a GPU.
    """
    from weights import sha256
    mean = None if options.mean == "none" else dict(file=options.mean, sha256=sha256(options.mean))
    return dict(weights=dict(file=options.weights, sha256=sha256(options.weights)),
                net=dict(file=options.net, sha256=sha256(options.net)), blobs=wanted_blobs(options),
                protocol=preprocess.protocol, mean=mean, scale=options.scale, resize=preprocess.size,
                input=[preprocess.channels, preprocess.crop, preprocess.crop],
                data=dict(path=source.path, fingerprint=source.fingerprint(), dataset=source.meta.get("dataset")),
                **({"engine": engine} if engine == "onednn" else {}))


def without_paths(value):
    """The same things at another place are the same: paths are told in meta.json, not part of the key."""
    if isinstance(value, dict):
        return {name: without_paths(part) for name, part in value.items() if name not in ("file", "path", "dataset")}
    return value


def pre_processing(options):
    """(Preprocessor, images a forward pass) by the options and the deploy net's input."""
    from data_checks import read_mean
    batch, channels, crop, _ = input_shape(options.net)
    mean = None if options.mean == "none" else read_mean(options.mean)
    size = mean.shape[1] if mean is not None else options.resize or crop
    return Preprocessor(options.protocol, channels, crop, size, mean, options.scale), options.batch or batch


def default_thumbs(source):
    """Side of the report's pictures: the images' own when small, 64 otherwise, none for more than 200,000 images."""
    if source.count > 200_000:
        return 0
    image, _ = next(source.read())
    return min(64, max(image.shape[:2]))


def extract(options, console):
    """The work of this program, in the guarded child."""
    import device
    from feature_files import FeatureFiles, cache_key, is_made
    from prefetch import Prefetcher

    gpus = device.choose(options.gpu, lambda words: print(words, file=console))
    if len(gpus) > 1:
        raise DriverError(f"--gpu {options.gpu}: extraction takes one GPU")
    fill_from_run(options, console)
    source = source_of(options)
    preprocess, batch = pre_processing(options)
    origin = made_from(options, source, preprocess, None if gpus else cpu_engine.in_use())
    key = cache_key(without_paths(origin))
    if is_made(options.out, key):
        print(f"{options.out}: kept, made from the same weights, net, pre-processing and {source.count:,} images", file=console)
        return 0
    if options.thumbs is None:
        options.thumbs = default_thumbs(source)
    tell_device(options, gpus, batch, console)
    files = FeatureFiles(options.out, key, options.thumbs)
    reader = Prefetcher(source, preprocess, batch, files.rows, options.thumbs)  # forks: before Caffe is used
    try:
        device.use(gpus)
        extractor = Extractor(options.net, options.weights, wanted_blobs(options), batch)
        files.open(arrays(extractor, source.count, options.thumbs))
        rate = write_rows(reader, extractor, files, source, console)
    except KeyboardInterrupt:
        files.checkpoint()
        raise
    finally:
        reader.close()
    files.finish(source.ids, describe(options, origin, extractor, source))
    print(f"{options.out}: {source.count:,} rows of " + ", ".join(f"{name} ({extractor.width(name)})" for name in extractor.blobs)
          + f", images at {rate:,.1f}/s", file=console)
    return 0


def tell_device(options, gpus, batch, console):
    """Says what computes, and stops before the card does when it is too small."""
    import device
    import gpu_memory
    cpu = f"CPU, engine {cpu_engine.in_use()}, threads: {cpu_engine.threads()}"
    for gpu in device.listed(gpus) if gpus else [cpu]:
        print(f"device: {gpu}", file=console)
        if gpus and not options.any_memory:
            print(gpu_memory.check_extraction(options.net, batch, gpu), file=console)


def arrays(extractor, count, thumbs):
    """{name: (shape, dtype)} of the files to write."""
    shapes = {name: ((count, extractor.width(name)), np.float32) for name in extractor.blobs}
    shapes["labels"] = ((count,), np.int64)
    if extractor.classifier:
        shapes["predictions"] = ((count,), np.int64)
    if thumbs:
        shapes["thumbs"] = ((count, thumbs, thumbs, 3), np.uint8)
    return shapes


def write_rows(reader, extractor, files, source, console):
    """Extracts what is left; returns images/s."""
    from tqdm import tqdm
    started, first = time.monotonic(), files.rows
    with tqdm(total=source.count, initial=files.rows, unit="image", desc=source.path, file=console,
              mininterval=0.5 if console.isatty() else 10) as bar:
        for images, labels, thumbs in reader:
            rows = dict(extractor(images), labels=labels)
            if "thumbs" in files.arrays:
                rows["thumbs"] = thumbs
            files.append(**rows)
            bar.update(len(labels))
    return (files.rows - first) / (time.monotonic() - started)


def describe(options, origin, extractor, source):
    """meta.json: what made the features."""
    from run_settings import commit
    return dict(origin, split=os.path.basename(options.out.rstrip("/")), count=source.count,
                bits=extractor.width("latent") if "latent" in extractor.blobs else None,
                feature_dim=extractor.width("fc7") if "fc7" in extractor.blobs else None,
                classes=source.meta.get("classes"), run=options.run, commit=commit())


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--run", help="a run's folder: its deploy net, final weights, mean image and scale are the defaults")
    parser.add_argument("--initial", action="store_true", help="with --run: the weights it started from, not its final ones")
    parser.add_argument("--net", help="deploy prototxt (default: the run's; without one, the template's where the weights fit it)")
    parser.add_argument("--weights", help="caffemodel")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--lmdb", help="LMDB of Caffe Datums, of 256x256 or of original images")
    source.add_argument("--images", nargs="+", help="image files, directories, or lists (.txt) of `path label` lines")
    parser.add_argument("--root", default=".", help="folder that the paths of a list are relative to")
    parser.add_argument("--out", required=True, help="folder of the features, e.g. runs/x/features/test")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="authors", help="pre-processing")
    parser.add_argument("--mean", help="mean image (.binaryproto or .npy), or none")
    parser.add_argument("--scale", type=float, help="factor on the pixels after the mean (default: the run's, else 1)")
    parser.add_argument("--resize", type=int, help="side images are resized to before the crop, without a mean image, which tells "
                                                   "it (default: the run's images', else the net's input)")
    parser.add_argument("--latent-blob", default="fc8_kevin_encode", help="blob of the latent layer, or none")
    parser.add_argument("--feature-blob", default="fc7", help="blob of the features, or none")
    parser.add_argument("--batch", type=int, help="images a forward pass (default: the deploy net's)")
    parser.add_argument("--thumbs", type=int, help="side of the pictures kept for the report, 0 for none (default: by the images)")
    parser.add_argument("--gpu", default="auto", metavar="auto|none|N", help="device")
    cpu_engine.add_options(parser)
    parser.add_argument("--any-memory", action="store_true", help="extract even where the GPU's memory is estimated to be too small")
    options = parser.parse_args(argv)
    if options.latent_blob == options.feature_blob == "none":
        parser.error("nothing to extract: --latent-blob and --feature-blob are both none")
    if options.batch is not None and options.batch < 1:
        parser.error("--batch must be at least 1")
    if options.initial and not options.run:
        parser.error("--initial goes with --run")
    if options.run and not os.path.isdir(options.run):
        sys.exit(f"extract: --run {options.run}: no such folder")
    return options


def main(argv=None):
    options = parse_arguments(argv)
    cpu_engine.prepare(options.engine, options.threads)
    log_folder = options.run or os.path.dirname(options.out.rstrip("/")) or "."
    return run_guarded(lambda console: extract(options, console), os.path.join(log_folder, "caffe.log"), "extract")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (DriverError, OSError) as error:
        sys.exit(f"extract: {error}")
