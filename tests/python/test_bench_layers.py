"""bench_layers.py: its table from given times, and one real round of Caffe's layers."""
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from caffe_cases import REPO, run
from checks.layer_speed import Measured, busy_core, table
from checks.options import LayerOptions

LENET = LayerOptions(net="lenet", batch=10, rounds=1, worker=None, engine=None, threads=None)
TIMES = {"caffe": {"conv1": [2.0, 4.0], "relu7": [1.0, 1.0], "update": [1.5, 0.5]},
         "onednn": {"conv1": [1.0, 1.0], "relu7": [0.5, 0.5], "update": [0.5, 0.5]}}


def test_the_table_sums_passes_and_states_ratios():
    lines = table(Measured(TIMES, {"caffe": 20.0, "onednn": 9.0}, gflops=100), LENET)
    assert "| conv1 | 2.0 / 4.0 | 1.0 / 1.0 | 0.1 / 0.1 |" in lines  # 10 images of 2 x 0.288 million at 100 GFLOP/s
    assert "| relu7 | 1.0 / 1.0 | 0.5 / 0.5 | - |" in lines
    assert "| forward | 3.0 | 1.5 | 0.5 |" in lines
    assert "| backward | 5.0 | 1.5 | - |" in lines
    assert "| update | 2.0 | 1.0 | - |" in lines
    assert "| iteration | 10.0 | 4.0 | - |" in lines
    assert "| iteration beside a busy core | 20.0 | 9.0 | - |" in lines
    assert "onednn / caffe: forward 0.50, iteration 0.40, beside a busy core 0.45" in lines


def test_the_busy_core_is_busy_until_the_end():
    with busy_core() as process:
        before = sum(os.times()[2:4])
        time.sleep(0.3)
        assert process.poll() is None
    assert process.returncode == -signal.SIGKILL
    assert sum(os.times()[2:4]) - before > 0.02  # of children that have ended


@pytest.mark.parametrize("engine", ["caffe", "onednn"])
def test_a_worker_times_every_layer_that_computes(engine):
    done = subprocess.run([sys.executable, os.path.join(REPO, "python/bench_layers.py"), "--worker", engine,
                           "--net", "lenet", "--batch", "2"], input="\n", capture_output=True, text=True, timeout=600,
                          env={**os.environ, "CAFFE_ENGINE": engine, "GLOG_minloglevel": "2"})
    times = json.loads(done.stdout)
    assert list(times) == ["conv1", "pool1", "conv2", "pool2", "fc7", "relu7", "fc8_kevin", "fc8_kevin_encode",
                           "fc8_pascal", "update"]
    assert all(value > 0 for pair in times.values() for value in pair)


def test_rounds_must_be_at_least_one(tmp_path):
    status, said = run("bench_layers.py", "--rounds", "0", cwd=tmp_path)
    assert status == 2
    assert "--rounds must be at least 1" in said
