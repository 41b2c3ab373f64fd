#!/usr/bin/env python3
"""Writes train_val.prototxt, deploy.prototxt and solver.prototxt of a data set, net and code length.

The files under prototxt/ are the output of `net_template.py --all` (a test holds them together). Others on demand:

    net_template.py --dataset cifar10 --net caffenet --bits 32 --out build/prototxt
    net_template.py --dataset shoes --classes 7 --net caffenet --bits 64 --out build/prototxt
"""
import argparse
import os
import sys

from driver_errors import DriverError
from nets import DATASETS, NETS, DataSet, Setting, deploy, solver, train_val
from prototxt_files import message_text

COMMITTED = (("cifar10", "caffenet", 48), ("mnist", "caffenet", 48), ("mnist", "caffenet", 128),
             ("yahoo1m", "caffenet", 128), ("mnist", "lenet", 48), ("digits", "lenet", 48))

HEADER = {
    "train_val": """\
{title}: {body} with a latent layer of {bits} units between fc7 and the classifier
(Lin, Yang, Hsiao, Chen: Deep Learning of Binary Hash Codes for Fast Image Retrieval, CVPRW 2015).
Written by python/net_template.py: change it there. Paths are relative to the directory `caffe` is started in.""",
    "deploy": """\
{title} for feature extraction: blobs fc7 (after ReLU) and fc8_kevin_encode (bit j = 1 where it is >= 0.5).
Written by python/net_template.py: change it there.""",
    "solver": """\
{origin}
Written by python/net_template.py: change it there. Use it as it is:
  caffe train -solver prototxt/{name}/solver.prototxt{weights}""",
}

# Where a layer's values come from; put before the layer in the file.
CAFFENET_COMMENTS = {
    "data": "256x256 BGR images minus the ILSVRC-2012 mean image; training takes random 227x227 crops and mirrors them.",
    "conv1": "conv1 to fc7: BVLC reference CaffeNet, unchanged, so that its ImageNet weights load by name.",
}
LENET_COMMENTS = {
    "data": "28x28 grey digits, scaled to 0..1.",
    "conv1": "conv1 to fc7: the LeNet of Caffe's MNIST example; its 500 hidden units are called fc7 here.",
}
HEAD_COMMENTS = {
    "fc8_kevin": "The latent layer H, with the authors' names and fillers (bias 1, weights gaussian 0.005).",
    "fc8_pascal": "The classifier sees H's activations only. New weights: ten times the learning rate.",
}
SOLVER_COMMENTS = {
    "test_iter": "The whole test set. When the batch does not divide it, caffe train counts the first images twice in the"
                 "\nlast batch; python/train.py counts every image once.",
    "snapshot_prefix": "python/train.py keeps its snapshots under runs/ instead.",
}
ORIGINS = {"caffenet": "The authors' solver for CIFAR-10 at batch 32: 50,000 iterations, learning rate 0.001, then 0.0001.",
           "lenet": "The solver of Caffe's LeNet example, by iterations fitted to the data set."}


def commented(text):
    return "".join(f"# {line}\n" for line in text.splitlines())


def net_text(proto, comments):
    """Text format of a NetParameter, one layer after the other, each behind its comment (once a name)."""
    left = dict(comments)
    parts = [f'name: "{proto.name}"\n']
    for layer in proto.layer:
        parts.append(commented(left.pop(layer.name, "")))
        parts.append("layer {\n" + message_text(layer, indent=2) + "}\n")
    return "".join(parts)


def solver_text(proto):
    lines = message_text(proto).splitlines(keepends=True)
    return "".join(commented(SOLVER_COMMENTS.get(line.split(":")[0], "")) + line for line in lines)


def files(setting, folder):
    """{file name: text} of a setting whose files will lie in `folder` (the solver names its net by that path)."""
    names = dict(title=setting.title, body=NETS[setting.net].title, bits=setting.bits, name=setting.name,
                 origin=ORIGINS[setting.net],
                 weights=" \\\n    -weights bvlc_reference_caffenet.caffemodel" if setting.net == "caffenet" else "")
    body_comments = CAFFENET_COMMENTS if setting.net == "caffenet" else LENET_COMMENTS
    net_file = os.path.join(folder, "train_val.prototxt")
    texts = {"train_val": net_text(train_val(setting), {**body_comments, **HEAD_COMMENTS}),
             "deploy": net_text(deploy(setting), {}),
             "solver": solver_text(solver(setting, net_file))}
    return {f"{role}.prototxt": commented(HEADER[role].format(**names)) + text for role, text in texts.items()}


def write(setting, parent):
    """Writes the three files into <parent>/<name of the setting> and returns that folder."""
    folder = os.path.join(parent, setting.name)
    os.makedirs(folder, exist_ok=True)
    for name, text in files(setting, folder).items():
        beside = os.path.join(folder, f".{name}.partial")
        with open(beside, "w") as out:
            out.write(text)
        os.replace(beside, os.path.join(folder, name))
    return folder


def committed_settings():
    return [Setting(DATASETS[dataset], net, bits) for dataset, net, bits in COMMITTED]


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--all", action="store_true", help="write every committed setting into prototxt/")
    parser.add_argument("--dataset", default="cifar10", help=f"{', '.join(DATASETS)}, or a name of yours with --classes")
    parser.add_argument("--classes", type=int, help="number of classes of a data set of yours")
    parser.add_argument("--net", choices=sorted(NETS), default="caffenet")
    parser.add_argument("--bits", type=int, default=48, help="code length h")
    parser.add_argument("--out", default="prototxt", help="parent folder; the files go into <dataset>_<net>_<bits> there")
    return parser.parse_args(argv)


def setting_from(args):
    known = DATASETS.get(args.dataset)
    if known is None and args.classes is None:
        raise DriverError(f"--dataset {args.dataset} is not known here: give its number of classes with --classes")
    if known is not None and args.classes not in (None, known.classes):
        raise DriverError(f"--classes {args.classes}: {known.name} has {known.classes}; leave --classes out or rename the data set")
    if args.bits < 1 or (args.classes or 2) < 2:
        raise DriverError("--bits must be at least 1 and --classes at least 2")
    return Setting(known or DataSet(args.dataset, args.classes), args.net, args.bits)


def main(argv=None):
    args = parse_arguments(argv)
    for setting in committed_settings() if args.all else [setting_from(args)]:
        print(write(setting, args.out))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (DriverError, OSError) as error:
        sys.exit(f"net_template: {error}")
