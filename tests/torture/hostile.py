"""Inputs that are whole and mean something else: nets, weights, features, entries of databases, JSON of other types."""
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import lmdb
import numpy as np
from caffe.proto import caffe_pb2

from torture.cases import ANY, COMMANDS, REFUSED, SAME, Case, Command

Change = Callable[[Path, random.Random], None]


def named(name: str) -> Command:
    """The command of the table."""
    return next(command for command in COMMANDS if command.name == name)


def all_hostile(good: Path) -> Iterator[Case]:
    """Every case of this file."""
    yield from _nets()
    yield from _weights()
    yield from _features()
    yield from _entries()
    yield from _json(good)


# ---------------------------------------------------------------- nets and solvers
GUESTS = {  # layers that do more than compute: a file stolen.txt, the module thief, other databases
    "HDF5Output": 'bottom: "fc7" bottom: "fc7" hdf5_output_param { file_name: "list.txt" }',
    "Python": 'bottom: "fc7" top: "x" python_param { module: "thief" layer: "Thief" }',
    "HDF5Data": 'top: "x" hdf5_data_param { source: "list.txt" batch_size: 1 }',
    "ImageData": 'top: "x" top: "y" image_data_param { source: "list.txt" batch_size: 1 }',
    "WindowData": 'top: "x" top: "y" window_data_param { source: "list.txt" batch_size: 1 }',
    "Data": 'top: "x" top: "y" data_param { source: "test_lmdb" backend: LMDB batch_size: 1 }',
    "MemoryData": 'top: "x" top: "y" memory_data_param { batch_size: 1 channels: 1 height: 1 width: 1 }',
    "InfogainLoss": 'bottom: "fc8_pascal" bottom: "label" infogain_loss_param { source: "mean.binaryproto" }',
    "NoSuchLayer": 'bottom: "fc7" top: "x"',
}
THIEF = 'import pathlib\npathlib.Path("stolen.txt").write_text("code of a net ran")\n'
SIZES = {  # what -> (pattern, replacement)
    "a batch of 2e9": (r"batch_size: \d+", "batch_size: 2000000000"),
    "a batch of 0": (r"batch_size: \d+", "batch_size: 0"),
    "sides of 1e9": (r"dim: 20 dim: 20", "dim: 1000000000 dim: 1000000000"),
    "no sides": (r"dim: 20 dim: 20", "dim: 0 dim: 0"), "negative sides": (r"dim: 20 dim: 20", "dim: -20 dim: -20"),
    "a crop of 1e9": (r"crop_size: \d+", "crop_size: 1000000000"),
    "1e9 units": (r"num_output: 32", "num_output: 1000000000"), "no units": (r"num_output: 32", "num_output: 0"),
    "a kernel of 1e9": (r"kernel_size: 5", "kernel_size: 1000000000"),
    "no kernel": (r"kernel_size: 5", "kernel_size: 0"),
    "no stride": (r"stride: 2", "stride: 0"), "NaN as dropout": (r"dropout_ratio: 0.25", "dropout_ratio: nan"),
    "a bottom that is not there": (r'bottom: "fc6" top: "fc6"', 'bottom: "gone" top: "fc6"'),
    "a layer that feeds itself": (r'bottom: "conv1" top: "fc6"', 'bottom: "fc7" top: "fc6"'),
    "another database": (r'source: "train_lmdb"', 'source: "/etc"'),
    "a FIFO as mean": (r'mean_file: "[^"]*"', 'mean_file: "/dev/stdin"'),
}
SOLVERS = {
    "weights named": ('weights: "run/final.caffemodel"', REFUSED), "a net inside": ('net_param { name: "x" }', REFUSED),
    "another net named": ('train_net: "train_val.prototxt"', REFUSED),
    "a prefix elsewhere": ('snapshot_prefix: "../stolen"', ANY), "a rate of NaN": ("base_lr: nan", REFUSED),
    "a rate of 1e30": ("base_lr: 1e30", ANY), "negative iterations": ("max_iter: -5", ANY),
    "an unknown rule": ('lr_policy: "magic"', REFUSED), "an unknown type": ('type: "Magic"', REFUSED),
    "steps of 0": ("stepsize: 0", ANY), "a test every 0": ("test_interval: 0", ANY),
    "snapshots every -1": ("snapshot: -1", ANY), "a display of 0": ("display: 0", ANY),
}


def appended(text: str) -> Change:
    def change(path: Path, rng: random.Random) -> None:
        (path.parent / "thief.py").write_text(THIEF)
        path.write_text(path.read_text() + text + "\n")
    return change


def replaced(pattern: str, text: str) -> Change:
    def change(path: Path, rng: random.Random) -> None:
        before = path.read_text()
        path.write_text(re.sub(pattern, text, before))
    return change


def set_option(line: str) -> Change:
    """In a solver, which takes each option once."""
    def change(path: Path, rng: random.Random) -> None:
        name = re.match(r"\w+", line)[0]
        path.write_text(re.sub(rf'\b{name}: *("[^"]*"|\S+)', "", path.read_text()) + line + "\n")
    return change


def _nets() -> Iterator[Case]:
    for command, file in (("train", "train_val.prototxt"), ("extract", "run/deploy.prototxt"),
                          ("export", "run/deploy.prototxt")):
        for kind, options in GUESTS.items():
            text = f'layer {{ name: "guest" type: "{kind}" {options} }}'
            yield Case(named(command), file, f"a layer {kind}", appended(text), REFUSED)
        for kind, (pattern, text) in SIZES.items():
            # a layer of the other kind of net, or a choice that the program makes itself, is no fault of this one
            yield Case(named(command), file, kind, replaced(pattern, text), ANY)
    for kind, (pattern, text) in SIZES.items():
        if kind in ("a batch of 2e9", "1e9 units", "another database", "a crop of 1e9"):
            yield Case(named("train"), "train_val.prototxt", f"{kind}, surely", replaced(pattern, text), REFUSED)
    for kind, (line, expected) in SOLVERS.items():
        yield Case(named("train"), "solver.prototxt", kind, set_option(line), expected)


# ---------------------------------------------------------------- weights
def weights(edit: Callable[[caffe_pb2.NetParameter], None]) -> Change:
    def change(path: Path, rng: random.Random) -> None:
        net = caffe_pb2.NetParameter.FromString(path.read_bytes())
        edit(net)
        path.write_bytes(net.SerializeToString())
    return change


def one_value(layer: str, value: float) -> Change:
    def edit(net):
        blob = next(one for one in net.layer if one.name == layer).blobs[0]
        blob.data[len(blob.data) // 2] = value
    return weights(edit)


def all_values(value: float) -> Change:
    def edit(net):
        for layer in net.layer:
            for blob in layer.blobs:
                blob.data[:] = [value] * len(blob.data)
    return weights(edit)


def reshaped(net: caffe_pb2.NetParameter) -> None:
    next(one for one in net.layer if one.name == "fc7").blobs[0].shape.dim[:] = [4, 128]


def shortened(net: caffe_pb2.NetParameter) -> None:
    del next(one for one in net.layer if one.name == "fc7").blobs[0].data[-1]


def unlike(net: caffe_pb2.NetParameter) -> None:
    for layer in net.layer:
        layer.name = f"other_{layer.name}"


WEIGHTS = {
    "one NaN": (one_value("fc7", float("nan")), REFUSED), "one infinity": (one_value("conv1", float("inf")), REFUSED),
    "all NaN": (all_values(float("nan")), REFUSED), "all 1e38": (all_values(1e38), REFUSED),
    "another shape": (weights(reshaped), REFUSED), "a value less": (weights(shortened), REFUSED),
    "no layer of the net's": (weights(unlike), REFUSED),
}


def _weights() -> Iterator[Case]:
    for command in ("extract", "fine-tune", "export", "package", "add"):
        for kind, (change, expected) in WEIGHTS.items():
            ends_later = kind == "all 1e38" and command in ("package", "fine-tune")  # finite numbers, as they stand
            yield Case(named(command), "run/final.caffemodel", kind, change, ANY if ends_later else expected)
    for kind, (change, _) in WEIGHTS.items():
        yield Case(named("go on"), "run/snapshots/iter_20.caffemodel", kind, change, REFUSED)


# ---------------------------------------------------------------- features
def array(edit: Callable[[np.ndarray], np.ndarray]) -> Change:
    def change(path: Path, rng: random.Random) -> None:
        np.save(path, edit(np.load(path)))
    return change


def with_value(value: float, row: int = 3) -> Change:
    def edit(values):
        values[row, 1] = value
        return values
    return array(edit)


FEATURES = {
    "latent.npy": {
        "logits": (array(lambda p: np.log(p / (1 - p))), REFUSED), "0 to 255": (array(lambda p: p * 255), REFUSED),
        "bytes": (array(lambda p: (p * 255).astype(np.uint8)), REFUSED), "NaN": (with_value(np.nan), REFUSED),
        "infinity": (with_value(np.inf), REFUSED), "a little less than 0": (with_value(-1e-6), REFUSED),
        "a little more than 1": (with_value(1.00001), REFUSED), "transposed": (array(np.transpose), REFUSED),
        "flat": (array(np.ravel), REFUSED), "a bit less": (array(lambda p: p[:, 1:]), REFUSED),
        "complex": (array(lambda p: p.astype(complex)), REFUSED), "words": (array(lambda p: p.astype(str)), REFUSED),
        "a row less": (array(lambda p: p[1:]), REFUSED), "no row": (array(lambda p: p[:0]), REFUSED),
        "8 bytes a number": (array(lambda p: p.astype(np.float64)), SAME),
        "in Fortran's order": (array(np.asfortranarray), SAME),
        "the other byte order": (array(lambda p: p.astype(">f4")), SAME)},
    "fc7.npy": {
        "1e30": (with_value(1e30), REFUSED), "-1e30": (with_value(-1e30), REFUSED),
        "NaN": (with_value(np.nan), REFUSED),
        "NaN in the last row": (with_value(np.nan, -1), REFUSED), "infinity": (with_value(np.inf), REFUSED),
        "whole numbers": (array(lambda f: f.astype(int)), REFUSED), "a unit less": (array(lambda f: f[:, 1:]), REFUSED),
        "a row less": (array(lambda f: f[1:]), REFUSED), "flat": (array(np.ravel), REFUSED),
        "three axes": (array(lambda f: f[:, :, None]), REFUSED),
        "in Fortran's order": (array(np.asfortranarray), SAME),
        "the other byte order": (array(lambda f: f.astype(">f4")), SAME)},
    "predictions.npy": {
        "a column": (array(lambda p: p[:, None]), REFUSED), "probabilities": (
            array(lambda p: np.eye(4, dtype=np.float32)[p]), REFUSED), "one": (array(lambda p: p[:1]), REFUSED),
        "a scalar": (array(lambda p: p[0]), REFUSED), "a row more": (array(lambda p: np.append(p, 0)), REFUSED),
        "floating point": (array(lambda p: p.astype(np.float32)), REFUSED),
        "classes that are not there": (array(lambda p: p + 10**6), ANY)},
    "labels.npy": {
        "floating point": (array(lambda c: c + 0.5), REFUSED), "a row less": (array(lambda c: c[1:]), REFUSED),
        "a square": (array(lambda c: np.stack([c, c], 1) + 2), REFUSED),
        "a column": (array(lambda c: c[:, None]), SAME),
        "far apart": (array(lambda c: c * 10**12), ANY), "negative": (array(lambda c: c - 2), ANY),
        "several in one split only": (array(lambda c: np.eye(4, dtype=np.uint8)[c]), REFUSED)},
    "thumbs.npy": {
        "floating point": (array(lambda t: t / 255), REFUSED),
        "flat": (array(lambda t: t.reshape(len(t), -1)), REFUSED),
        "four channels": (array(lambda t: np.concatenate([t, t[..., :1]], -1)), REFUSED),
        "a row less": (array(lambda t: t[1:]), REFUSED)},
}
NOT_ASKED = ("labels.npy", "predictions.npy")  # query.py has no use for them


def _features() -> Iterator[Case]:
    for command in ("evaluate", "query", "compare"):
        for split in ("train", "test"):
            for name, changes in FEATURES.items():
                for kind, (change, expected) in changes.items():
                    idle = command == "query" and name in NOT_ASKED
                    yield Case(named(command), f"run/features/{split}/{name}", kind, change, ANY if idle else expected)


# ---------------------------------------------------------------- databases
def entry(place: float, edit: Callable[[caffe_pb2.Datum], bytes | None]) -> Change:
    """Another value for the entry at 0 (first) to 1 (last); None takes it out."""
    def change(folder: Path, rng: random.Random) -> None:
        with lmdb.open(str(folder), map_size=1 << 28) as database, database.begin(write=True) as transaction:
            with transaction.cursor() as cursor:
                keys = [bytes(key) for key in cursor.iternext(values=False)]
            key = keys[round(place * (len(keys) - 1))]
            value = edit(caffe_pb2.Datum.FromString(transaction.get(key)))
            transaction.delete(key)
            if value is not None:
                transaction.put(key, value)
        (folder / "lock.mdb").unlink(missing_ok=True)
    return change


def changed(**fields: object) -> Callable[[caffe_pb2.Datum], bytes]:
    def edit(datum: caffe_pb2.Datum) -> bytes:
        for name, value in fields.items():
            setattr(datum, name, value(datum) if callable(value) else value)
        return datum.SerializeToString()
    return edit


def jpeg(part: float) -> Callable[[caffe_pb2.Datum], bytes]:
    def edit(datum: caffe_pb2.Datum) -> bytes:
        pixels = np.frombuffer(datum.data, np.uint8).reshape(datum.channels, datum.height, datum.width)
        content = cv2.imencode(".jpg", np.moveaxis(pixels, 0, 2))[1].tobytes()
        datum.data, datum.encoded = content[:int(len(content) * part)], True
        return datum.SerializeToString()
    return edit


# kind -> (edit, expected of training, expected of extraction)
ENTRIES = {
    "short data": (changed(data=lambda d: d.data[:-1]), REFUSED, REFUSED),
    "long data": (changed(data=lambda d: d.data + b"x"), REFUSED, REFUSED),
    "no data": (changed(data=b""), REFUSED, REFUSED), "half a JPEG": (jpeg(0.5), REFUSED, REFUSED),
    "a whole JPEG": (jpeg(1), ANY, ANY), "raw data called an image": (changed(encoded=True), REFUSED, REFUSED),
    "label 5000": (changed(label=5000), REFUSED, ANY), "label -1": (changed(label=-1), REFUSED, ANY),
    "another size": (changed(height=18, width=72), REFUSED, ANY), "no height": (changed(height=0), REFUSED, REFUSED),
    "a height of 2e9": (changed(height=2 * 10**9), REFUSED, REFUSED), "no bytes": (lambda d: b"", REFUSED, REFUSED),
    "no Datum": (lambda d: b"\xff" * 99, REFUSED, REFUSED), "text": (lambda d: b"hello", REFUSED, REFUSED),
}


def _entries() -> Iterator[Case]:
    for kind, (edit, of_training, of_extraction) in ENTRIES.items():
        for place, where in ((0.0, "first"), (0.02, "second"), (0.6, "a middle"), (1.0, "last")):
            what = f"{kind} in the {where} entry"
            yield Case(named("train"), "train_lmdb", what, entry(place, edit), of_training)
            yield Case(named("train"), "test_lmdb", what, entry(place, edit), of_training)
            yield Case(named("extract"), "test_lmdb", what, entry(place, edit), of_extraction)
    for place in (0.0, 0.6):
        yield Case(named("train"), "train_lmdb", f"an entry less at {place}", entry(place, lambda d: None), ANY)


# ---------------------------------------------------------------- JSON whose parts have other types
OTHERS = (None, [], {}, -1, 1e300, "x", True, [[]], "\ud800")
JSON_FILES = (("go on", "run/run.json"), ("go on", "run/snapshots/iter_20.json"), ("extract", "run/run.json"),
              ("evaluate", "run/features/train/meta.json"), ("query", "run/features/train/meta.json"),
              ("query", "run/features/test/meta.json"), ("add", "run/features/train/meta.json"),
              ("package", "run/run.json"), ("table", "results.json"))


def set_entry(name: str, value: object) -> Change:
    def change(path: Path, rng: random.Random) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    return change


def _json(good: Path) -> Iterator[Case]:
    for command, file in JSON_FILES:
        for place, name in enumerate(json.loads((good / file).read_text())):
            for step in range(3):  # all types in turns: every one everywhere would be a thousand cases
                value = OTHERS[(place * 3 + step) % len(OTHERS)]
                yield Case(named(command), file, f"{name}: {value!r}", set_entry(name, value), ANY)
