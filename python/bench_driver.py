#!/usr/bin/env python3
"""The driver against Caffe's own programs, in turns within one run, the best of several short rounds: others on the machine only slow.

train    time per iteration of train.py and of `caffe train` on the same solver, databases and device
extract  images/s of extract.py, from an LMDB and from image files, and of the net's forward pass in `caffe time`, on the test
         phase of the same net: on a deploy net `caffe time` runs zeros with zero weights, 12 % faster than any image (CaffeNet, CPU)

    bench_driver.py                                        # the digits' LeNet, and CaffeNet where its databases are
    bench_driver.py --setting prototxt/cifar10_caffenet_48 --lmdb data/cifar10/test_lmdb
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile

from driver_errors import DriverError

HERE = os.path.dirname(os.path.abspath(__file__))
DISPLAY = 10  # iterations a measured window
PASSES = 5  # of `caffe time`, forward and backward
# setting: (databases' folder, iterations of a round, images extracted)
DEFAULTS = {"prototxt/digits_lenet_48": ("data/digits28", 300, 4_000), "prototxt/cifar10_caffenet_48": ("data/cifar10", 40, 640)}


def run(*command):
    """What a program said. DriverError when it failed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=dict(os.environ, GLOG_minloglevel="0"))
    if done.returncode:
        raise DriverError(f"{' '.join(map(str, command))} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout + done.stderr


def number_after(words, text):
    """The number behind the last occurrence of words."""
    found = re.findall(re.escape(words) + r"\s*([\d.,e+-]+)", text)
    if not found:
        raise DriverError(f"no {words!r} in what the program said:\n{text[-2000:]}")
    return float(found[-1].replace(",", ""))


def write_solver(setting, iterations, folder):
    """A copy of the setting's solver that is short, does not test, and displays every few iterations; beside it the deploy net."""
    from caffe.proto import caffe_pb2
    from prototxt_files import message_text, read_solver
    solver = caffe_pb2.SolverParameter()
    solver.CopyFrom(read_solver(os.path.join(setting, "solver.prototxt")))
    for name in ("test_iter", "test_interval"):
        solver.ClearField(name)
    solver.max_iter, solver.display, solver.snapshot, solver.snapshot_after_train = iterations, DISPLAY, iterations, False
    solver.snapshot_prefix, solver.random_seed = os.path.join(folder, "caffe"), 1
    path = os.path.join(folder, "solver.prototxt")
    with open(path, "w") as file:
        file.write(message_text(solver))
    with open(os.path.join(setting, "deploy.prototxt")) as deploy, open(os.path.join(folder, "deploy.prototxt"), "w") as copy:
        copy.write(deploy.read())
    return path


def caffe_train(solver, gpu):
    """Seconds of each display window of `caffe train`, but the first."""
    from device import caffe_tool
    said = run(caffe_tool("caffe"), "train", "-solver", solver, *caffe_gpu(gpu))
    return [DISPLAY / float(rate) for rate in re.findall(r"Iteration \d+ \(([\d.e+-]+) iter/s", said)[2:]]


def driver_train(solver, run_folder, batch, gpu):
    """Seconds of each display window of train.py, but the first."""
    from training_log import read_rows
    run(sys.executable, os.path.join(HERE, "train.py"), "--solver", solver, "--run", run_folder, "--weights", "none", "--gpu", gpu)
    rates = [float(row["images_per_second"]) for row in read_rows(os.path.join(run_folder, "train_log.csv"))]
    return [DISPLAY * batch / rate for rate in rates][1:]


def caffe_gpu(gpu):
    return [] if gpu == "none" else ["-gpu", gpu]


def bench_training(solver, folder, rounds, gpu):
    from run_settings import Problem
    batch = Problem(solver).batch
    theirs, ours = [], []
    for number in range(rounds):
        theirs += caffe_train(solver, gpu)
        ours += driver_train(solver, os.path.join(folder, f"run{number}"), batch, gpu)
    theirs, ours = (min(windows) / DISPLAY for windows in (theirs, ours))
    print(f"train    caffe train {theirs * 1e3:8.2f} ms/iteration   train.py {ours * 1e3:8.2f} ms/iteration   "
          f"ratio {ours / theirs:.3f} (at most 1.02)", flush=True)


def forward_rate(train_val, gpu):
    """Images/s of the forward pass in phase TEST, by `caffe time`. Its Data layer hands over what was read beside it."""
    from caffe.proto import caffe_pb2
    from device import caffe_tool
    from prototxt_files import data_layer, read_net
    said = run(caffe_tool("caffe"), "time", "-model", train_val, "-phase", "TEST", "-iterations", PASSES, *caffe_gpu(gpu))
    batch = data_layer(read_net(train_val), caffe_pb2.TEST, train_val).data_param.batch_size
    return batch * 1000 / number_after("Average Forward pass:", said)


def first_entries(source, target, count):
    """Copies the first entries of an LMDB."""
    import lmdb
    os.makedirs(target)
    with lmdb.open(source, readonly=True, lock=False) as old, lmdb.open(target, map_size=1 << 34) as new:
        with old.begin(buffers=True) as reading, new.begin(write=True) as writing, reading.cursor() as cursor:
            for _, (key, value) in zip(range(count), cursor):
                writing.put(bytes(key), bytes(value))
    return target


def image_files(source, target, count):
    """Writes the first images of an LMDB as PNG files."""
    import cv2
    from image_source import LmdbSource
    os.makedirs(target)
    for row, (image, _) in zip(range(count), LmdbSource(source).read()):
        cv2.imwrite(os.path.join(target, f"{row:06d}.png"), image)
    return target


def bench_extraction(folder, lmdb_path, originals, count, rounds, gpu):
    run_folder = os.path.join(folder, "run0")
    sources = {"from an LMDB": (["--lmdb", first_entries(lmdb_path, os.path.join(folder, "lmdb"), count), "--protocol", "caffe"], 0.95),
               "from images": (["--images", image_files(originals, os.path.join(folder, "images"), count)], 0.90)}
    forward, ours = [], {name: [] for name in sources}
    for number in range(rounds):
        for name, (options, _) in sources.items():
            forward.append(forward_rate(os.path.join(run_folder, "train_val.prototxt"), gpu))
            said = run(sys.executable, os.path.join(HERE, "extract.py"), "--run", run_folder, *options, "--gpu", gpu,
                       "--out", os.path.join(folder, f"features{number}", name.replace(" ", "_")))
            ours[name].append(number_after("images at", said))
    for name, (_, target) in sources.items():
        print(f"extract  caffe time {max(forward):9.1f} images/s         extract.py {name} {max(ours[name]):9.1f} images/s   "
              f"ratio {max(ours[name]) / max(forward):.3f} (at least {target})", flush=True)


def bench(setting, options):
    data, iterations, count = DEFAULTS.get(setting, (None, 40, 640))
    lmdb_path = options.lmdb or f"{data}/train_lmdb"
    originals = options.originals or (f"{data}/train_originals_lmdb" if os.path.isdir(f"{data}/train_originals_lmdb") else lmdb_path)
    with tempfile.TemporaryDirectory(prefix="bench_driver.") as folder:
        solver = write_solver(setting, options.iterations or iterations, folder)
        bench_training(solver, folder, options.rounds, options.gpu)
        bench_extraction(folder, lmdb_path, originals, options.count or count, options.rounds, options.gpu)


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--setting", action="append", metavar="DIR", help="folder with solver, train_val and deploy prototxt "
                                                                          f"(default: those of {', '.join(DEFAULTS)} whose databases exist)")
    parser.add_argument("--lmdb", help="database to extract from (default: the setting's training database)")
    parser.add_argument("--originals", help="database whose images are written as files to extract from (default: the originals)")
    parser.add_argument("--iterations", type=int, help="of training a round")
    parser.add_argument("--count", type=int, help="images to extract a round")
    parser.add_argument("--rounds", type=int, default=4, help="the best of all counts")
    parser.add_argument("--gpu", default="none", metavar="none|N", help="device")
    options = parser.parse_args(argv)
    if (options.lmdb or options.originals) and len(options.setting or []) != 1:
        parser.error("--lmdb and --originals go with one --setting")
    if options.iterations is not None and options.iterations < 4 * DISPLAY:
        parser.error(f"--iterations must be at least {4 * DISPLAY}")
    return options


def main(argv=None):
    options = parse_arguments(argv)
    settings = options.setting or [setting for setting, (data, _, _) in DEFAULTS.items() if os.path.isdir(f"{data}/train_lmdb")]
    if not settings:
        raise DriverError("no databases are here: make demo makes the digits' (a minute), make train-cifar CIFAR-10's")
    for setting in settings:
        print(f"{setting}, {options.rounds} rounds", flush=True)
        bench(setting.rstrip("/"), options)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (DriverError, OSError) as error:
        sys.exit(f"bench_driver: {error}")
