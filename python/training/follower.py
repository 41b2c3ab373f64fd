"""A rank above 0 of a training on several GPUs: it trains along, and leaves everything else to rank 0."""
import signal
from pathlib import Path

import caffe

from gpu import nccl
from training.plan import Plan
from training.replay import seed_iteration, skip_data


def follow(rank: int, plan: Plan, unique_id: bytes, snapshot: tuple[int, Path] | None, iter_size: int) -> None:
    """Trains to the plan's end.

    snapshot: (iteration, solver state) to go on from; None: the weights come from rank 0.
    """
    nccl.become(rank, plan.gpus)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # rank 0 decides, and takes this process along
    solver = caffe.get_solver(str(plan.run.solver))
    if snapshot:
        iteration, state = snapshot
        solver.restore(str(state))
        skip_data(solver, iter_size, range(iteration))
    exchange = nccl.join(solver, unique_id)
    seed_iteration(plan.seed, solver.iter)
    solver.step(plan.iterations - solver.iter)
    del exchange  # the callback needs it alive until here
