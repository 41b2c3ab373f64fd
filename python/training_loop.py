"""The loop round Caffe's solver: progress, tests, snapshots, stopping."""
import os
import shutil
import signal
import time
from collections import deque

import caffe
from tqdm import tqdm

from driver_errors import DriverError
from native_guard import INTERRUPTED
from training_log import TrainingLog, draw_curves, duration

SAY_EVERY_S = 2.0  # a line on the terminal at most this often; the CSV has them all
LOSS_CEILING = 50.0  # far above ln(classes); Caffe's softmax loss sticks at 87.3 when a net has exploded


class Training:
    """Trains a solver from its run's last whole snapshot on.

    On the CPU a run that was interrupted ends in the same bits as one that was not: every iteration reseeds Caffe's
    generator from (seed, iteration), so dropout masks do not depend on where the run was interrupted, and the Data
    layer's own generator is put back by reading again what was read (see skip_data).
    """

    def __init__(self, run, problem, solver, test_set, snapshots, options, console):
        self.run, self.problem, self.solver, self.test_set = run, problem, solver, test_set
        self.snapshots, self.options, self.console = snapshots, options, console
        self.display = problem.solver.display or 20
        self.losses = deque(maxlen=problem.solver.average_loss)
        self.iteration_loss = IterationLoss(solver.net, problem.solver.iter_size)
        self.first_loss = None
        self.stopping = False
        self.log = None
        self.last_said = 0.0

    def say(self, text):
        print(text, file=self.console)

    def start(self):
        """Goes back to the last whole snapshot, if there is one."""
        self.snapshots.remove_partial()
        self.snapshots.check_space(self.solver.net)
        whole = self.snapshots.iterations()
        elapsed = 0.0
        if whole:
            progress = self.snapshots.restore(self.solver, whole[-1])
            self.losses.extend(progress["losses"])
            self.first_loss, elapsed = progress["first_loss"], progress["elapsed_s"]
            self.say(f"going on from the snapshot of iteration {whole[-1]}")
            batches = tqdm(range(whole[-1]), "reading past the images seen", unit="batch", file=self.console, leave=False,
                           mininterval=0.5 if self.console.isatty() else 10)
            skip_data(self.solver, self.problem.solver.iter_size, batches)
        self.log = TrainingLog(self.run, self.solver.iter, elapsed)

    def to_end(self, last):
        """Trains up to iteration `last`; returns the exit status."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: setattr(self, "stopping", True))
            signal.siginterrupt(number, False)  # a second Ctrl-C must not cut a write of Caffe's short
        solver, options = self.solver, self.options
        seed_iteration(options.seed, solver.iter)
        self.clock = (time.monotonic(), solver.iter)
        while solver.iter < last and not self.stopping:
            rate = learning_rate(solver)
            if not options.gpus:
                seed_iteration(options.seed, solver.iter)
            self.iteration_loss.start()
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
        loss = self.iteration_loss.value()
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
        self._leave_out(started)

    def snapshot(self):
        started = time.monotonic()
        progress = dict(iteration=self.solver.iter, losses=list(self.losses), first_loss=self.first_loss,
                        elapsed_s=self.log.elapsed())
        model = self.snapshots.save(self.solver, progress)
        draw_curves(self.run)
        self._leave_out(started)
        return model

    def _leave_out(self, started):
        """Time since `started` is no training time: images/s and the time left are of iterations alone."""
        self.clock = (self.clock[0] + time.monotonic() - started, self.clock[1])

    def finish(self, last):
        n = self.solver.iter
        if self.stopping and n < last:
            model = self.snapshot()
            self.say(f"stopped at iteration {n}; snapshot {model}. The same command goes on from there")
            return INTERRUPTED
        final = place_final(self.run, self.snapshots, n)
        self.say(f"trained {n} iterations in {duration(self.log.elapsed())}: {final}")
        return 0


def seed_iteration(seed, iteration):
    """Seeds Caffe's generator of dropout masks. On a GPU that starts cuRAND anew, which is too slow for every iteration."""
    caffe.set_random_seed((seed * 1_000_003 + iteration + caffe.solver_rank() * 7919) % 2**31)


def skip_data(solver, iter_size, iterations):
    """Puts the Data layer back: position, and the generator of crops and mirrors, which only drawing advances."""
    for _ in iterations:
        for _ in range(iter_size):
            solver.net._forward(0, 0)


def learning_rate(solver):
    return getattr(solver, "lr", float("nan"))


class IterationLoss:
    """The loss of an iteration: the mean over its iter_size passes, of which the net shows the last."""

    def __init__(self, net, iter_size):
        self.net, self.passes, last = net, [], len(net.layers) - 1
        self.watching = iter_size > 1
        if self.watching:
            net.after_forward(lambda layer: self.passes.append(current_loss(net)) if layer == last else None)

    def start(self):
        self.passes.clear()

    def value(self):
        return sum(self.passes) / len(self.passes) if self.watching else current_loss(self.net)


def current_loss(net):
    """The weighted sum of the net's losses in the last forward pass."""
    return sum(float(weight * net.blobs[name].data.sum()) for name, weight in net.blob_loss_weights.items() if weight)


def expected_time(net, iterations):
    """Seconds the iterations will take, from one timed pass. It starts behind the Data layer, so no image is used up."""
    last = len(net.layers) - 1
    for _ in range(2):  # the first one allocates memory
        started = time.monotonic()
        net._forward(1, last)
        net._backward(last, 0)
        wait_for_gpu(net)
        seconds = time.monotonic() - started
    net.clear_param_diffs()
    return seconds * iterations


def wait_for_gpu(net):
    """A GPU computes behind the caller's back; fetching what it computes last (the first layer's gradient) waits for it."""
    next(iter(net.params.values()))[-1].diff.sum()


def place_final(run, snapshots, iteration):
    """<run>/final.caffemodel becomes the snapshot of that iteration (a hard link where the file system has them), at once."""
    final = os.path.join(run, "final.caffemodel")
    if os.path.exists(final) and os.path.samefile(final, snapshots.path(iteration, "caffemodel")):
        return final
    beside = final + ".partial"
    if os.path.exists(beside):
        os.remove(beside)
    try:
        os.link(snapshots.path(iteration, "caffemodel"), beside)
    except OSError:
        shutil.copyfile(snapshots.path(iteration, "caffemodel"), beside)
    os.replace(beside, final)
    return final
