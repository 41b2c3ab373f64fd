#!/usr/bin/env python3
"""Fine-tunes a net with Caffe's own solver; stopped at any point, the same command goes on.

    train.py --solver prototxt/cifar10_caffenet_48/solver.prototxt --run runs/cifar10_caffenet_48 \\
        --weights bvlc_reference_caffenet.caffemodel

Leaves in the run's folder: run.json (settings), the resolved prototxt, caffe.log (Caffe's own log), train_log.csv,
curves.png, snapshots/ and final.caffemodel.
"""
import argparse
import os
import sys

import cpu_engine
from driver_errors import DriverError
from native_guard import run_guarded


def train(options, console):
    """The work of this program, in the guarded child."""
    import device
    from run_files import lock_folder
    from run_settings import Problem, check_unchanged, write_resolved, write_settings
    from snapshots import Snapshots
    from training_log import duration
    from training_loop import Training, expected_time, place_final

    options.gpus = device.choose(options.gpu, lambda words: print(words, file=console))
    lock = lock_folder(options.run)  # noqa: F841 (held until the process ends)
    problem = Problem(options.solver, max(1, len(options.gpus)), options.iter_size, options.share_batch)
    fill_from_solver(options, problem.solver)
    initial = None if options.weights == "none" else options.weights
    engine = None if options.gpus else cpu_engine.in_use()
    settings = problem.settings(initial, options.seed, options.iterations, engine)
    snapshots = Snapshots(options.run)
    done = (snapshots.iterations() or [0])[-1]
    if done:
        check_unchanged(options.run, settings)
    if done >= options.iterations:
        print(f"{options.run} is trained: {done} iterations, {place_final(options.run, snapshots, done)}", file=console)
        return 0

    tell_devices(options, problem, console)
    device.use(options.gpus)
    solver_file = write_resolved(options.run, problem, options.seed, snapshots.prefix, options.gpus)
    solver, test_set = make_solver(solver_file, initial, problem, console)
    write_settings(options.run, settings, going_on=bool(done))
    training = Training(options.run, problem, solver, test_set, snapshots, options, console)
    training.start()
    left = options.iterations - solver.iter
    print(f"{left} iterations of {problem.batch} images to go: about {duration(expected_time(solver.net, left))} "
          "(tests and snapshots come on top)", file=console)
    others = join_others(options, solver_file, solver, snapshots, problem) if len(options.gpus) > 1 else None  # noqa: F841 (kept alive)
    return training.to_end(options.iterations)


def tell_devices(options, problem, console):
    """Says what trains, and stops before the card does when it is too small."""
    import device
    import gpu_memory
    import several_gpus
    gpus = device.listed(options.gpus) if options.gpus else []
    cpu = f"CPU, engine {cpu_engine.in_use()}, threads: {cpu_engine.threads()}"
    print("\n".join(f"device: {gpu}" for gpu in gpus or [cpu]), file=console)
    if gpus and not options.any_memory:
        print(gpu_memory.check_training(problem, gpus), file=console)
    if len(gpus) > 1 or problem.solver.iter_size > 1:
        print(several_gpus.batch_sentence(problem), file=console)


def fill_from_solver(options, solver):
    """Options not given are the solver's."""
    options.iterations = options.iterations or solver.max_iter
    options.snapshot_every = options.snapshot_every or solver.snapshot or 10_000
    if options.test_every is None:
        options.test_every = solver.test_interval
    if options.iterations < 1:
        raise DriverError(f"{options.solver} has no max_iter: say how long to train with --iterations (ITERS=)")


def make_solver(solver_file, initial, problem, console):
    """(solver with the initial weights, test set that shares its weights)."""
    import caffe
    import weights
    from test_set import TestSet
    solver = caffe.get_solver(solver_file)
    if initial:
        found = weights.match(initial, solver.net)
        solver.net.copy_from(initial)
        print(found.sentence(initial), file=console)
    else:
        print("no weights given (WEIGHTS=none): every layer starts from its filler", file=console)
    resolved_net = os.path.join(os.path.dirname(solver_file), "train_val.prototxt")
    return solver, TestSet(resolved_net, problem.net, problem.test_images, solver.net)


def join_others(options, solver_file, solver, snapshots, problem):
    """Several GPUs: starts the other ranks and joins them; the result has to live as long as training does."""
    import several_gpus
    snapshot = (solver.iter, snapshots.path(solver.iter, "solverstate")) if solver.iter else None
    unique_id = several_gpus.start_followers(solver_file, options.gpus, snapshot, problem.solver.iter_size, options.seed,
                                             options.iterations, os.path.join(options.run, "caffe.log"))
    return several_gpus.join(solver, unique_id)


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--solver", required=True, help="solver prototxt; paths in it are relative to the current directory")
    parser.add_argument("--run", required=True, help="folder of the run, made when missing")
    parser.add_argument("--weights", required=True, metavar="FILE|none",
                        help="initial caffemodel (layers are taken by name), or none to start from the fillers")
    parser.add_argument("--iterations", type=int, help="train up to this iteration (default: the solver's max_iter)")
    parser.add_argument("--seed", type=int, default=1, help="of fillers, crops, mirrors and dropout")
    parser.add_argument("--gpu", default="auto", metavar="auto|none|N[,N]", help="device; N,N: several GPUs, each with a batch of its own")
    cpu_engine.add_options(parser)
    parser.add_argument("--iter-size", type=int, metavar="N", help="for small GPUs: cut the images of an iteration into N batches whose "
                                                                   "gradients are added (default: the solver's iter_size)")
    parser.add_argument("--share-batch", action="store_true", help="several GPUs: share the prototxt's batch instead of taking one each")
    parser.add_argument("--any-memory", action="store_true", help="train even where the GPU's memory is estimated to be too small")
    parser.add_argument("--snapshot-every", type=int, help="iterations (default: the solver's snapshot)")
    parser.add_argument("--test-every", type=int, help="iterations, 0 for never (default: the solver's test_interval)")
    options = parser.parse_args(argv)
    for name in ("iterations", "snapshot_every", "iter_size"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if (options.test_every or 0) < 0:
        parser.error("--test-every must be at least 0")
    if not 0 <= options.seed < 2**31:
        parser.error("--seed must be between 0 and 2147483647")
    if options.weights != "none" and not os.path.isfile(options.weights):
        sys.exit(f"train: --weights {options.weights}: no such file. Give a caffemodel, or none to start from the fillers")
    return options


def main(argv=None):
    options = parse_arguments(argv)
    cpu_engine.prepare(options.engine, options.threads)
    os.makedirs(options.run, exist_ok=True)
    return run_guarded(lambda console: train(options, console), os.path.join(options.run, "caffe.log"), "train")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (DriverError, OSError) as error:
        sys.exit(f"train: {error}")
