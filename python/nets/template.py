"""Writes the prototxt of a setting: train_val, deploy and solver, with comments that tell where their values come from.

The files under prototxt/ are its output (a test holds them together).
"""
from collections.abc import Mapping
from pathlib import Path

from caffe.proto import caffe_pb2

from caffe_files.prototxt import message_text
from nets.definitions import DATASETS, NETS, Setting, deploy, schedule, solver, train_val
from nets.written import edited, remember
from process.files import whole_file
from process.outputs import refuse_foreign_text

COMMITTED = (("cifar10", "caffenet", 48), ("mnist", "caffenet", 48), ("mnist", "caffenet", 128),
             ("yahoo1m", "caffenet", 128), ("mnist", "lenet", 48), ("digits", "lenet", 48), ("cifar10", "ssdh", 48))

WRITTEN_BY = "Written by python/net_template.py"  # a line of each file: one without is not replaced

HEADER = {
    "train_val": """\
{title}: {body} with a latent layer of {bits} units between fc7 and the classifier
({paper}).
Written by python/net_template.py: change it there. Paths are relative to the directory `caffe` is started in.""",
    "deploy": """\
{title} for feature extraction: blobs fc7 (after ReLU) and {codes} (bit j = 1 where it is >= 0.5).
Written by python/net_template.py: change it there.""",
    "solver": """\
{origin}
Written by python/net_template.py: change it there. Use it as it is:
  caffe train -solver prototxt/{name}/solver.prototxt{weights}""",
}

# Where a layer's values come from; put before the layer in the file.
CAFFENET_COMMENTS = {
    "data": "256x256 BGR images minus the ILSVRC-2012 mean image; training takes random 227x227 crops and mirrors "
            "them.",
    "conv1": "conv1 to fc7: BVLC reference CaffeNet, unchanged, so that its ImageNet weights load by name.",
}
LENET_COMMENTS = {
    "data": "28x28 grey digits, scaled to 0..1.",
    "conv1": "conv1 to fc7: the LeNet of Caffe's MNIST example; its 500 hidden units are called fc7 here.",
}
LATENT_COMMENTS = {
    "fc8_kevin": "The latent layer H, with the authors' names and fillers (bias 1, weights gaussian 0.005).",
    "fc8_pascal": "The classifier sees H's activations only. New weights: ten times the learning rate.",
    "latent": "The latent layer H, with the authors' names and fillers of SSDH (bias 0, weights gaussian 0.01).",
    "label": "0 or 1 for each label of an image: a second database, read in step with the images'.",
    "fc9": "The classifier sees H's activations only. New weights (gaussian 0.2): ten times the learning rate.",
    "binary_squares": "SSDH's forcing-binary term, weight 1: -(1/(2 N h)) sum (a - 0.5)^2 over N images and h bits.",
    "fire_mean": "SSDH's 50%-fire-rate term, weight 1: (1/(2 N)) sum (mean of an image's activations - 0.5)^2.",
}
CVPRW_PAPER = "Lin, Yang, Hsiao, Chen: Deep Learning of Binary Hash Codes for Fast Image Retrieval, CVPRW 2015"
SSDH_PAPER = ("Yang, Lin, Chen: Supervised Learning of Semantics-Preserving Hash via Deep Convolutional Neural "
              "Networks, TPAMI 2017")
SOLVER_COMMENTS = {
    "test_iter": "The whole test set. When the batch does not divide it, caffe train counts the first images twice in "
                 "the\nlast batch; python/train.py counts every image once.",
    "snapshot_prefix": "python/train.py keeps its snapshots under runs/ instead.",
}
ORIGINS = {"caffenet": "The authors' solver for CIFAR-10 at batch 32: 50,000 iterations, learning rate 0.001, then "
                       "0.0001.",
           "ssdh": "The authors' solver for SSDH on CIFAR-10 at batch 32: 50,000 iterations, learning rate 0.001, then "
                   "0.0001.\nIt takes a snapshot every 10,000, theirs one at the end.",
           "lenet": "The solver of Caffe's LeNet example, by iterations fitted to the data set."}


def commented(text: str) -> str:
    """The text as lines of comment."""
    return "".join(f"# {line}\n" for line in text.splitlines())


def net_text(proto: caffe_pb2.NetParameter, comments: dict[str, str]) -> str:
    """Text format of a net, one layer after the other, each behind its comment (once a name)."""
    left = dict(comments)
    parts = [f'name: "{proto.name}"\n']
    for layer in proto.layer:
        parts.append(commented(left.pop(layer.name, "")))
        parts.append("layer {\n" + message_text(layer, indent=2) + "}\n")
    return "".join(parts)


def solver_text(proto: caffe_pb2.SolverParameter) -> str:
    """Text format of a solver, its lines behind their comments."""
    lines = message_text(proto).splitlines(keepends=True)
    return "".join(commented(SOLVER_COMMENTS.get(line.split(":")[0], "")) + line for line in lines)


def files(setting: Setting, folder: Path) -> dict[str, str]:
    """{file name: text} of a setting whose files will lie in `folder` (the solver names its net by that path)."""
    net = NETS[setting.net]
    caffenet = net.body is NETS["caffenet"].body
    names = {"title": setting.title, "body": "CaffeNet" if caffenet else net.title, "bits": setting.bits,
             "name": setting.name, "codes": net.head.names.codes,
             "paper": SSDH_PAPER if net.head.ssdh_terms else CVPRW_PAPER,
             "origin": ORIGINS[setting.net] + _schedule_words(setting),
             "weights": " \\\n    -weights bvlc_reference_caffenet.caffemodel" if caffenet else ""}
    body_comments = CAFFENET_COMMENTS if caffenet else LENET_COMMENTS
    texts = {"train_val": net_text(train_val(setting), {**body_comments, **LATENT_COMMENTS}),
             "deploy": net_text(deploy(setting), {}),
             "solver": solver_text(solver(setting, folder / "train_val.prototxt"))}
    return {f"{role}.prototxt": commented(HEADER[role].format(**names)) + text for role, text in texts.items()}


def _schedule_words(setting: Setting) -> str:
    """What differs from the origin for a data set of the user's."""
    iterations, images = schedule(setting).get("max_iter"), setting.dataset.train_images
    if not iterations:
        return ""
    epochs = iterations * NETS[setting.net].batch / images
    return f"\nHere {iterations:,} iterations: {epochs:.3g} times over {images:,} training images."


def write(setting: Setting, parent: Path) -> Path:
    """Writes the three files into <parent>/<name of the setting> and returns that folder.

    DriverError, and nothing written, when a file of that name is there which the template did not write.
    """
    folder = parent / setting.name
    _write(files(setting, folder), folder)
    return folder


def write_unless_edited(setting: Setting, parent: Path) -> str:
    """Like write, but files stay that are the same, and all of them where one was edited. Returns what was done."""
    folder = parent / setting.name
    texts = files(setting, folder)
    changed = edited(folder, texts)
    if changed:
        return f"{folder} is kept: {', '.join(changed)} edited since it was written (remove it to have it anew)"
    if all((folder / name).exists() and (folder / name).read_text() == text for name, text in texts.items()):
        return f"{folder} is kept: the template gives the same"
    folder.mkdir(parents=True, exist_ok=True)
    remember(folder, texts)
    _write(texts, folder)
    return f"{folder} is written"


def _write(texts: Mapping[str, str], folder: Path) -> None:
    for name in texts:
        refuse_foreign_text(folder / name, WRITTEN_BY)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with whole_file(folder / name, "w") as file:
            file.write(text)


def committed_settings() -> list[Setting]:
    """The settings whose files are in prototxt/."""
    return [Setting(DATASETS[dataset], net, bits) for dataset, net, bits in COMMITTED]
