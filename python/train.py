#!/usr/bin/env python3
"""Fine-tunes a net with Caffe's own solver; stopped at any point, the same command goes on.

    train.py --solver prototxt/cifar10_caffenet_48/solver.prototxt --run runs/cifar10_caffenet_48 \\
        --weights bvlc_reference_caffenet.caffemodel

Leaves in the run's folder: run.json (settings), the resolved prototxt, caffe.log (Caffe's own log), train_log.csv,
curves.png, snapshots/ and final.caffemodel.
"""
import argparse
import os
import shutil
import signal
import sys
import time
from collections import deque

from driver_errors import DriverError
from native_guard import run_guarded
from training_log import TrainingLog, draw_curves, duration

SAY_EVERY_S = 2.0  # a line on the terminal at most this often; the CSV has them all
LOSS_CEILING = 50.0  # far above ln(classes); Caffe's softmax loss sticks at 87.3 when a net has exploded


class Training:
    """The loop round Caffe's solver: progress, tests, snapshots, stopping.

    Every iteration reseeds Caffe's generator from (seed, iteration), so dropout masks do not depend on where the run
    was interrupted; the Data layer's own generator is put back by reading again what was read (see skip_data).
    """

    def __init__(self, run, problem, solver, test_set, snapshots, options, console):
        self.run, self.problem, self.solver, self.test_set = run, problem, solver, test_set
        self.snapshots, self.options, self.console = snapshots, options, console
        self.display = problem.solver.display or 20
        self.losses = deque(maxlen=problem.solver.average_loss or 20)
        self.first_loss = None
        self.stopping = False
        self.log = None
        self.last_said = 0.0

    def say(self, text):
        print(text, file=self.console)

    def start(self):
        """Goes back to the last whole snapshot, if there is one."""
        self.snapshots.remove_partial()
        whole = self.snapshots.iterations()
        elapsed = 0.0
        if whole:
            progress = self.snapshots.restore(self.solver, whole[-1])
            self.losses.extend(progress["losses"])
            self.first_loss, elapsed = progress["first_loss"], progress["elapsed_s"]
            self.say(f"going on from the snapshot of iteration {whole[-1]}")
            self.skip_data(whole[-1])
        self.log = TrainingLog(self.run, self.solver.iter, elapsed)

    def skip_data(self, iterations):
        """Puts the Data layer back: position, and the generator of crops and mirrors, which only drawing advances."""
        from tqdm import tqdm
        batches = iterations * self.problem.solver.iter_size
        for _ in tqdm(range(batches), "reading past the images seen", unit="batch", file=self.console, leave=False,
                      mininterval=0.5 if self.console.isatty() else 10):
            self.solver.net._forward(0, 0)

    def to_end(self, last):
        """Trains up to iteration `last`; returns the exit status."""
        import caffe
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: setattr(self, "stopping", True))
        solver, options = self.solver, self.options
        self.clock = (time.monotonic(), solver.iter)
        while solver.iter < last and not self.stopping:
            rate = learning_rate(solver)
            caffe.set_random_seed((options.seed * 1_000_003 + solver.iter) % 2**31)
            solver.step(1)
            self.watch_loss()
            if solver.iter % self.display == 0 or solver.iter == last:
                self.report(rate, last)
            if options.test_every and (solver.iter % options.test_every == 0 or solver.iter == last):
                self.test()
            if solver.iter % options.snapshot_every == 0 or solver.iter == last:
                self.snapshot()
        return self.finish(last)

    def watch_loss(self):
        loss = current_loss(self.solver.net)
        self.losses.append(loss)
        self.first_loss = loss if self.first_loss is None else self.first_loss
        average = sum(self.losses) / len(self.losses)
        if not average < max(LOSS_CEILING, 10 * self.first_loss):  # NaN fails every comparison
            whole = self.snapshots.iterations()
            raise DriverError(
                f"the loss is {loss:g} at iteration {self.solver.iter} (first: {self.first_loss:g}): training has diverged. "
                "Lower base_lr (by 10, say), check the mean image, and that the weights suit the net; "
                + (f"the snapshot of iteration {whole[-1]} is kept" if whole else "no snapshot had been taken"))

    def report(self, rate, last):
        now, n = time.monotonic(), self.solver.iter
        seconds = (now - self.clock[0]) / max(1, n - self.clock[1])
        self.clock = (now, n)
        loss = sum(self.losses) / len(self.losses)
        speed = self.problem.batch / seconds
        self.log.row(n, loss=loss, learning_rate=rate, images_per_second=speed)
        if now - self.last_said < SAY_EVERY_S and n < last:
            return
        self.last_said = now
        self.say(f"iteration {n:6d}/{last}  loss {loss:.4f}  lr {rate:.2g}  {speed:6.1f} images/s  "
                 f"{duration((last - n) * seconds)} left")

    def test(self):
        started = time.monotonic()
        accuracy, loss = self.test_set.measure()
        self.log.row(self.solver.iter, test_accuracy=accuracy, test_loss=loss)
        self.say(f"iteration {self.solver.iter:6d}  test accuracy {accuracy:.4f}  test loss {loss:.4f}  "
                 f"(all {self.test_set.images:,} test images, {duration(time.monotonic() - started)})")
        self.clock = (self.clock[0] + time.monotonic() - started, self.clock[1])

    def snapshot(self):
        started = time.monotonic()
        progress = dict(iteration=self.solver.iter, losses=list(self.losses), first_loss=self.first_loss,
                        elapsed_s=self.log.elapsed())
        model = self.snapshots.save(self.solver, progress)
        draw_curves(self.run)
        self.clock = (self.clock[0] + time.monotonic() - started, self.clock[1])
        return model

    def finish(self, last):
        n = self.solver.iter
        if self.stopping and n < last:
            model = self.snapshot()
            self.say(f"stopped at iteration {n}; snapshot {model}. The same command goes on from there")
            return 130
        final = os.path.join(self.run, "final.caffemodel")
        place_copy(self.snapshots.path(n, "caffemodel"), final)
        self.say(f"trained {n} iterations in {duration(self.log.elapsed())}: {final}")
        return 0


def learning_rate(solver):
    return getattr(solver, "lr", float("nan"))


def current_loss(net):
    """The weighted sum of the net's losses in the last forward pass (with iter_size > 1: of its last part)."""
    return sum(float(weight * net.blobs[name].data.sum()) for name, weight in net.blob_loss_weights.items() if weight)


def place_copy(source, target):
    """target becomes the same file (a hard link where the file system has them), at once."""
    beside = target + ".partial"
    if os.path.exists(beside):
        os.remove(beside)
    try:
        os.link(source, beside)
    except OSError:
        shutil.copyfile(source, beside)
    os.replace(beside, target)


def expected_time(net, iterations):
    """Seconds the iterations will take, from one timed pass. It starts behind the Data layer, so no image is used up."""
    last = len(net.layers) - 1
    for _ in range(2):  # the first one allocates memory
        started = time.monotonic()
        net._forward(1, last)
        net._backward(last, 0)
        seconds = time.monotonic() - started
    net.clear_param_diffs()
    return seconds * iterations


def train(options, console):
    """The work of this program, in the guarded child."""
    import device
    import weights
    from run_settings import Problem, settle, write_resolved
    from snapshots import Snapshots
    from test_set import TestSet

    gpus = device.choose(options.gpu)
    problem = Problem(options.solver)
    options.snapshot_every = options.snapshot_every or problem.solver.snapshot or 10_000
    if options.test_every is None:
        options.test_every = problem.solver.test_interval
    last = options.iterations or problem.solver.max_iter
    initial = None if options.weights == "none" else options.weights
    settle(options.run, problem.settings(initial, options.seed, last))
    snapshots = Snapshots(options.run)
    if is_finished(options.run, snapshots, last):
        print(f"{options.run} is trained: {last} iterations, {options.run}/final.caffemodel", file=console)
        return 0

    import caffe
    print(f"device: {device.use(gpus)}", file=console)
    solver_file = write_resolved(options.run, problem, options.seed, snapshots.prefix, gpus[0] if gpus else None)
    solver = caffe.get_solver(solver_file)
    if initial:
        found = weights.match(initial, solver.net)
        solver.net.copy_from(initial)
        print(found.sentence(initial), file=console)
    else:
        print("no weights given (WEIGHTS=none): every layer starts from its filler", file=console)
    test_set = TestSet(problem.net_file, problem.net, problem.test_images, solver.net)
    training = Training(options.run, problem, solver, test_set, snapshots, options, console)
    training.start()
    seconds = expected_time(solver.net, last - solver.iter)
    print(f"{last - solver.iter} iterations of {problem.batch} images to go: about {duration(seconds)} "
          "(tests and snapshots come on top)", file=console)
    return training.to_end(last)


def is_finished(run, snapshots, last):
    return (snapshots.iterations() or [0])[-1] >= last and os.path.exists(os.path.join(run, "final.caffemodel"))


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--solver", required=True, help="solver prototxt; paths in it are relative to the current directory")
    parser.add_argument("--run", required=True, help="folder of the run, made when missing")
    parser.add_argument("--weights", required=True, metavar="FILE|none",
                        help="initial caffemodel (layers are taken by name), or none to start from the fillers")
    parser.add_argument("--iterations", type=int, help="train up to this iteration (default: the solver's max_iter)")
    parser.add_argument("--seed", type=int, default=1, help="of fillers, crops, mirrors and dropout")
    parser.add_argument("--gpu", default="auto", metavar="auto|none|N[,N]", help="device")
    parser.add_argument("--snapshot-every", type=int, help="iterations (default: the solver's snapshot)")
    parser.add_argument("--test-every", type=int, help="iterations, 0 for never (default: the solver's test_interval)")
    options = parser.parse_args(argv)
    for name in ("iterations", "snapshot_every"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if not 0 <= options.seed < 2**31:
        parser.error("--seed must be between 0 and 2147483647")
    if options.weights != "none" and not os.path.isfile(options.weights):
        sys.exit(f"train: --weights {options.weights}: no such file. Give a caffemodel, or none to start from the fillers")
    return options


def main(argv=None):
    options = parse_arguments(argv)
    os.makedirs(options.run, exist_ok=True)
    return run_guarded(lambda console: train(options, console), os.path.join(options.run, "caffe.log"), "train")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (DriverError, OSError) as error:
        sys.exit(f"train: {error}")
