"""Compares what two devices made of the same net: activations of a batch, and loss curves. Knows no device."""
from typing import Any

import numpy as np

# Of the largest value of the blob. LeNet and CaffeNet with other BLAS kernels on the CPU differ by 1e-6 to 5e-6; with
# what goes into their products rounded to TF32 (10 bits of mantissa), by 5e-4 to 3e-3.
ACTIVATIONS_TOLERANCE = 1e-4
# Of the loss. LeNet with other BLAS kernels: 1e-6 within 200 iterations, but rounding grows: 1.5e-2 within 1,000.
FIRST_LOSS_TOLERANCE = 1e-4
LOSS_TOLERANCE = 1e-2

Verdict = dict[str, Any]  # name, difference, size, relative, tolerance, within: as gpu-check.json keeps it
Activations = dict[str, np.ndarray]


def compare_activations(first: Activations, second: Activations) -> list[Verdict]:
    """A verdict for each blob of {name: (N, d) float32}."""
    return [_verdict(name, np.abs(first[name].astype(np.float64) - second[name]).max(), np.abs(first[name]).max(),
                     ACTIVATIONS_TOLERANCE) for name in first]


def code_bits(first: Activations, second: Activations) -> int:
    """How many bits of the codes differ: those of activations next to 0.5."""
    return int(((first["latent"] >= 0.5) != (second["latent"] >= 0.5)).sum())


def compare_losses(first: list[float], second: list[float]) -> list[Verdict]:
    """Verdicts on the losses of both, a value a window of iterations: the first window, and the most different one."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape:
        raise ValueError(f"curves of {first.shape} and {second.shape} windows")
    relative = np.abs(first - second) / first
    worst = int(relative.argmax()) if np.isfinite(relative).all() else int(np.flatnonzero(~np.isfinite(relative))[0])
    return [_verdict("loss of the first window", abs(first[0] - second[0]), first[0], FIRST_LOSS_TOLERANCE),
            _verdict(f"loss of window {worst + 1}, the most different", abs(first[worst] - second[worst]), first[worst],
                     LOSS_TOLERANCE)]


def _verdict(name: str, difference: float, size: float, tolerance: float) -> Verdict:
    relative = float(difference / size) if size else float(difference)
    return {"name": name, "difference": float(difference), "size": float(size), "relative": relative,
            "tolerance": tolerance, "within": bool(relative <= tolerance)}  # NaN is never within


def sentence(verdict: Verdict) -> str:
    """A verdict for the terminal."""
    return (f"{verdict['name']}: largest difference {verdict['difference']:.3g} of {verdict['size']:.4g}, "
            f"{verdict['relative']:.2g} relative ({'within' if verdict['within'] else 'MORE THAN'} the tolerance of "
            f"{verdict['tolerance']:g})")
