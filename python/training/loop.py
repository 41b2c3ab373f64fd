"""The loop round Caffe's solver: progress, tests, snapshots, stopping."""
import signal
import time
from collections import deque
from pathlib import Path
from typing import TextIO

import caffe
from tqdm import tqdm

from process.errors import DriverError
from process.program import INTERRUPTED
from training.curves import draw_curves
from training.log import TrainingLog, duration
from training.loss import IterationLoss
from training.plan import Plan
from training.problem import Problem
from training.replay import seed_iteration, skip_data
from training.snapshots import Snapshots
from training.standstill import Standstill
from training.testing import WholeTestSet

DISPLAY = 20        # iterations between rows of the log, where the solver does not say
SAY_EVERY_S = 2.0   # a line on the terminal at most this often; the CSV has them all
LOSS_CEILING = 50.0  # far above ln(classes); Caffe's softmax loss sticks at 87.3 when a net has exploded


class Training:
    """Trains a solver from its run's last whole snapshot on. What makes that exact is told in training/replay.py.

    fresh: layers that the initial weights did not fill.
    """

    def __init__(self, plan: Plan, problem: Problem, solver: caffe.SGDSolver, test_set: WholeTestSet,
                 snapshots: Snapshots, console: TextIO, fresh: tuple[str, ...]) -> None:
        self.plan, self.problem, self.solver, self.test_set = plan, problem, solver, test_set
        self.snapshots, self.console = snapshots, console
        self.display = problem.solver.display or DISPLAY
        self.losses = deque(maxlen=problem.solver.average_loss)
        self.iteration_loss = IterationLoss(solver.net, problem.solver.iter_size)
        self.first_loss: float | None = None
        self.stopping = False
        self.standstill = Standstill(plan, problem, solver.net, fresh, self.say)
        self.log: TrainingLog | None = None
        self.clock = (0.0, 0)  # (monotonic seconds, iteration) of the last row of the log
        self.last_said = 0.0

    def say(self, text: str) -> None:
        """A line on the terminal."""
        print(text, file=self.console)

    def start(self) -> None:
        """Goes back to the last whole snapshot, if there is one."""
        self.snapshots.remove_partial()
        self.snapshots.check_space(self.solver.net)
        whole = self.snapshots.last()
        elapsed = self._go_back(whole) if whole else 0.0
        self.log = TrainingLog(self.plan.run.train_log, self.solver.iter, elapsed)

    def _go_back(self, iteration: int) -> float:
        """Puts everything back to a snapshot; returns the seconds trained until then."""
        progress = self.snapshots.restore(self.solver, iteration)
        self.losses.extend(progress["losses"])
        self.first_loss = progress["first_loss"]
        self.say(f"going on from the snapshot of iteration {iteration}")
        batches = tqdm(range(iteration), "reading past the images seen", unit="batch", file=self.console, leave=False,
                       mininterval=0.5 if self.console.isatty() else 10)
        skip_data(self.solver, self.problem.solver.iter_size, batches)
        return progress["elapsed_s"]

    def to_end(self) -> int:
        """Trains up to the plan's last iteration; returns the exit status."""
        self._listen()
        plan, solver = self.plan, self.solver
        seed_iteration(plan.seed, solver.iter)
        self.clock = (time.monotonic(), solver.iter)
        while solver.iter < plan.iterations and not self.stopping:
            rate = getattr(solver, "lr", float("nan"))
            if not plan.gpus:
                seed_iteration(plan.seed, solver.iter)
            self.iteration_loss.start()
            solver.step(1)
            self._watch_loss()
            if self._due(self.display):
                self._report(rate)
            if self._due(plan.test_every):
                self._test()
            if self._due(plan.snapshot_every):
                self._snapshot()
        return self._finish()

    def _listen(self) -> None:
        """Ctrl-C and SIGTERM stop the loop behind the iteration at work."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: setattr(self, "stopping", True))
            signal.siginterrupt(number, False)  # a second Ctrl-C must not cut a write of Caffe's short

    def _due(self, every: int) -> bool:
        """Whether something that happens every so many iterations (0: never), and at the end, happens now."""
        return bool(every) and (self.solver.iter % every == 0 or self.solver.iter == self.plan.iterations)

    def _watch_loss(self) -> None:
        loss = self.iteration_loss.value()
        self.losses.append(loss)
        self.first_loss = loss if self.first_loss is None else self.first_loss
        average = sum(self.losses) / len(self.losses)
        if not average < max(LOSS_CEILING, 10 * self.first_loss):  # NaN fails every comparison
            whole = self.snapshots.last()
            raise DriverError(
                f"the loss is {loss:g} at iteration {self.solver.iter} (first: {self.first_loss:g}): training has "
                "diverged. Lower base_lr (by 10, say), check the mean image, and that the weights suit the net; "
                + (f"the snapshot of iteration {whole} is kept" if whole else "no snapshot had been taken"))

    def _report(self, rate: float) -> None:
        now, n, last = time.monotonic(), self.solver.iter, self.plan.iterations
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

    def _test(self) -> None:
        started = time.monotonic()
        result = self.test_set.measure()
        self.log.row(self.solver.iter, test_accuracy=result.accuracy, test_loss=result.loss)
        self.say(f"iteration {self.solver.iter:6d}  test accuracy {result.accuracy:.4f}  test loss {result.loss:.4f}  "
                 f"(all {self.test_set.images:,} test images, {duration(time.monotonic() - started)})")
        self.standstill.look(self.solver.iter, sum(self.losses) / len(self.losses), result)
        self._leave_out(started)

    def _snapshot(self) -> Path:
        started = time.monotonic()
        progress = {"iteration": self.solver.iter, "losses": list(self.losses), "first_loss": self.first_loss,
                    "elapsed_s": self.log.elapsed()}
        model = self.snapshots.save(self.solver, progress)
        draw_curves(self.plan.run)
        self._leave_out(started)
        return model

    def _leave_out(self, started: float) -> None:
        """Time since `started` is no training time: images/s and the time left are of iterations alone."""
        self.clock = (self.clock[0] + time.monotonic() - started, self.clock[1])

    def _finish(self) -> int:
        n = self.solver.iter
        if self.stopping and n < self.plan.iterations:
            model = self._snapshot()
            self.say(f"stopped at iteration {n}; snapshot {model}. The same command goes on from there")
            return INTERRUPTED
        self.say(f"trained {n} iterations in {duration(self.log.elapsed())}: {self.snapshots.make_final(n)}")
        return 0
