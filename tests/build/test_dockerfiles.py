"""Dockerfile.cpu and Dockerfile.cuda: their steps are make targets that exist, on files that are copied before.

No Docker engine runs these: the steps themselves were tried in bare systems (README, Systems tried).
"""
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted(ROOT.glob("Dockerfile.*"))


def steps(path, word):
    """What follows `word` at the starts of a Dockerfile's lines."""
    return re.findall(rf"^{word} (.*)$", path.read_text(), re.MULTILINE)


def test_there_is_one_for_each_device():
    assert [path.suffix for path in DOCKERFILES] == [".cpu", ".cuda"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_steps_are_make_targets_and_copied_files_exist(path):
    targets = [target for step in steps(path, "RUN") for target in re.findall(r"^make ([a-z-]+)", step)]
    known = (ROOT / "Makefile").read_text() + (ROOT / "third_party/caffe/caffe.mk").read_text()
    assert targets
    assert all(re.search(rf"^{target}:", known, re.MULTILINE) for target in targets)
    copied = [name for step in steps(path, "COPY") if "--from" not in step for name in step.split()[:-1]]
    assert {"Makefile", "requirements.txt", "third_party", "."} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)


def test_nothing_generated_goes_into_an_image():
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {"build/", "data/", "runs/", ".venv/"} <= set(ignored)


def test_the_cuda_image_keeps_its_options_for_later_calls_of_make():
    """Options given to make replace those of the build that is there: a container that lacked one would build anew."""
    kept = {word.split("=")[0] for step in steps(ROOT / "Dockerfile.cuda", "ENV") for word in step.split()}
    assert kept >= {"CUDA", "NCCL", "CUDA_ARCH"}
