"""gpu_check.py with a CPU in the GPU's place: equal devices agree to the bit, a wrong one is found."""
import json
import os
import subprocess

import caffe
import numpy as np
import pytest

import gpu_check
from caffe_cases import REPO, change, run
from checks import devices
from gpu import comparison, loaded_libraries, nvidia
from gpu.activations import fill
from gpu_cases import BIG, pretend_gpus


def check(problem, *options):
    return run("gpu_check.py", "--setting", ".", "--out", "check", "--iterations", 30, *options, cwd=problem)


def test_the_cpu_agrees_with_itself_to_the_bit(problem):
    status, said = check(problem, "--devices", "none", "none")
    assert status == 0
    assert "gpu-check: cpu and cpu-again agree" in said
    assert "code bits that differ: 0" in said
    result = json.loads((problem / "check/gpu-check.json").read_text())
    assert [verdict["difference"] for verdict in result["verdicts"]] == [0] * 4
    assert result["verdicts"][0]["size"] > 0.1
    assert 0.5 < result["verdicts"][1]["size"] <= 1  # no comparison of nothing with nothing
    curve = result["curves"]["cpu"]
    assert curve["iterations"] == [10, 20, 30]
    assert curve["losses"] == result["curves"]["cpu-again"]["losses"]
    assert (problem / "check/loss_curves.png").read_bytes().startswith(b"\x89PNG")
    assert '"Dropout"' not in (problem / "check/cpu/train_val.prototxt").read_text()


def test_gpu_beside_cpu_as_make_gpu_check_runs_it(problem, monkeypatch):
    """The GPU pretends, and computes on the CPU."""
    pretend_gpus(problem, monkeypatch, BIG)
    status, said = check(problem)
    assert status == 0
    assert "gpu-check: cpu and gpu0 agree" in said
    assert "NVIDIA Big, 79.6 GiB, 79.1 GiB free, driver 580.82" in said
    assert "loss cpu       loss gpu0" in said
    assert "images/s" in said
    assert json.loads((problem / "check/gpu-check.json").read_text())["gpus"][0]["name"] == "NVIDIA Big"


def test_a_gpu_that_caffe_cannot_use(problem, monkeypatch):
    pretend_gpus(problem, monkeypatch, BIG, abort="error == cudaSuccess (209 vs. 0)  no kernel image is available for "
                                                  "execution on the device")
    status, said = check(problem)
    assert status == 1
    assert "gpu-check: --gpu 0: GPU 0 cannot be used: NVIDIA Big" in said
    assert "Traceback" not in said


def test_a_wrong_device_is_found(problem, monkeypatch, capsys):
    """The second device sees other images and learns faster."""
    plain, calls = devices.run_tool, []

    def run_tool(name, *arguments):
        calls.append(name)
        if calls.count(name) == 2:
            change(
                problem / "train_val.prototxt", 'mean_file: "mean.binaryproto"', ""
            ) if name == "device_activations.py" else change(
                problem / "check/solver.prototxt", "base_lr: 0.05", "base_lr: 0.051"
            )
        plain(name, *arguments)
    monkeypatch.setattr(devices, "run_tool", run_tool)
    status = gpu_check.main(["--setting", ".", "--out", "check", "--iterations", "30", "--devices", "none", "none"])
    said = capsys.readouterr()
    assert status == 1
    assert "cpu and cpu-again differ by more than rounding explains: fc7; latent; loss" in said.err
    assert "MORE THAN the tolerance" in said.out
    assert not json.loads((problem / "check/gpu-check.json").read_text())["verdicts"][0]["within"]


def activations(round_off=lambda values: values):
    """fc7 and latent of LeNet on noise. round_off: of what goes into its matrix products."""
    net = caffe.Net(os.path.join(REPO, "prototxt/digits_lenet_48/deploy.prototxt"), caffe.TEST)
    fill(net, 1, 1)
    net.blobs["data"].data[...] = np.random.default_rng(2).normal(size=net.blobs["data"].data.shape)
    for number, layer in enumerate(net.layers):
        if layer.type in ("Convolution", "InnerProduct"):
            for blob in (net.blobs[net._blob_names[net._bottom_ids(number)[0]]], layer.blobs[0]):
                blob.data[...] = round_off(blob.data)
        net._forward(number, number)
    return dict(fc7=net.blobs["fc7"].data.copy(), latent=net.blobs["fc8_kevin_encode"].data.copy())


def to_tf32(values):
    """Rounded to the 10 bits of mantissa that a GPU's tensor cores take in TF32."""
    bits = np.ascontiguousarray(values, np.float32).view(np.int32)
    return ((bits + (1 << 12)) & ~((1 << 13) - 1)).view(np.float32)


def test_tf32_would_be_found_and_float32_rounding_is_no_difference():
    """The tolerance lies between what TF32 does to this net and what rounding in the last bit does."""
    plain = activations()
    assert not any(verdict["within"] for verdict in comparison.compare_activations(plain, activations(to_tf32)))
    last_bit = activations(lambda values: np.nextafter(values, 0, dtype=np.float32))
    verdicts = comparison.compare_activations(plain, last_bit)
    assert all(0 < verdict["relative"] < 0.1 * verdict["tolerance"] for verdict in verdicts)


def test_activations_by_hand():
    first = dict(fc7=np.array([[0, 2, 4]], np.float32), latent=np.array([[0.4, 0.5, 1]], np.float32))
    second = dict(fc7=np.array([[0, 2, 4.0002]], np.float32), latent=np.array([[0.4, 0.4999, 1]], np.float32))
    fc7, latent = comparison.compare_activations(first, second)
    assert fc7["difference"] == pytest.approx(2e-4, rel=1e-2)
    assert fc7["relative"] == pytest.approx(5e-5, rel=1e-2)
    assert fc7["within"]
    assert not latent["within"] or latent["relative"] <= latent["tolerance"]
    assert comparison.code_bits(first, second) == 1


@pytest.mark.parametrize(
    "theirs, within",
    [
        ([2.0, 1.0], [True, True]),
        ([2.01, 1.0], [False, True]),
        ([2.0, 1.02], [True, False]),
        ([float("nan"), 1.0], [False, False]),
        ([2.0, float("inf")], [True, False]),
    ],
)
def test_losses_by_hand(theirs, within):
    assert [verdict["within"] for verdict in comparison.compare_losses([2.0, 1.0], theirs)] == within


def test_nothing_is_nan_and_equal():
    nothing = dict(fc7=np.full((1, 2), np.nan, np.float32), latent=np.zeros((1, 2), np.float32))
    fc7, latent = comparison.compare_activations(nothing, nothing)
    assert not fc7["within"]
    assert latent["within"]


def test_without_a_gpu_nothing_is_run_and_that_is_said(problem):
    if nvidia.look()[0]:
        pytest.skip("a GPU is here")
    status, said = check(problem)
    assert status == 0
    assert said.startswith("gpu-check: no NVIDIA GPU here, nothing was run: ")
    assert not (problem / "check").exists()
    made = subprocess.run(["make", "gpu-check"], cwd=REPO, capture_output=True, text=True)
    assert made.returncode == 0
    assert made.stdout == said
    assert not made.stderr


def test_versions_of_a_cpu_build_are_none():
    if loaded_libraries.versions():
        pytest.skip(f"{caffe.__file__} was built for GPUs")
    assert loaded_libraries.dotted(13020, 1000, 10) == "13.2"
    assert loaded_libraries.dotted(92400, 10_000, 100, 1) == "9.24.0"
