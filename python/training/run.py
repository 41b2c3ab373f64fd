"""One call of train.py, from its options to its exit status. Behind the guard's fork."""
import time
from typing import TextIO

import caffe

from caffe_files import weights
from caffe_files.engine import cpu_sentence
from gpu import device
from gpu.machine import check_net
from process.files import lock_folder
from process.machine import stay_within_memory
from training.log import duration
from training.loop import Training
from training.memory import check_batches, check_memory
from training.options import TrainOptions
from training.plan import Plan, decide
from training.problem import Problem
from training.replay import last_data_layer
from training.resolved import check_deploy, check_run_folder, write_resolved
from training.schedule import schedule_words
from training.settings import check_unchanged, write_settings
from training.several_gpus import join_others
from training.snapshots import Snapshots
from training.testing import WholeTestSet


def train(options: TrainOptions, console: TextIO) -> int:
    """Trains, or says that the run is trained; returns the exit status."""
    gpus = device.choose(options.gpu, lambda words: print(words, file=console))
    lock_folder(options.run.path)  # held until the process ends
    problem = Problem(options.solver, max(1, len(gpus)), options.iter_size, options.share_batch, options.trust_net,
                      options.schedule)
    check_run_folder(problem, options.run)
    check_deploy(problem)
    plan = decide(options, gpus, problem.solver)
    settings = problem.settings(plan)
    snapshots = Snapshots(plan.run)
    done = snapshots.last()
    if done:
        check_unchanged(plan.run, settings)
    if done >= plan.iterations:
        print(f"{plan.run} is trained: {done} iterations, {snapshots.make_final(done)}", file=console)
        return 0

    _tell_devices(plan, problem, options.any_memory, console)
    if not gpus:
        check_batches(problem)
        stay_within_memory()
    device.use(gpus)
    write_resolved(plan, problem, snapshots.prefix)
    solver, fresh = _make_solver(plan, console)
    test_set = WholeTestSet(plan.run.train_val, problem.net, problem.test_images, solver.net)
    if not gpus:
        check_net(solver.net, problem.train_layer.data_param.batch_size, problem.net_file, training=True)
    write_settings(plan.run, settings, going_on=bool(done))
    training = Training(plan, problem, solver, test_set, snapshots, console, fresh)
    training.start()
    left = plan.iterations - solver.iter
    print(f"{left} iterations of {problem.batch} images to go: about {duration(_expected_time(solver.net, left))} "
          "(tests and snapshots come on top)", file=console)
    exchange = join_others(plan, solver, snapshots, problem.solver.iter_size) if len(gpus) > 1 else None
    status = training.to_end()
    del exchange  # the solver's callback needs it alive until here
    return status


def _tell_devices(plan: Plan, problem: Problem, any_memory: bool, console: TextIO) -> None:
    """Says what trains, and stops before the card does when it is too small."""
    gpus = device.listed(plan.gpus) if plan.gpus else []
    print("\n".join(f"device: {gpu}" for gpu in gpus or [cpu_sentence()]), file=console)
    if gpus and not any_memory:
        print(check_memory(problem, gpus), file=console)
    if schedule_words(problem.part):
        print(f"{schedule_words(problem.part)}: {plan.iterations:,} iterations", file=console)
    for sentence in filter(None, (problem.batch_sentence(), problem.few_sentence())):
        print(sentence, file=console)


def _make_solver(plan: Plan, console: TextIO) -> tuple[caffe.SGDSolver, tuple[str, ...]]:
    """(the run's solver with the initial weights, layers that they did not fill)."""
    solver = caffe.get_solver(str(plan.run.solver))
    if plan.weights:
        found = weights.load(plan.weights, solver.net)
        print(found.sentence(plan.weights), file=console)
        return solver, tuple(found.initialised)
    print("no weights given (WEIGHTS=none): every layer starts from its filler", file=console)
    return solver, tuple(solver.net.params)


def _expected_time(net: caffe.Net, iterations: int) -> float:
    """Seconds the iterations will take, from one timed pass. It starts behind the Data layers: no image is used up."""
    first, last = last_data_layer(net) + 1, len(net.layers) - 1
    for _ in range(2):  # the first one allocates memory
        started = time.monotonic()
        net._forward(first, last)
        net._backward(last, 0)
        _wait_for_gpu(net)
        seconds = time.monotonic() - started
    net.clear_param_diffs()
    return seconds * iterations


def _wait_for_gpu(net: caffe.Net) -> None:
    """A GPU computes behind the caller's back; fetching what comes last (the first layer's gradient) waits for it."""
    next(iter(net.params.values()))[-1].diff.sum()
