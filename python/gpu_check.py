#!/usr/bin/env python3
"""GPU against CPU: the same activations of one batch, and the same loss curve from one seed? `make gpu-check` runs it.

    gpu_check.py --setting prototxt/digits_lenet_48 --devices none 0 --out runs/gpu-check

Leaves gpu-check.json, loss_curves.png and both runs. Status 1 when a difference is above its tolerance (device_comparison.py).
Dropout is left out of the training: each device draws masks of its own. Never run on a GPU; the tests compare CPU with CPU.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys

import numpy as np

import device_comparison
import nvidia
from driver_errors import DriverError

HERE = os.path.dirname(os.path.abspath(__file__))
WINDOW = 10  # iterations a logged loss is the mean of
UNTIMED = 2  # windows at the start, in which a GPU warms up
GREY, BLUE = "#888888", "#4477aa"


def run_tool(name, *arguments):
    """A program of the driver, whose words go to the terminal. DriverError when it fails; it has said why."""
    done = subprocess.run([sys.executable, os.path.join(HERE, name), *map(str, arguments)])
    if done.returncode:
        raise DriverError(f"{name} ended with status {done.returncode}: nothing can be compared")


def check_activations(options, names):
    """(verdicts, code bits that differ, {device: versions}) of one batch on both devices."""
    found, versions = [], {}
    for device, name in zip(options.devices, names):
        out = os.path.join(options.out, f"activations-{name}.npz")
        run_tool("device_activations.py", "--setting", options.setting, "--weights", options.weights, "--seed", options.seed,
                 "--gpu", device, "--out", out)
        with np.load(out) as arrays:
            versions[name] = json.loads(str(arrays["versions"]))
            found.append({blob: arrays[blob] for blob in ("fc7", "latent")})
    return device_comparison.compare_activations(*found), device_comparison.code_bits(*found), versions


def write_solver(options):
    """A copy of the setting's solver that shows a loss every WINDOW iterations and neither tests nor drops out."""
    from prototxt_files import message_text, read_net, read_solver, write_net
    solver = read_solver(os.path.join(options.setting, "solver.prototxt"))
    net = read_net(solver.net)
    kept = [layer for layer in net.layer if layer.type != "Dropout" or layer.bottom[:] != layer.top[:]]
    del net.layer[:]
    net.layer.extend(kept)
    path = os.path.join(options.out, "solver.prototxt")
    origin, solver.net = solver.net, os.path.join(options.out, "train_val.prototxt")
    write_net(net, solver.net, f"{origin} without dropout")
    solver.display = solver.average_loss = WINDOW
    with open(path, "w") as file:
        file.write(message_text(solver))
    return path


def check_training(options, names):
    """({name: (iterations, losses, images/s)}, verdicts) of a training on each device."""
    from training_log import read_rows, series
    solver, curves = write_solver(options), {}
    for device, name in zip(options.devices, names):
        run = os.path.join(options.out, name)
        shutil.rmtree(run, ignore_errors=True)
        run_tool("train.py", "--solver", solver, "--run", run, "--weights", options.weights, "--seed", options.seed, "--gpu", device,
                 "--iterations", options.iterations, "--test-every", 0)
        rows = read_rows(os.path.join(run, "train_log.csv"))
        rates = series(rows, "images_per_second")[1]
        curves[name] = (*series(rows, "loss"), statistics.median(rates[UNTIMED:] or rates))
    return curves, device_comparison.compare_losses(*(losses for _, losses, _ in curves.values()))


def print_curves(curves):
    (first, (iterations, ours, rate)), (second, (_, theirs, other_rate)) = curves.items()
    print(f"\n{'iteration':>9}  {'loss ' + first:>14}  {'loss ' + second:>14}  {'difference':>10}")
    for iteration, one, other in zip(iterations, ours, theirs):
        print(f"{iteration:9d}  {one:14.6f}  {other:14.6f}  {other - one:+10.6f}")
    print(f"images/s  {rate:14,.1f}  {other_rate:14,.1f}  {other_rate / rate:9.2f}x\n")


def draw(curves, path):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    for (name, (iterations, losses, _)), colour, style in zip(curves.items(), (GREY, BLUE), ("-", "--")):
        axes.plot(iterations, losses, style, color=colour, label=name)
    axes.set(xlabel="iteration", ylabel=f"softmax loss, mean of {WINDOW}", ylim=(0, None))
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path + ".partial", format="png", dpi=120)
    pyplot.close(figure)
    os.replace(path + ".partial", path)


def names_of(devices):
    """cpu, gpu0; a device compared with itself is told apart."""
    names = ["cpu" if device == "none" else f"gpu{device}" for device in devices]
    return names if names[0] != names[1] else [names[0], names[1] + "-again"]


def print_machine(gpus, versions):
    for gpu in gpus:
        print(f"{gpu}, driver {gpu.driver}")
    for name, value in versions.items():
        print(f"{name}: {value}")


def check(options):
    import device
    from run_files import write_json
    gpus = [device.choose(name)[0] for name in options.devices if name != "none"]
    names = names_of(options.devices)
    known = device.listed(gpus)
    verdicts, bits, versions = check_activations(options, names)
    print_machine(known, versions[names[-1]])
    curves, of_losses = check_training(options, names)
    verdicts += of_losses
    print_curves(curves)
    draw(curves, os.path.join(options.out, "loss_curves.png"))
    print("\n".join(map(device_comparison.sentence, verdicts)))
    print(f"code bits that differ: {bits}")
    write_json(os.path.join(options.out, "gpu-check.json"), dict(
        setting=options.setting, weights=options.weights, seed=options.seed, devices=names, gpus=[vars(gpu) for gpu in known],
        versions=versions, verdicts=verdicts, code_bits_that_differ=bits,
        curves={name: dict(iterations=n, losses=losses, images_per_second=rate) for name, (n, losses, rate) in curves.items()}))
    wrong = [verdict["name"] for verdict in verdicts if not verdict["within"]]
    if wrong:
        raise DriverError(f"{' and '.join(names)} differ by more than rounding explains: {'; '.join(wrong)}. Numbers of this build on this "
                          "GPU are not to be trusted; try make caffe CUDA=1 CUDNN=0 to see whether cuDNN is the cause")
    print(f"gpu-check: {names[0]} and {names[1]} agree; {options.out}/gpu-check.json, loss_curves.png")
    return 0


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--setting", default="prototxt/digits_lenet_48", help="folder with solver, train_val and deploy prototxt")
    parser.add_argument("--devices", nargs=2, default=["none", "0"], metavar="none|N", help="the two devices")
    parser.add_argument("--weights", default="none", metavar="FILE|none", help="caffemodel; none: seeded noise, fillers in training")
    parser.add_argument("--seed", type=int, default=1, help="of weights, crops and mirrors")
    parser.add_argument("--iterations", type=int, default=200, help="of training on each device")
    parser.add_argument("--out", default="runs/gpu-check", help="folder of the results")
    options = parser.parse_args(argv)
    if options.iterations < WINDOW or options.iterations % WINDOW:
        parser.error(f"--iterations must be a multiple of {WINDOW}")
    if not all(name == "none" or name.isdigit() for name in options.devices):
        parser.error("--devices takes none or the index of a GPU, twice")
    return options


def main(argv=None):
    options = parse_arguments(argv)
    if options.devices != ["none", "none"]:
        gpus, absence = nvidia.look()
        if not gpus:
            print(f"gpu-check: no NVIDIA GPU here, nothing was run: {absence}")
            return 0
    os.makedirs(options.out, exist_ok=True)
    try:
        return check(options)
    except (DriverError, OSError) as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
