"""Good inputs of every stage, small, from which the bad ones are made: one folder, built once."""
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np

from caffe_cases import images_of, run, write_problem

REPO = Path(__file__).resolve().parents[2]


def build(folder: Path) -> None:
    """Problem, trained run, features and evaluation, photos, lists, archives, MNIST-like npy: all that is attacked."""
    write_problem(folder)
    _must(run("train.py", "--solver", "solver.prototxt", "--run", "run", "--weights", "none", "--gpu", "none",
              "--iterations", 20, cwd=folder))
    _must(run("extract.py", "--run", "run", "--databases", ".", "--out", "run/features", "--gpu", "none", cwd=folder))
    _must(_other_room(folder, "eval/evaluate.py", "--features", "run/features", "--out", "run/eval"))
    shutil.copytree(folder / "run/features", folder / "second")
    images, labels = images_of(16, 7)
    lines = []
    for row, (image, label) in enumerate(zip(images, labels)):
        place = folder / f"photos/class{label}/{row}.{'jpg' if row % 2 else 'png'}"
        place.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place), np.moveaxis(image, 0, 2))
        lines.append(f"{place.relative_to(folder)} {label}")
    (folder / "list.txt").write_text("\n".join(lines) + "\n")
    with tarfile.open(folder / "photos.tar", "w") as tar:
        tar.add(folder / "photos", "photos")
    with tarfile.open(folder / "photos.tar.gz", "w:gz") as tar:
        tar.add(folder / "photos", "photos")
    with zipfile.ZipFile(folder / "photos.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted((folder / "photos").rglob("*.*")):
            packed.write(path, path.relative_to(folder))
    mean = np.random.default_rng(0).uniform(0, 255, (3, 256, 256)).astype(np.float32)
    np.save(folder / "mean.npy", mean)
    (folder / "results.json").write_bytes((folder / "run/eval/results.json").read_bytes())
    _cut_into_parts(folder)


def _cut_into_parts(folder: Path) -> None:
    """Two parts of features, two of a database, two shards: all that several machines hand to one."""
    for part in ("1/2", "2/2"):
        _must(run("extract.py", "--run", "run", "--lmdb", "test_lmdb", "--out", "joined/test", "--gpu", "none",
                  "--part", part, cwd=folder))
        _must(_other_room(folder, "data_prep/make_lmdb.py", "lists", "--train-list", "list.txt", "--splits", "train",
                          "--out", "parted", "--size", "36", "--part", part))
    _must(_other_room(folder, "eval/shards.py", "--features", "run/features", "--out", "cut", "--shards", "2"))


def _other_room(folder: Path, program: str, *words: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, REPO / program, *words], cwd=folder, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def _must(done: tuple[int, str]) -> None:
    if done[0]:
        raise RuntimeError(f"the good inputs cannot be made: {done[1]}")
