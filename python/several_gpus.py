"""Training on several GPUs, by Caffe's own NCCL: one process a GPU, the main loop being rank 0.

Caffe's semantics: every GPU takes whole batches of the prototxt, so the images of an iteration are N times those of one
GPU: two GPUs on the authors' prototxt make 64, which asks for another learning rate or half the iterations. With --share-batch
the GPUs share the batch instead (16 each), and an iteration stays 32 images.

Each rank reads every N-th image of the database (Caffe's Data layer does). Gradients are averaged before each update, so
weights and momentum are the same everywhere. Crops, mirrors and dropout are drawn by each rank for itself. Tests, snapshots
and the loss that is shown are rank 0's; the others wait for it in the next exchange.

Written after Caffe's python/train.py and src/caffe/parallel.cpp and never run on GPUs: no machine with two was at hand. The
tests run it on the CPU, with an exchange in Python in NCCL's place.
"""
import multiprocessing
import os
import signal

from driver_errors import DriverError
from native_guard import die_with, run_guarded

UNIQUE_ID_BYTES = 128


def check_nccl():
    """DriverError when the Caffe in use cannot train on several GPUs."""
    import caffe
    if not caffe.has_nccl():
        raise DriverError("this Caffe was built without NCCL, which several GPUs need: build one with it "
                          "(make caffe CUDA=1 NCCL=1), or give one GPU")


def batch_sentence(problem):
    """What an iteration is made of, when that is not one batch."""
    batch, passes = problem.train_layer.data_param.batch_size, problem.solver.iter_size
    cut = f"{passes} batches of {batch}" if passes > 1 else f"a batch of {batch}"
    where = f" on each of {problem.devices} GPUs" if problem.devices > 1 else ""
    return f"an iteration is {cut}{where}, gradients averaged: {problem.batch} images"


def become(rank, gpus):
    """Makes this process rank `rank` of Caffe's solvers. Before the solver is made."""
    import caffe
    caffe.set_device(gpus[rank])
    caffe.set_mode_gpu()
    caffe.set_solver_count(len(gpus))
    caffe.set_solver_rank(rank)
    caffe.set_multiprocess(True)


def start_followers(solver_file, gpus, snapshot, iter_size, seed, last, log):
    """Starts the processes of ranks 1.. and returns the id that every rank joins by.

    snapshot: (iteration, solver state file) to go on from, or None: they get their weights from rank 0.
    """
    import caffe
    unique_id = caffe.NCCL.new_uid()
    if len(unique_id) != UNIQUE_ID_BYTES:
        raise DriverError(f"pycaffe cuts NCCL's id to {len(unique_id)} of {UNIQUE_ID_BYTES} bytes (a fault of its NCCL_New_Uid, in "
                          "python/caffe/_caffe.cpp): train on one GPU, or build Caffe with that mended")
    context = multiprocessing.get_context("spawn")  # fresh processes: this one may have touched a GPU
    for rank in range(1, len(gpus)):
        work = (rank, solver_file, gpus, unique_id, snapshot, iter_size, seed, last)
        context.Process(target=_watch_over, args=(os.getpid(), log, work), daemon=True).start()
    return unique_id


def join(solver, unique_id):
    """Joins the other ranks, takes rank 0's weights, and exchanges gradients at every update. Keep the result."""
    import caffe
    nccl = caffe.NCCL(solver, unique_id)
    nccl.bcast()
    solver.add_callback(nccl)
    if solver.param.layer_wise_reduce:
        solver.net.after_backward(nccl)
    return nccl


def _watch_over(main, log, work):
    """Runs a follower. When it ends wrongly, so does the main process, which would wait for it for ever."""
    die_with(main)
    if run_guarded(lambda console: _follow(*work), log, f"rank {work[0]}"):
        os.kill(main, signal.SIGKILL)  # its guard prints the last words of Caffe's log, which are the follower's


def _follow(rank, solver_file, gpus, unique_id, snapshot, iter_size, seed, last):
    import caffe
    from training_loop import seed_iteration, skip_data
    become(rank, gpus)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # rank 0 decides, and takes this process along
    solver = caffe.get_solver(solver_file)
    if snapshot:
        iteration, state = snapshot
        solver.restore(state)
        skip_data(solver, iter_size, range(iteration))
    nccl = join(solver, unique_id)  # noqa: F841 (the callback needs it alive)
    seed_iteration(seed, solver.iter)
    solver.step(last - solver.iter)
