"""A training that stands still: each symptom and each cause, provoked in a small net; a training that goes well."""
import json

import numpy as np
import pytest

from caffe_cases import BODY, CLASSES, TRAIN_VAL, change, images_of, write_lmdb, write_mean
from caffe_files.samples import neighbours_agree
from training.symptoms import guessing_loss, symptoms_of
from training.testing import TestResult

GREY_NOISE = 'weight_filler { type: "gaussian" std: 0.001 }'


def train(call, *options, iterations=100, run="run", weights="none"):
    status, said = call("train", "--solver", "solver.prototxt", "--run", run, "--weights", weights, "--gpu", "none",
                        "--iterations", iterations, "--test-every", iterations, *options)
    assert status == 0, said
    return said


def diagnosis(folder):
    return json.loads((folder / "run/standstill.json").read_text())


def causes_of(folder):
    return [cause["name"] for cause in diagnosis(folder)["causes"]]


def more_images(folder, labels=None, count=400):
    """A training set too large to be learned by heart. labels: what to do with the right ones."""
    images, right = images_of(count, 5)
    for name in ("data.mdb", "lock.mdb"):
        (folder / "train_lmdb" / name).unlink()
    (folder / "train_lmdb").rmdir()
    write_lmdb(folder / "train_lmdb", images, right if labels is None else labels(right))


def test_a_training_that_goes_well_says_nothing(problem, call):
    said = train(call, iterations=200)
    assert "stands still" not in said
    assert not (problem / "run/standstill.json").exists()


def test_before_a_hundred_iterations_nothing_is_said(problem, call):
    change(problem / "solver.prototxt", "base_lr: 0.05", "base_lr: 1e-9")
    assert "stands still" not in train(call, iterations=20)


def test_a_learning_rate_that_is_too_low(problem, call):
    change(problem / "solver.prototxt", "base_lr: 0.05", "base_lr: 1e-9")
    said = train(call)
    assert "iteration    100  training stands still: the loss is 1." in said
    assert "1. the weights of fc8_pascal have changed by" in said
    assert causes_of(problem) == ["learning rate"]
    assert diagnosis(problem)["symptoms"]["accuracy"][1] == pytest.approx(0.26)  # 13 of the 50 test images


def test_a_learning_rate_that_is_too_high(problem, call):
    change(problem / "solver.prototxt", "base_lr: 0.05", "base_lr: 3")
    said = train(call)
    assert "1. 100% of the units in fc8_kevin_encode are saturated and the same for all images" in said
    found = diagnosis(problem)
    assert causes_of(problem) == ["learning rate"]
    assert found["symptoms"]["constant_bits"] == [8, 8]
    assert found["symptoms"]["swallowed"][1] == 1
    assert any("100% of the test images are taken for class" in line for line in found["words"])


def test_labels_of_other_images(problem, call):
    more_images(problem, labels=lambda right: np.random.default_rng(0).permutation(right))
    said = train(call, iterations=150)
    assert "1. labels seem to belong to other images: of 400 training images" in said
    assert causes_of(problem) == ["labels"]


def test_the_right_labels_are_not_suspected(problem, call):
    more_images(problem)
    change(problem / "solver.prototxt", "base_lr: 0.05", "base_lr: 1e-9")
    train(call)
    assert causes_of(problem) == ["learning rate"]


def test_one_class_only(problem, call):
    more_images(problem, labels=np.zeros_like)
    said = train(call)
    assert "1. 400 of 400 training images are of class 0" in said
    assert causes_of(problem)[0] == "one class"
    assert "100% of the test images are taken for class 0" in said


def test_a_mean_image_of_other_images(problem, call):
    write_mean(problem / "mean.binaryproto", np.full((1, 3, 36, 36), 2000.0))
    change(problem / "train_val.prototxt", "scale: 0.0078125", "scale: 1")
    train(call)
    found = diagnosis(problem)
    assert "the mean image mean.binaryproto is not of such images: its mean is 2000" in found["advice"][0]
    assert causes_of(problem)[0] == "mean"


def test_pixels_that_are_not_scaled(problem, call):
    change(problem / "train_val.prototxt", 'mean_file: "mean.binaryproto" scale: 0.0078125', "")
    change(problem / "solver.prototxt", "base_lr: 0.05", "base_lr: 0.3")
    train(call)
    assert "pixels go in as they are" in diagnosis(problem)["advice"][0]


def deep(text):
    """Seven layers below the latent one, whose fillers let nothing through."""
    first = text.index('layer { name: "fc8_kevin"')
    added = "".join(f"""layer {{ name: "deep{n}" type: "InnerProduct" bottom: "{bottom}" top: "deep{n}"
  inner_product_param {{ num_output: 16 {GREY_NOISE} }} }}
""" for n, bottom in enumerate(["fc7", *(f"deep{n}" for n in range(4))]))
    return text[:first] + added + text[first:].replace('bottom: "fc7"', 'bottom: "deep4"')


def test_weights_that_were_not_loaded(problem, call):
    (problem / "train_val.prototxt").write_text(deep(TRAIN_VAL))
    said = train(call)
    assert "1. no weights were loaded: all 8 layers below the codes started from their fillers" in said


def test_weights_whose_layers_have_other_names(problem, tiny_run, call):
    text = deep(TRAIN_VAL).replace('name: "fc6"', 'name: "fc6_old"')
    (problem / "train_val.prototxt").write_text(text)
    said = train(call, weights=tiny_run.run / "final.caffemodel")
    assert "final.caffemodel filled no layer fc6_old, deep0, deep1, deep2, deep3, deep4: a layer" in said
    assert causes_of(problem)[0] == "weights"


def test_what_was_told_is_taken_back_when_it_goes_on_well(problem, call):
    (problem / "train_val.prototxt").write_text(TRAIN_VAL)
    change(problem / "solver.prototxt", "base_lr: 0.05 lr_policy: \"step\" gamma: 0.5 stepsize: 150",
           "base_lr: 1e-9 lr_policy: \"step\" gamma: 5e7 stepsize: 100")
    change(problem / "solver.prototxt", "max_iter: 200", "max_iter: 190")
    status, said = call("train", "--solver", "solver.prototxt", "--run", "run", "--weights", "none", "--gpu", "none",
                        "--test-every", 100)
    assert status == 0
    assert said.index("stands still") < said.index("iteration    190  training is on its way now")
    assert not (problem / "run/standstill.json").exists()


def test_the_loss_of_guessing_is_the_entropy_of_the_classes():
    assert guessing_loss(np.array([5, 5, 5, 5])) == pytest.approx(np.log(4))
    assert guessing_loss(np.array([9, 0, 0])) == 0
    assert guessing_loss(np.array([3, 1])) == pytest.approx(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))


def result_of(predicted, actual, codes):
    result = TestResult(len(actual))
    scores = np.eye(CLASSES)[predicted]
    result.add(scores, np.asarray(actual), np.asarray(codes, np.float32))
    return result


def test_symptoms_of_hand_made_results():
    actual = np.arange(40) % 4
    codes = np.tile([0.1, 0.9], (40, 4))
    found = symptoms_of(100, 1.38, np.full(4, 10), 40, result_of(np.zeros(40, int), actual, codes))
    assert found.loss == (1.38, pytest.approx(np.log(4)))
    assert found.accuracy == (0.25, 0.25)
    assert found.swallowed == (0, 1.0)
    assert found.constant_bits == (8, 8)
    codes = np.where(np.arange(40)[:, None] % 2, codes, 1 - codes)
    assert not symptoms_of(100, 0.5, np.full(4, 10), 40, result_of(actual, actual, codes)).standing


def test_a_class_that_is_frequent_is_no_swallower():
    actual = np.array([0] * 38 + [1, 2])
    codes = np.where(np.arange(40)[:, None] % 2, [[0.1, 0.9]], [[0.9, 0.1]])
    assert symptoms_of(100, 0.01, np.full(4, 10), 40, result_of(actual * 0, actual, codes)).swallowed is None


def test_neighbours_agree_by_lot_where_labels_are_drawn():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 100)
    pictures = rng.normal(labels[:, None], 0.2, (400, 5)).astype(np.float32)
    agree, by_lot = neighbours_agree(pictures, labels)
    assert agree > 0.9
    assert by_lot == pytest.approx(99 / 399)
    assert neighbours_agree(pictures, rng.permutation(labels))[0] == pytest.approx(by_lot, abs=0.08)


def test_the_small_problem_has_a_body_to_build_on():
    assert BODY in TRAIN_VAL
