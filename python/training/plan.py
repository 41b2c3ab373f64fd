"""What one training does, decided from the command line and the solver."""
from dataclasses import dataclass
from pathlib import Path

from caffe.proto import caffe_pb2

from process.errors import DriverError
from process.run_folder import RunFolder
from training.options import TrainOptions

SNAPSHOT_EVERY = 10_000  # iterations, where neither says
SEED = 1                 # likewise


@dataclass(frozen=True)
class Plan:
    """gpus: () for the CPU. weights: None for a start from the fillers. The intervals are in iterations."""
    run: RunFolder
    weights: Path | None
    seed: int
    gpus: tuple[int, ...]
    iterations: int
    snapshot_every: int
    test_every: int  # 0: never


def decide(options: TrainOptions, gpus: tuple[int, ...], solver: caffe_pb2.SolverParameter) -> Plan:
    """The plan; options not given are the solver's. DriverError when nothing tells how long to train."""
    iterations = options.iterations or solver.max_iter
    if iterations < 1:
        raise DriverError(f"{options.solver} has no max_iter: say how long to train with --iterations (ITERS=)")
    return Plan(run=options.run, weights=options.weights, seed=_seed(options, solver), gpus=gpus, iterations=iterations,
                snapshot_every=options.snapshot_every or solver.snapshot or SNAPSHOT_EVERY,
                test_every=solver.test_interval if options.test_every is None else options.test_every)


def _seed(options: TrainOptions, solver: caffe_pb2.SolverParameter) -> int:
    """Caffe's own -1 stands for a seed that nobody knows; here a run always has one."""
    if options.seed is not None:
        return options.seed
    return solver.random_seed if solver.random_seed >= 0 else SEED
