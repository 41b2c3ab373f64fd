"""GPUs as far as a machine without shows it: what the driver makes of nvidia-smi's words and of Caffe's aborts."""
import caffe
import pytest

from caffe_cases import run
from gpu import nvidia
from gpu_cases import BIG, OLD, SMALL, nvidia_smi, pretend_gpus
from process import abort_words
from process.modules import run_module

TRAIN = (
    "train.py",
    "--solver",
    "solver.prototxt",
    "--run",
    "run",
    "--weights",
    "none",
    "--iterations",
    20,
    "--test-every",
    0,
)
CUDA_SAYS = "error == cudaSuccess ({} vs. 0)  {}".format


def test_gpus_are_listed_with_name_and_memory(tmp_path, monkeypatch):
    nvidia_smi(tmp_path, monkeypatch, BIG, SMALL)
    gpus, absence = nvidia.look()
    assert absence is None
    assert [gpu.index for gpu in gpus] == [0, 1]
    assert gpus[1].free == 1500 << 20
    assert str(gpus[0]) == "GPU 0: NVIDIA Big, 79.6 GiB, 79.1 GiB free"


def test_memory_that_the_driver_does_not_tell(tmp_path, monkeypatch):
    nvidia_smi(tmp_path, monkeypatch, "0, GPU-1, NVIDIA GB10, 580.82, [N/A], [N/A]")
    assert str(nvidia.look()[0][0]) == "GPU 0: NVIDIA GB10, memory not told by the driver"


@pytest.mark.parametrize("wanted, names", [
    ("1", ["NVIDIA Small"]), ("2,0", ["NVIDIA Old", "NVIDIA Big"]), ("GPU-1111", ["NVIDIA Small"]), ("0,9,1", ["NVIDIA "
                                                                                                               "Big"]),
    ("", []), ("-1", []), ("MIG-5a", ["MIG slice MIG-5a"])])
def test_cuda_visible_devices_renumbers(tmp_path, monkeypatch, wanted, names):
    nvidia_smi(tmp_path, monkeypatch, BIG, SMALL, OLD)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", wanted)
    gpus, absence = nvidia.look()
    assert [gpu.name for gpu in gpus] == names
    assert [gpu.index for gpu in gpus] == list(range(len(names)))
    assert gpus or "CUDA_VISIBLE_DEVICES" in absence


@pytest.mark.parametrize(
    "words", ["NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", "No devices were found"]
)
def test_a_driver_in_trouble_is_quoted(tmp_path, monkeypatch, words):
    nvidia_smi(tmp_path, monkeypatch, fails=words)
    assert nvidia.look() == ([], f"nvidia-smi lists no GPU: {words}")


def test_no_driver_at_all(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia.look() == ([], "no NVIDIA driver is installed (there is no nvidia-smi)")


@pytest.mark.parametrize("code, cuda_says, words", [
    (35, "CUDA driver version is insufficient for CUDA runtime version", "the NVIDIA driver is older than the CUDA"),
    (222, "the provided PTX was compiled with an unsupported toolchain.", "the NVIDIA driver is older than the CUDA"),
    (209, "no kernel image is available for execution on the device", "no code for the GPU's architecture"),
    (98, "invalid device function", "no code for the GPU's architecture"),
    (46, "CUDA-capable device(s) is/are busy or unavailable", "the GPU is busy"),
    (2, "out of memory", "its memory is full"),
    (999, "unknown error", "unknown error")])
def test_aborts_of_a_cuda_build_become_sentences(problem, monkeypatch, code, cuda_says, words):
    pretend_gpus(problem, monkeypatch, BIG, OLD, abort=CUDA_SAYS(code, cuda_says))
    status, said = run(*TRAIN, "--gpu", "1", cwd=problem)
    assert status == 1
    assert said.startswith("train: --gpu 1: GPU 1 cannot be used: ")
    assert words in said
    assert "Traceback" not in said
    assert not (problem / "run/run.json").exists()
    if code not in (2, 999):
        assert "NVIDIA Old, driver 470.10" in said


def test_error_35_without_a_driver_is_no_old_driver(problem, monkeypatch):
    pretend_gpus(problem, monkeypatch, abort=CUDA_SAYS(35, "CUDA driver version is insufficient for CUDA runtime "
                                                           "version"))
    nvidia_smi(problem, monkeypatch, fails="NVIDIA-SMI has failed")
    status, said = run(*TRAIN, "--gpu", "0", cwd=problem)
    assert status == 1
    assert "nvidia-smi lists no GPU: NVIDIA-SMI has failed; say GPU=none" in said
    assert "older" not in said


def test_a_gpu_that_does_not_exist(problem, monkeypatch):
    pretend_gpus(problem, monkeypatch, BIG, abort=CUDA_SAYS(101, "invalid device ordinal"))
    assert "there is no such GPU. Here are: GPU 0: NVIDIA Big" in run(*TRAIN, "--gpu", "3", cwd=problem)[1]


def test_auto_says_why_it_takes_the_cpu(problem, monkeypatch):
    pretend_gpus(problem, monkeypatch, OLD, abort=CUDA_SAYS(209, "no kernel image is available for execution on the "
                                                                 "device"))
    status, said = run(*TRAIN, "--gpu", "auto", cwd=problem)
    assert status == 0
    assert "GPU 0 is not used, the CPU is: NVIDIA Old" in said
    assert "device: CPU" in said


def test_a_cpu_build_with_a_gpu_at_hand_says_so(problem, monkeypatch):
    """The real pycaffe; only nvidia-smi pretends."""
    nvidia_smi(problem, monkeypatch, BIG)
    probe = run_module("gpu.probe", 0)
    if "CPU-only" not in probe.stderr:
        pytest.skip(f"{caffe.__file__} was built for GPUs")
    status, said = run(*TRAIN, "--gpu", "auto", cwd=problem)
    assert status == 0
    assert "GPU 0 is not used, the CPU is: this Caffe was built for the CPU" in said
    assert "make caffe CUDA=1" in said


def test_the_probe_passes_where_caffe_computes(tmp_path, monkeypatch):
    pretend_gpus(tmp_path, monkeypatch, BIG)
    probe = run_module("gpu.probe", 0)
    assert probe.returncode == 0, probe.stderr


def test_memory_that_fills_up_in_training(problem, monkeypatch):
    pretend_gpus(problem, monkeypatch, BIG, full_after=10)
    status, said = run(*TRAIN, "--gpu", "auto", cwd=problem)
    assert status == 1
    assert "iteration     10/20" in said
    assert "train: Caffe stopped: the GPU's memory is full" in said
    assert "--iter-size 2" in said
    assert "cudaSuccess (2 vs. 0)" in said


@pytest.mark.parametrize("words", [
    "Check failed: error == cudaSuccess (2 vs. 0)  out of memory",
    "Check failed: status == CUBLAS_STATUS_SUCCESS (3 vs. 0)  CUBLAS_STATUS_ALLOC_FAILED",
    "Check failed: status == CUDNN_STATUS_SUCCESS (4003 vs. 0)  CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"])
def test_full_memory_by_any_library(words):
    assert abort_words.out_of_memory(words)
    assert "--iter-size" in abort_words.explain(words)


def test_other_aborts_are_left_in_caffes_words():
    words = "Check failed: registry.count(type) == 1 (0 vs. 1) Unknown layer type: ReLy"
    assert abort_words.explain(words) is None
    assert not abort_words.out_of_memory(words)
    assert (
        abort_words.last_words(
            f"I1124 00:00:00.0 1 net.cpp:1] x\nF1124 02:12:26.123456  1234 layer_factory.hpp:81] {words}\n"
        )
        == words
    )
