"""The Makefile: what its programs are called with, what it refuses, what it prints.

It runs in a copy of the checkout whose .venv/bin/python writes down its arguments. tests/test_end_to_end.py runs the
real one.
"""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
AWKWARD = "/a b/it's \"é\" $(touch made) `touch made`;*%#.jpg"
SEPARATOR = "\x1f"
PYTHON = """#!/bin/sh
{ printf '%s\\037' "$@"; echo; } >>calls
[ "$2" != name ] || echo photos
case $1 in *make_lmdb.py) while [ "$1" != --out ]; do shift; done; mkdir -p "$2" ;; esac
"""


@pytest.fixture
def checkout(tmp_path):
    """The Makefile and what it reads, set up, with a finished run named done."""
    for name in ("Makefile", "requirements.txt", "requirements-bench.txt", "requirements-dev.txt",
                 "requirements-serve.txt", "requirements-test.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("third_party", "prototxt"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "python").mkdir()
    for name in ("build/.apt-packages", "python/net_template.py", ".venv/bin/python",
                 *(f"runs/done/features/{split}/meta.json" for split in ("train", "test")),
                 ".venv/.requirements", ".venv/.bench", ".venv/.serve", ".venv/.test"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".venv/bin/python").write_text(PYTHON)
    (tmp_path / ".venv/bin/python").chmod(0o755)
    return tmp_path


def make(folder, *words, **environment):
    """(exit status, what was printed); as from a user's shell, even when make runs these tests."""
    of_make = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ASKED")
    outer = {name: value for name, value in os.environ.items() if name not in of_make}
    done = subprocess.run(["make", "CAFFE_READY=", *words], cwd=folder, capture_output=True, text=True,
                          env={**outer, **environment})
    return done.returncode, done.stdout + done.stderr


def calls(folder):
    """{program: [its arguments, call by call]}."""
    found = {}
    for line in (folder / "calls").read_text().split("\n")[:-1]:
        program, *arguments = line.split(SEPARATOR)[:-1]
        found.setdefault(program, []).append(arguments)
    return found


def value_of(arguments, option):
    return arguments[arguments.index(option) + 1]


PATHS = [
    ("train-cifar", "DATA", "data_prep/inputs.py", "--data"),
    ("train-cifar", "DATA", "data_prep/make_lmdb.py", "--data"),
    ("train-cifar", "WEIGHTS", "data_prep/inputs.py", "--weights"),
    ("train-cifar", "WEIGHTS", "python/train.py", "--weights"),
    ("train-mnist", "DATA", "data_prep/make_lmdb.py", "--data"),
    ("train", "DATA", "data_prep/inputs.py", "--data"),
    ("train", "DATA", "data_prep/make_lmdb.py", "--data"),
    ("es-pretrained RUN=done", "WEIGHTS", "python/extract.py", "--weights"),
    ("query RUN=done", "IMAGE", "python/extract.py", "--images"),
    ("export OUT=o", "FILE", "python/export.py", "--weights"),
    ("export RUN=done", "OUT", "python/export.py", "--out"),
    ("upgrade FILE=f", "OUT", "python/upgrade.py", "--out"),
    ("compare-cifar RUN=done", "RELEASED", "data_prep/inputs.py", "--file"),
    ("compare-cifar RUN=done", "RELEASED", "python/extract.py", "--weights"),
    ("bench", "DATA", "data_prep/bench_prep.py", "--data"),
]


@pytest.mark.parametrize("target, variable, program, option", PATHS)
def test_a_path_reaches_the_program_as_it_is(checkout, target, variable, program, option):
    status, printed = make(checkout, *target.split(), f"{variable}={AWKWARD.replace('$', '$$')}")
    assert status == 0, printed
    assert value_of(calls(checkout)[program][0], option) == AWKWARD
    assert not (checkout / "made").exists()


@pytest.mark.parametrize("target, variable, program, option", PATHS)
def test_a_path_in_the_environment_reaches_the_program_as_it_is(checkout, target, variable, program, option):
    status, printed = make(checkout, *target.split(), **{variable: AWKWARD})
    assert status == 0, printed
    assert value_of(calls(checkout)[program][0], option) == AWKWARD
    assert not (checkout / "made").exists()


@pytest.mark.parametrize("value", ["$(touch made)", "$(shell touch made)", "a$b"])
def test_a_lone_dollar_is_refused_before_make_reads_it(checkout, value):
    status, printed = make(checkout, "train-cifar", f"DATA={value}")
    assert status == 2
    assert f"DATA={value}: make reads a dollar" in printed
    assert not (checkout / "made").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/../b", "a/..", "/tmp/x", "a b", "a;b", "$$x", "a'b", "a:b",
                                  "100%"])
def test_a_run_that_is_no_name_below_runs_is_refused(checkout, name):
    status, printed = make(checkout, "train-cifar", f"RUN={name}")
    assert status == 2
    assert f"RUN={name.replace('$$', '$')}: not a name" in printed
    assert not (checkout / "calls").exists()


@pytest.mark.parametrize("name", ["mine", "été-2", "group/first_try", "v1.0", "a..b"])
def test_a_run_may_be_any_plain_name_or_a_path_of_them(checkout, name):
    status, printed = make(checkout, "train-cifar", f"RUN={name}")
    assert status == 0, printed
    assert value_of(calls(checkout)["python/train.py"][0], "--run") == f"runs/{name}"


@pytest.mark.parametrize("target, ignored", [("demo", "BITS=12"), ("demo", "RUN=x"), ("train-cifar", "NET=lenet"),
                                             ("train-cifar", "ITER=5"), ("query", "DATA=x"), ("lint", "GPU=0")])
def test_a_variable_that_a_target_ignores_is_refused_with_those_it_takes(checkout, target, ignored):
    status, printed = make(checkout, target, ignored)
    assert status == 2
    assert f"{ignored.split('=')[0]}= has no effect on {target}, which takes: " in printed
    assert not (checkout / "calls").exists()


@pytest.mark.parametrize("target, variable", [("query", "IMAGE"), ("upgrade", "FILE"), ("export", "OUT"),
                                              ("train", "DATA")])
def test_a_variable_that_a_target_needs_is_asked_for(checkout, target, variable):
    status, printed = make(checkout, target)
    assert status == 2
    assert f"{target}: {variable}= is missing: make {target} " in printed


@pytest.mark.parametrize("target", [("query", "IMAGE=photo.jpg"), ("es-pretrained",), ("compare-cifar", "RELEASED=x")])
def test_what_needs_a_finished_run_says_which_there_are(checkout, target):
    status, printed = make(checkout, *target, "RUN=other")
    assert status == 2
    assert f"{target[0]}: runs/other has no features; RUN= names a finished run: done" in printed
    assert not (checkout / "calls").exists()


def test_several_gpus_train_and_the_first_extracts(checkout):
    status, printed = make(checkout, "train-mnist", "GPU=1,0", "ITER_SIZE=2")
    assert status == 0, printed
    training, = calls(checkout)["python/train.py"]
    assert value_of(training, "--gpu") == "1,0"
    assert value_of(training, "--iter-size") == "2"
    assert value_of(calls(checkout)["python/extract.py"][0], "--gpu") == "1"


@pytest.mark.parametrize("words, run", [
    (["train-mnist"], "mnist_lenet_48"), (["train-mnist", "NET=caffenet", "BITS=128"], "mnist_caffenet_128"),
    (["train-cifar"], "cifar10_caffenet_48"), (["train-cifar", "SCHEDULE=0.1"], "cifar10_caffenet_48_schedule0.1"),
    (["train", "DATA=."], "photos_caffenet_48"), (["train", "DATA=.", "DATASET=hats", "NET=lenet"], "hats_lenet_48"),
    (["train", "DATA=.", "NET=ssdh", "BITS=16"], "photos_ssdh_16"), (["train", "DATA=.", "RUN=mine"], "mine"),
    (["demo"], "demo")])
def test_each_experiment_has_a_run_of_its_own(checkout, words, run):
    status, printed = make(checkout, *words)
    assert status == 0, printed
    found = calls(checkout)
    assert value_of(found["python/train.py"][0], "--run") == f"runs/{run}"
    assert value_of(found["python/extract.py"][0], "--out") == f"runs/{run}/features"


def test_images_of_ones_own_get_a_net_of_their_classes(checkout):
    status, printed = make(checkout, "train", "DATA=.", "BITS=12")
    assert status == 0, printed
    template, = calls(checkout)["python/net_template.py"]
    assert value_of(template, "--dataset") == "photos"
    assert value_of(template, "--database") == "data/photos"
    assert value_of(calls(checkout)["python/train.py"][0], "--solver") \
        == "build/prototxt/photos_caffenet_12/solver.prototxt"


def test_the_follow_up_is_trained_on_the_databases_of_the_papers_net(checkout):
    status, printed = make(checkout, "train", "DATA=.", "NET=ssdh", "SEED=7")
    assert status == 0, printed
    found = calls(checkout)
    assert value_of(found["data_prep/make_lmdb.py"][0], "--out") == "data/photos"
    assert value_of(found["python/net_template.py"][0], "--net") == "ssdh"
    assert value_of(found["python/train.py"][0], "--seed") == "7"


@pytest.mark.parametrize("model", [["RUN=done"], ["PACKAGE=a pack'age"]])
def test_a_run_or_a_package_is_asked(checkout, model):
    status, printed = make(checkout, "query", "IMAGE=photo.jpg", *model)
    assert status == 0, printed
    found = calls(checkout)
    option, value, out = ("--package", "a pack'age", "build/query") if "PACKAGE" in model[0] else \
        ("--run", "runs/done", "runs/done/query")
    assert value_of(found["python/extract.py"][0], option) == value
    assert value_of(found["eval/query.py"][0], "--out") == out


def test_all_lengths_of_the_table_are_trained_by_the_schedule_asked_for(checkout):
    status, printed = make(checkout, "cifar-table", "SCHEDULE=0.1")
    assert status == 0, printed
    found = calls(checkout)
    runs = [f"runs/cifar10_caffenet_{bits}_schedule0.1" for bits in (12, 16, 32, 48, 64, 128)]
    assert [value_of(arguments, "--run") for arguments in found["python/train.py"]] == runs
    assert {value_of(arguments, "--schedule") for arguments in found["python/train.py"]} == {"0.1"}
    assert found["eval/cifar_table.py"] == [[f"{run}/eval/results.json" for run in runs]]


def test_options_not_given_are_not_passed(checkout):
    status, printed = make(checkout, "train-mnist")
    assert status == 0, printed
    assert "--iterations" not in calls(checkout)["python/train.py"][0]
    assert "--iter-size" not in calls(checkout)["python/train.py"][0]
    assert "--seed" not in calls(checkout)["python/train.py"][0]
    assert value_of(calls(checkout)["python/train.py"][0], "--weights") == "none"


def test_further_options_are_read_as_the_shell_reads_them(checkout):
    status, printed = make(checkout, "demo", "TRAIN_OPTIONS=--snapshot-every 5 --note 'two words'")
    assert status == 0, printed
    assert calls(checkout)["python/train.py"][0][-4:] == ["--snapshot-every", "5", "--note", "two words"]


def test_an_experiment_keeps_results_of_the_same_features_and_options_measure_again(checkout):
    make(checkout, "demo")
    make(checkout, "demo", "EVAL_OPTIONS=--score-only")
    first, second = calls(checkout)["eval/evaluate.py"]
    assert first[-1] == "--if-changed"
    assert second[-1] == "--score-only"


def test_the_stages_of_an_experiment_are_asked_in_order(checkout):
    status, printed = make(checkout, "demo")
    assert status == 0, printed
    assert list(calls(checkout)) == ["data_prep/inputs.py", "data_prep/make_lmdb.py", "python/train.py",
                                     "python/extract.py", "eval/evaluate.py"]


def test_databases_that_are_complete_are_not_made_again(checkout):
    make(checkout, "demo")
    make(checkout, "demo")
    assert len(calls(checkout)["data_prep/make_lmdb.py"]) == 1
    assert len(calls(checkout)["python/train.py"]) == 2


def test_features_of_the_net_before_training_are_evaluated_with_the_others(checkout):
    (checkout / "runs/done/pretrained/test").mkdir(parents=True)
    (checkout / "runs/done/pretrained/test/meta.json").touch()
    assert make(checkout, "evaluate", "RUN=done")[0] == 0
    assert value_of(calls(checkout)["eval/evaluate.py"][0], "--pretrained-features") == "runs/done/pretrained"


def test_bare_make_shows_every_target_and_variable():
    status, printed = make(ROOT)
    assert status == 0
    for group in ("Start here", "Experiments", "Look", "Compare", "Check", "Caffe"):
        assert f"\n{group}\n" in printed, group
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^([a-z][a-z-]*):.*  ## ", makefile, re.MULTILINE):
        assert re.search(rf"^  {target} +\S", printed, re.MULTILINE), target
    groups = ("TRAINING", "EXPERIMENT", "A_RUN", "CPU", "CAFFE_TESTS", "REAL_DATA")
    for name in re.findall(r"\b[A-Z][A-Z_]+\b", re.search(r"^TAKES_help(.*?)^NEEDS", makefile, re.M | re.S).group(1)):
        if not name.startswith("TAKES") and name not in groups:
            assert f"{name}=" in printed, name


def test_a_recipe_is_short():
    recipe = 0
    for number, line in enumerate((ROOT / "Makefile").read_text().replace("\\\n", "").splitlines(), 1):
        recipe = recipe + 1 if line.startswith("\t") else 0
        assert recipe <= 3, f"line {number}: {line}"


def test_targets_named_in_the_readmes_exist():
    pages = [ROOT / "README.md", *ROOT.glob("[a-z]*/README.md"), *ROOT.glob("third_party/*/README.md")]
    known = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text()
                           + (ROOT / "third_party/caffe/caffe.mk").read_text(), re.MULTILINE))
    for page in pages:
        for named in re.findall(r"(?:^|`|    )make ([a-z][a-z0-9]*(?:-[a-z]+)*)", page.read_text(), re.MULTILINE):
            assert named in known, f"{page}: make {named}"
