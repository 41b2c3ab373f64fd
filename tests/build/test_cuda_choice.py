"""third_party/caffe/cuda.sh: which toolkit, cuDNN and architectures a CUDA build takes.

The toolkits are folders of empty files.
"""
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

CAFFE = Path(__file__).resolve().parents[2] / "third_party" / "caffe"


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path):
    """A folder with a whole toolkit 12.4 (cuDNN beside it), and no GPU; pip fails, as without a network."""
    toolkit = tmp_path / "cuda"
    program(toolkit / "bin" / "nvcc", 'case "$1" in\n'
                                      '--version) echo "Cuda compilation tools, release 12.4, V12.4.99" ;;\n'
                                      '--list-gpu-code) for a in 70 75 80 86 89 90; do echo "sm_$a"; done ;;\n'
                                      f"--dryrun) echo '#$ _HERE_={toolkit}/bin' >&2; exit 1 ;;\nesac")
    (toolkit / "include").mkdir()
    (toolkit / "lib64").mkdir()
    for header in ("cuda_runtime.h", "cublas_v2.h", "curand.h", "cudnn.h"):
        (toolkit / "include" / header).touch()
    for library in ("cublas", "curand", "cudnn"):
        (toolkit / "lib64" / f"lib{library}.so").touch()
    program(tmp_path / "bin" / "nvidia-smi", "exit 9")
    program(tmp_path / "bin" / "python", "echo no network; exit 1")
    (tmp_path / "build" / "caffe").mkdir(parents=True)
    return tmp_path


def choose(machine, **options):
    """(exit status, what was said, what the choice file sets)."""
    environment = {"PATH": f"{machine / 'bin'}:/usr/bin:/bin", "PYTHON": str(machine / "bin" / "python"), **options}
    done = subprocess.run([str(CAFFE / "cuda.sh"), "choice.txt"], cwd=machine, capture_output=True, text=True,
                          env=environment)
    chosen = {}
    if done.returncode == 0:
        chosen = dict(word.split("=", 1) for word in shlex.split((machine / "choice.txt").read_text(), comments=True))
    return done.returncode, done.stdout + done.stderr, chosen


def gpu(machine, capability, driver="600.1"):
    program(machine / "bin" / "nvidia-smi",
            f'case "$*" in *compute_cap*) echo {capability} ;; *driver*) echo {driver} ;; esac')


def test_the_toolkit_named_is_taken_with_its_cudnn_and_said(machine):
    status, said, chosen = choose(machine, CUDA_HOME=str(machine / "cuda"))
    assert status == 0, said
    assert chosen["toolkit"] == chosen["cudnn_root"] == str(machine / "cuda")
    assert chosen["nccl_root"] == ""
    assert "12.4" in said
    assert "cuDNN" in said
    assert "architectures" in said


def test_without_a_gpu_one_architecture_a_generation_and_the_newest_as_ptx(machine):
    chosen = choose(machine, CUDA_HOME=str(machine / "cuda"))[2]
    assert chosen["architectures"] == "70-real;75-real;80-real;86-real;89-real;90-real;90-virtual"


def test_with_a_gpu_its_own_architecture(machine):
    gpu(machine, "8.6")
    assert choose(machine, CUDA_HOME=str(machine / "cuda"))[2]["architectures"] == "86-real;86-virtual"


def test_architectures_asked_for(machine):
    chosen = choose(machine, CUDA_HOME=str(machine / "cuda"), CUDA_ARCH="8.0,90")[2]
    assert chosen["architectures"] == "80-real;90-real;90-virtual"


@pytest.mark.parametrize("written", ["90,80", "sm_80;sm_90", "90 8.0 90"])
def test_architectures_are_taken_once_and_the_newest_as_ptx_however_they_are_written(machine, written):
    chosen = choose(machine, CUDA_HOME=str(machine / "cuda"), CUDA_ARCH=written)[2]
    assert chosen["architectures"] == "80-real;90-real;90-virtual"


def test_words_for_an_architecture_are_refused(machine):
    status, said, _ = choose(machine, CUDA_HOME=str(machine / "cuda"), CUDA_ARCH="hopper")
    assert status == 1
    assert "CUDA_ARCH=hopper" in said
    assert "70 75 80 86 89 90" in said


def test_a_gpu_newer_than_the_toolkit_gets_the_ptx_of_the_newest_it_knows(machine):
    gpu(machine, "12.0")
    assert choose(machine, CUDA_HOME=str(machine / "cuda"))[2]["architectures"] == "90-real;90-virtual"


def test_nvidia_smi_without_a_driver_counts_as_no_gpu(machine):
    program(machine / "bin" / "nvidia-smi",
            'echo "NVIDIA-SMI has failed because it could not reach the driver."; exit 9')
    status, said, chosen = choose(machine, CUDA_HOME=str(machine / "cuda"))
    assert status == 0, said
    assert chosen["architectures"].startswith("70-real;"), said
    (machine / "cuda" / "include" / "cublas_v2.h").unlink()
    os.symlink(machine / "cuda" / "bin" / "nvcc", machine / "bin" / "nvcc")
    assert "too old" not in choose(machine)[1]


def skip_where_the_system_has(header):
    if subprocess.run(["c++", "-E", "-x", "c++", "-include", header, "/dev/null"], capture_output=True).returncode == 0:
        pytest.skip(f"{header} is in this system's folders")


def calls_its_toolkit(machine):
    """On the PATH an nvcc that is a program elsewhere, which calls the toolkit's."""
    program(machine / "bin" / "nvcc", f'exec {machine / "cuda" / "bin" / "nvcc"} "$@"')


def test_a_program_that_only_calls_nvcc_leads_to_its_toolkit(machine):
    calls_its_toolkit(machine)
    status, said, chosen = choose(machine)
    assert status == 0, said
    assert chosen["toolkit"] == str(machine / "cuda"), said


def test_a_toolkit_that_a_distribution_keeps_in_the_systems_folders_is_whole(machine):
    skip_where_the_system_has("cublas_v2.h")
    calls_its_toolkit(machine)
    os.rename(machine / "cuda" / "include", machine / "usr-include")
    os.rename(machine / "cuda" / "lib64", machine / "usr-lib")
    assert "lacks cuBLAS" in choose(machine)[1]
    in_system = dict(CPATH=str(machine / "usr-include"), LIBRARY_PATH=str(machine / "usr-lib"))
    status, said, chosen = choose(machine, **in_system)
    assert status == 0, said
    assert chosen["toolkit"] == str(machine / "cuda"), said
    assert chosen["cudnn_root"] == "", said
    (machine / "usr-lib" / "libcurand.so").unlink()
    assert "lacks cuRAND" in choose(machine, **in_system)[1]


def test_wheels_of_the_toolkit_stay_when_those_of_cudnn_and_nccl_come(machine):
    skip_where_the_system_has("nccl.h")
    pip = machine / "bin" / "python"
    # as pip does it: what is installed into a folder replaces the nvidia/ that is there
    program(pip, f"""for word; do [ "$last" = --target ] && to=$word; last=$word; done
rm -rf "$to/nvidia"
from={machine}/cuda at=$to/nvidia/cu13
case "$*" in *curand*) mkdir -p "$at/lib" && cp -r "$from/bin" "$from/include" "$at" &&
    touch "$at/lib/libcublas.so.13" "$at/lib/libcurand.so.10" && rm "$at/include/cudnn.h" ;; esac
case "$*" in *cudnn*) mkdir -p "$to/nvidia/cudnn/lib" && touch "$to/nvidia/cudnn/lib/libcudnn.so.9" ;; esac
case "$*" in *nccl*) mkdir -p "$to/nvidia/nccl/lib" && touch "$to/nvidia/nccl/lib/libnccl.so.2" ;; esac""")
    nvcc = machine / "cuda" / "bin" / "nvcc"
    nvcc.write_text(nvcc.read_text().replace("12.4", "13.0"))
    os.rename(machine / "cuda" / "lib64", machine / "elsewhere")  # so that a toolkit is there, and lacks its libraries
    os.symlink(nvcc, machine / "bin" / "nvcc")
    for _ in range(2):
        status, said, chosen = choose(machine, NCCL="1")
        assert status == 0, said
        for wanted in ("toolkit/bin/nvcc", "toolkit/lib64/libcublas.so", "cudnn_root/lib/libcudnn.so",
                       "nccl_root/lib/libnccl.so"):
            root, _, path = wanted.partition("/")
            assert (Path(chosen[root]) / path).exists(), wanted
    assert "installing" not in said  # the second time


def test_an_architecture_the_toolkit_lacks_is_named_with_those_it_has(machine):
    status, said, _ = choose(machine, CUDA_HOME=str(machine / "cuda"), CUDA_ARCH="61")
    assert status == 1
    assert "61" in said
    assert "70 75 80 86 89 90" in said
    assert "CUDA_HOME" in said
    assert not (machine / "choice.txt").exists()


@pytest.mark.parametrize("missing, word", [("include/cublas_v2.h", "cuBLAS"), ("lib64/libcurand.so", "cuRAND"),
                                           ("bin/nvcc", "nvcc")])
def test_a_toolkit_named_that_is_not_whole_is_refused(machine, missing, word):
    (machine / "cuda" / missing).unlink()
    status, said, _ = choose(machine, CUDA_HOME=str(machine / "cuda"))
    assert status == 1
    assert word in said
    assert "CUDA_HOME" in said


def test_a_toolkit_that_is_too_old_is_refused(machine):
    nvcc = machine / "cuda" / "bin" / "nvcc"
    nvcc.write_text(nvcc.read_text().replace("12.4", "11.8"))
    status, said, _ = choose(machine, CUDA_HOME=str(machine / "cuda"))
    assert status == 1
    assert "12 or newer (it is 11.8)" in said


def test_a_toolkit_on_the_path_without_cublas_gives_way_to_the_wheels(machine):
    (machine / "cuda" / "include" / "cublas_v2.h").unlink()
    os.symlink(machine / "cuda" / "bin" / "nvcc", machine / "bin" / "nvcc")
    status, said, _ = choose(machine)
    assert "lacks cuBLAS: NVIDIA's wheels are used" in said
    assert status == 1  # this machine's pip fails
    assert "no network" in said
    assert "CUDA_HOME=" in said


def test_wheels_are_not_installed_for_a_driver_too_old_for_them(machine):
    gpu(machine, "8.6", driver="535.104.05")
    (machine / "cuda" / "include" / "cublas_v2.h").unlink()
    os.symlink(machine / "cuda" / "bin" / "nvcc", machine / "bin" / "nvcc")
    status, said, _ = choose(machine)
    assert status == 1
    assert "driver 535.104.05" in said
    assert "580" in said
    assert "installing" not in said


def test_cudnn_can_be_left_out(machine):
    (machine / "cuda" / "include" / "cudnn.h").unlink()
    status, said, chosen = choose(machine, CUDA_HOME=str(machine / "cuda"), CUDNN="0")
    assert status == 0
    assert chosen["cudnn_root"] == ""
    assert "none (CUDNN=0)" in said


@pytest.mark.parametrize("given, configured_with", [
    ([], 'ONEDNN=1 CUDNN="0" CUDA_ARCH="80 90"'),  # also when a script or patch is newer than the build
    (["CUDA_ARCH=86"], 'ONEDNN=1 CUDA_ARCH="86"'), (["ONEDNN=0", "CUDNN=1"], 'ONEDNN=0 CUDNN="1"')])
def test_options_are_kept_until_others_are_given(tmp_path, given, configured_with):
    (tmp_path / "options").write_text('CUDNN="0" CUDA_ARCH="80 90"\n')
    without = ("CUDNN", "NCCL", "CUDA_ARCH", "CUDA_HOME", "MAKEFLAGS", "MFLAGS")  # those of a make that runs this test
    environment = {name: value for name, value in os.environ.items() if name not in without}
    printed = subprocess.run(["make", "-n", "-W", "third_party/caffe/cuda.sh", "build/caffe/cuda/.configured",
                              "CUDA=1", "APT=no", f"CUDA_OPTIONS_FROM={tmp_path / 'options'}", *given],
                             cwd=CAFFE.parent.parent, capture_output=True, text=True, env=environment).stdout
    line = next(line for line in printed.splitlines() if "build.sh configure cuda" in line)
    assert re.search(r"JOBS=\d+ +(.*?) +third_party/", line).group(1) == configured_with


def test_every_wheel_is_pinned():
    listed = (CAFFE / "requirements-cuda.txt").read_text().splitlines()
    lines = [line for line in listed if line and not line.startswith("#")]
    assert len(lines) >= 9
    assert all(re.fullmatch(r"nvidia-[a-z0-9-]+==[0-9.]+", line) for line in lines)
