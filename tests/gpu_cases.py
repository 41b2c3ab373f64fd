"""GPUs for tests on a machine without: an nvidia-smi and a pycaffe that pretend (tests/pretend_gpu). A CPU build shows
by them what the driver says and does; that CUDA itself behaves so is not shown."""
import os
import stat

HERE = os.path.dirname(os.path.abspath(__file__))
BIG, SMALL, OLD = (
    f"{i}, GPU-{i}{i}{i}{i}-aaaa, {name}, {driver}, {total}, {free}"
    for i, (name, driver, total, free) in enumerate(
        (
            ("NVIDIA Big", "580.82", 81559, 80994),
            ("NVIDIA Small", "580.82", 4096, 1500),
            ("NVIDIA Old", "470.10", 12288, 12000),
        )
    )
)


def nvidia_smi(folder, monkeypatch, *rows, fails=None):
    """Puts an nvidia-smi first on the PATH that lists the rows, or fails with these words."""
    path = folder / "bin" / "nvidia-smi"
    path.parent.mkdir(exist_ok=True)
    says = "\n".join(rows) if fails is None else fails
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\nexit {0 if fails is None else 9}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def pretend_gpus(folder, monkeypatch, *rows, abort=None, full_after=None, full_rank=0):
    """These GPUs, and a Caffe that takes them, or aborts with the words given."""
    nvidia_smi(folder, monkeypatch, *rows)
    monkeypatch.setenv("PYTHONPATH", os.path.join(HERE, "pretend_gpu"))
    if abort:
        monkeypatch.setenv("PRETEND_ABORT", abort)
    if full_after is not None:
        monkeypatch.setenv("PRETEND_FULL_AFTER", str(full_after))
        monkeypatch.setenv("PRETEND_FULL_RANK", str(full_rank))
