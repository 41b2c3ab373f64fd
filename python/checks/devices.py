"""GPU against CPU: the same activations of one batch, and the same loss curve from one seed?

Dropout is left out of the training: each device draws masks of its own. The tests compare CPU with CPU, and with a GPU
that pretends.
"""
import json
import shutil
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from caffe_files.prototxt import message_text, read_net, read_solver, write_message
from checks.options import WINDOW, CheckOptions
from gpu import comparison, device
from gpu.comparison import Verdict
from process.errors import DriverError
from process.files import write_json
from process.modules import program_command
from process.run_folder import RunFolder
from training import curves
from training.log import read_rows, series

UNTIMED = 2  # windows at the start, in which a GPU warms up
STYLES = (("#888888", "-"), ("#4477aa", "--"))  # (colour, line) of the first device and the second


@dataclass(frozen=True)
class Curve:
    """A training on one device: losses by iteration, and the median images/s."""
    iterations: list[int]
    losses: list[float]
    images_per_second: float


def check(options: CheckOptions) -> None:
    """Compares the devices, leaves gpu-check.json, loss_curves.png and both runs. DriverError when they differ."""
    options.out.mkdir(parents=True, exist_ok=True)
    known = device.listed([device.choose(name)[0] for name in options.devices if name != "none"])
    names = names_of(options.devices)
    found, versions = _activations(options, names)
    verdicts, bits = comparison.compare_activations(*found), comparison.code_bits(*found)
    _print_machine(known, versions[names[-1]])
    trained = _train(options, names)
    verdicts += comparison.compare_losses(*(curve.losses for curve in trained.values()))
    _print_curves(trained)
    _draw(trained, options.out / "loss_curves.png")
    print("\n".join(map(comparison.sentence, verdicts)))
    print(f"code bits that differ: {bits}")
    write_json(options.out / "gpu-check.json", {
        "setting": str(options.setting), "weights": options.weights, "seed": options.seed, "devices": names,
        "gpus": [vars(gpu) for gpu in known], "versions": versions, "verdicts": verdicts, "code_bits_that_differ": bits,
        "curves": {name: vars(curve) for name, curve in trained.items()}})
    _judge(names, verdicts)
    print(f"gpu-check: {names[0]} and {names[1]} agree; {options.out}/gpu-check.json, loss_curves.png")


def names_of(devices: list[str]) -> list[str]:
    """cpu, gpu0; a device compared with itself is told apart."""
    names = ["cpu" if device == "none" else f"gpu{device}" for device in devices]
    return names if names[0] != names[1] else [names[0], names[1] + "-again"]


def run_tool(name: str, *arguments: object) -> None:
    """A program of the driver, whose words go to the terminal. DriverError when it fails; it has said why."""
    done = subprocess.run(program_command(name, *arguments))
    if done.returncode:
        raise DriverError(f"{name} ended with status {done.returncode}: nothing can be compared")


def _activations(options: CheckOptions, names: list[str]) -> tuple[list[comparison.Activations], dict[str, dict]]:
    """([activations of one batch on each device], {device: versions of its libraries})."""
    found, versions = [], {}
    for option, name in zip(options.devices, names):
        out = options.out / f"activations-{name}.npz"
        run_tool("device_activations.py", "--setting", options.setting, "--weights", options.weights,
                 "--seed", options.seed, "--gpu", option, "--out", out)
        with np.load(out) as arrays:
            versions[name] = json.loads(str(arrays["versions"]))
            found.append({blob: arrays[blob] for blob in ("fc7", "latent")})
    return found, versions


def _write_solver(options: CheckOptions) -> Path:
    """A copy of the setting's solver that shows a loss every WINDOW iterations and neither tests nor drops out."""
    solver = read_solver(options.setting / "solver.prototxt")
    origin, net_file = Path(solver.net), options.out / "train_val.prototxt"
    net = read_net(origin)
    kept = [layer for layer in net.layer if layer.type != "Dropout" or layer.bottom[:] != layer.top[:]]
    del net.layer[:]
    net.layer.extend(kept)
    write_message(net_file, net, f"{origin} without dropout")
    solver.net = str(net_file)
    solver.display = solver.average_loss = WINDOW
    path = options.out / "solver.prototxt"
    path.write_text(message_text(solver))
    return path


def _train(options: CheckOptions, names: list[str]) -> dict[str, Curve]:
    """{device: curve} of a training on each."""
    solver, trained = _write_solver(options), {}
    for option, name in zip(options.devices, names):
        run = RunFolder(options.out / name)
        _remove_run(run)
        run_tool("train.py", "--solver", solver, "--run", run, "--weights", options.weights, "--seed", options.seed,
                 "--gpu", option, "--iterations", options.iterations, "--test-every", 0)
        rows = read_rows(run.train_log)
        rates = series(rows, "images_per_second")[1]
        trained[name] = Curve(*series(rows, "loss"), statistics.median(rates[UNTIMED:] or rates))
    return trained


def _remove_run(run: RunFolder) -> None:
    """Removes the run of an earlier check. DriverError for a folder that is no run's."""
    if run.path.exists() and not run.settings.exists() and any(path != run.caffe_log for path in run.path.iterdir()):
        raise DriverError(f"{run} is there and is no run's folder (it has no run.json): choose another --out")
    shutil.rmtree(run.path, ignore_errors=True)


def _print_machine(gpus: list[Any], versions: dict[str, str]) -> None:
    for gpu in gpus:
        print(f"{gpu}, driver {gpu.driver}")
    for name, value in versions.items():
        print(f"{name}: {value}")


def _print_curves(trained: dict[str, Curve]) -> None:
    (first, ours), (second, theirs) = trained.items()
    print(f"\n{'iteration':>9}  {'loss ' + first:>14}  {'loss ' + second:>14}  {'difference':>10}")
    for iteration, one, other in zip(ours.iterations, ours.losses, theirs.losses):
        print(f"{iteration:9d}  {one:14.6f}  {other:14.6f}  {other - one:+10.6f}")
    rate, other_rate = ours.images_per_second, theirs.images_per_second
    print(f"images/s  {rate:14,.1f}  {other_rate:14,.1f}  {other_rate / rate:9.2f}x\n")


def _draw(trained: dict[str, Curve], path: Path) -> None:
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for (name, curve), (colour, line) in zip(trained.items(), STYLES):
        axes.plot(curve.iterations, curve.losses, line, color=colour, label=name)
    axes.set(xlabel="iteration", ylabel=f"softmax loss, mean of {WINDOW}", ylim=(0, None))
    axes.legend(frameon=False)
    curves.save(figure, [axes], path)


def _judge(names: list[str], verdicts: list[Verdict]) -> None:
    """DriverError when a verdict is not within its tolerance."""
    wrong = [verdict["name"] for verdict in verdicts if not verdict["within"]]
    if wrong:
        raise DriverError(f"{' and '.join(names)} differ by more than rounding explains: {'; '.join(wrong)}. Numbers "
                          "of this build on this GPU are not to be trusted; try make caffe CUDA=1 CUDNN=0 to see "
                          "whether cuDNN is the cause")
