"""A small run that is trained, extracted and evaluated, with new images to ask about."""
import shutil

import cv2
import numpy as np

import evaluate
from basics.program import EvalError
from caffe_cases import images_of, run


def measure(main, *arguments):
    """(status, words of a foreseeable mistake) of a program of eval/ in this process."""
    try:
        return main(list(map(str, arguments))), ""
    except EvalError as error:
        return 1, str(error)


def finish(trained, folder):
    """Copies a trained run (fixture tiny_run) to `folder`, extracts and evaluates it, and puts three images beside."""
    shutil.copytree(trained, folder)
    assert run("extract.py", "--run", "run", "--databases", ".", "--out", "run/features", "--gpu", "none",
               cwd=folder)[0] == 0
    assert measure(evaluate.main, "--features", folder / "run/features", "--out", folder / "run/eval", "--baselines",
                   "none", "--no-sweep", "--no-report") == (0, "")
    (folder / "new").mkdir()
    for number, image in enumerate(images_of(3, 9)[0]):
        cv2.imwrite(str(folder / f"new/{number}.png"), np.moveaxis(image, 0, 2))
