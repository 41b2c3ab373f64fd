"""The CPU engine that this build of Caffe computes with."""
import os

import caffe

from process.cpu import ENGINES, threads_in_use
from process.errors import DriverError


def engine_in_use() -> str:
    """"caffe" or "onednn": what CAFFE_ENGINE asks for, else oneDNN where it is built in.

    DriverError for an engine that there is not, or not in this build (Caffe itself would abort).
    """
    built = getattr(caffe, "has_onednn", lambda: False)()  # a Caffe of the user's own may not know
    asked = os.environ.get("CAFFE_ENGINE") or ("onednn" if built else "caffe")
    if asked not in ENGINES:
        raise DriverError(f"CAFFE_ENGINE={asked}: no such engine; {' or '.join(ENGINES)}")
    if asked == "onednn" and not built:
        raise DriverError("this build of Caffe is without oneDNN: `make caffe ONEDNN=1` builds it in, ENGINE=caffe "
                          "does without")
    return asked


def cpu_sentence() -> str:
    """What computes on the CPU, for the line that says the device."""
    return f"CPU (engine {engine_in_use()}, threads: {threads_in_use()})"


def freeze_weights() -> None:
    """From here on no net of this process changes its weights: layers keep them in the form they compute with."""
    getattr(caffe, "freeze_weights", lambda: None)()
