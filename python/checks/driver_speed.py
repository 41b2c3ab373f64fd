"""The driver against Caffe's own programs, in turns within one run, several short rounds.

train    time per iteration of train.py and of `caffe train` on the same solver, databases and device
extract  images/s of extract.py, from an LMDB and from image files, and of the net's forward pass in `caffe time`, on
         the test phase of the same net: on a deploy net `caffe time` runs zeros with zero weights, 12 % faster than
         any image (CaffeNet, CPU)

Each run of ours stands beside Caffe's just before and just after it, and the median of these ratios counts: on a shared
machine the best of many short runs is luck that a long one has not.
"""
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import cv2
import lmdb
from caffe.proto import caffe_pb2

from caffe_files.prototxt import data_layer, message_text, read_net, read_solver
from caffe_files.tools import caffe_tool
from checks.options import WINDOW, BenchOptions
from features.sources import LmdbSource
from process.errors import DriverError
from process.modules import program_command
from process.run_folder import RunFolder
from training.log import read_rows
from training.problem import Problem

PASSES = 5  # of `caffe time`, forward and backward


@dataclass(frozen=True)
class Round:
    """data: folder of the databases, where that is known. iterations of training and images extracted in a round."""
    data: Path | None = None
    iterations: int = 40
    images: int = 640

    def database(self, kind: str) -> Path | None:
        """A training database, train_<kind>, where there is one."""
        path = self.data and self.data / f"train_{kind}"
        return path if path and path.is_dir() else None


DEFAULTS = {Path("prototxt/digits_lenet_48"): Round(Path("data/digits28"), 300, 4_000),
            Path("prototxt/cifar10_caffenet_48"): Round(Path("data/cifar10"))}


def bench(options: BenchOptions) -> None:
    """Prints three ratios for each setting. DriverError when there is none, or a program fails."""
    settings = options.setting or [setting for setting, one in DEFAULTS.items() if one.database("lmdb")]
    if not settings:
        raise DriverError("no databases are here: make demo makes the digits' (a minute), make train-cifar CIFAR-10's")
    for setting in settings:
        print(f"{setting}, {options.rounds} rounds", flush=True)
        _bench(setting, options)


def _bench(setting: Path, options: BenchOptions) -> None:
    default = DEFAULTS.get(setting, Round())
    lmdb_path = options.lmdb or default.database("lmdb")
    if not lmdb_path:
        raise DriverError(f"no database is known for {setting}: name one with --lmdb")
    originals = options.originals or default.database("originals_lmdb") or lmdb_path
    with tempfile.TemporaryDirectory(prefix="bench_driver.") as name:
        folder = Path(name)
        _bench_training(_write_solver(setting, options.iterations or default.iterations, folder), folder, options)
        _bench_extraction(folder, lmdb_path, originals, options.count or default.images, options)


def _bench_training(solver: Path, folder: Path, options: BenchOptions) -> None:
    batch = Problem(solver).batch
    theirs, ours, ratios = [median(_caffe_train(solver, options.gpu))], [], []
    for number in range(options.rounds):
        ours.append(median(_driver_train(solver, RunFolder(folder / f"run{number}"), batch, options.gpu)))
        theirs.append(median(_caffe_train(solver, options.gpu)))
        ratios.append(ours[-1] / mean(theirs[-2:]))
    print(f"train    caffe train {median(theirs) / WINDOW * 1e3:8.2f} ms/iteration   "
          f"train.py {median(ours) / WINDOW * 1e3:8.2f} ms/iteration   median ratio {median(ratios):.3f} "
          f"(at most 1.02)", flush=True)


def _bench_extraction(folder: Path, lmdb_path: Path, originals: Path, count: int, options: BenchOptions) -> None:
    run = RunFolder(folder / "run0")
    database = _first_entries(lmdb_path, folder / "lmdb", count)
    images = _image_files(originals, folder / "images", count)
    # {name: (options of extract.py, least ratio)}
    sources = {"from an LMDB": (["--lmdb", database, "--protocol", "caffe"], 0.95),
               "from images": (["--images", images], 0.90)}
    forward, ours = [_forward_rate(run.train_val, options.gpu)], {name: [] for name in sources}
    ratios = {name: [] for name in sources}
    for number in range(options.rounds):
        for name, (source, _) in sources.items():
            out = folder / f"features{number}" / name.replace(" ", "_")
            said = _run(*program_command("extract.py", "--run", run, *source, "--gpu", options.gpu, "--out", out))
            ours[name].append(_number_after("images at", said))
            forward.append(_forward_rate(run.train_val, options.gpu))
            ratios[name].append(ours[name][-1] / mean(forward[-2:]))
    for name, (_, least) in sources.items():
        print(f"extract  caffe time {median(forward):9.1f} images/s         "
              f"extract.py {name} {median(ours[name]):9.1f} images/s   median ratio {median(ratios[name]):.3f} "
              f"(at least {least})", flush=True)


def _run(*command: object) -> str:
    """What a program said. DriverError when it failed."""
    words = [str(part) for part in command]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "GLOG_minloglevel": "0"})
    if done.returncode:
        raise DriverError(f"{' '.join(words)} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout + done.stderr


def _number_after(words: str, text: str) -> float:
    """The number behind the last occurrence of words."""
    found = re.findall(re.escape(words) + r"\s*([\d.,e+-]+)", text)
    if not found:
        raise DriverError(f"no {words!r} in what the program said:\n{text[-2000:]}")
    return float(found[-1].replace(",", ""))


def _write_solver(setting: Path, iterations: int, folder: Path) -> Path:
    """The setting's solver, short, without tests, with a row of the log every few iterations; and its deploy net."""
    solver = caffe_pb2.SolverParameter()
    solver.CopyFrom(read_solver(setting / "solver.prototxt"))
    for name in ("test_iter", "test_interval"):
        solver.ClearField(name)
    solver.max_iter, solver.display, solver.snapshot = iterations, WINDOW, iterations
    solver.snapshot_after_train = False
    solver.snapshot_prefix, solver.random_seed = str(folder / "caffe"), 1
    path = folder / "solver.prototxt"
    path.write_text(message_text(solver))
    shutil.copyfile(setting / "deploy.prototxt", folder / "deploy.prototxt")
    return path


def _caffe_train(solver: Path, gpu: str) -> list[float]:
    """Seconds of each display window of `caffe train`, but the first."""
    said = _run(caffe_tool("caffe"), "train", "-solver", solver, *_caffe_gpu(gpu))
    return [WINDOW / float(rate) for rate in re.findall(r"Iteration \d+ \(([\d.e+-]+) iter/s", said)[2:]]


def _driver_train(solver: Path, run: RunFolder, batch: int, gpu: str) -> list[float]:
    """Seconds of each display window of train.py, but the first."""
    _run(*program_command("train.py", "--solver", solver, "--run", run, "--weights", "none", "--gpu", gpu))
    rates = [float(row["images_per_second"]) for row in read_rows(run.train_log)]
    return [WINDOW * batch / rate for rate in rates][1:]


def _caffe_gpu(gpu: str) -> list[str]:
    return [] if gpu == "none" else ["-gpu", gpu]


def _forward_rate(train_val: Path, gpu: str) -> float:
    """Images/s of the forward pass in phase TEST, by `caffe time`. Its Data layer hands over what was read ahead."""
    said = _run(caffe_tool("caffe"), "time", "-model", train_val, "-phase", "TEST", "-iterations", PASSES,
                *_caffe_gpu(gpu))
    batch = data_layer(read_net(train_val), caffe_pb2.TEST, train_val).data_param.batch_size
    return batch * 1000 / _number_after("Average Forward pass:", said)


def _first_entries(source: Path, target: Path, count: int) -> Path:
    """Copies the first entries of an LMDB."""
    target.mkdir(parents=True)
    with lmdb.open(str(source), readonly=True, lock=False) as old, lmdb.open(str(target), map_size=1 << 34) as new:
        with old.begin(buffers=True) as reading, new.begin(write=True) as writing, reading.cursor() as cursor:
            for _, (key, value) in zip(range(count), cursor):
                writing.put(bytes(key), bytes(value))
    return target


def _image_files(source: Path, target: Path, count: int) -> Path:
    """Writes the first images of an LMDB as PNG files."""
    target.mkdir(parents=True)
    for row, (image, _) in zip(range(count), LmdbSource(source).read()):
        cv2.imwrite(str(target / f"{row:06d}.png"), image)
    return target
