"""Training on several GPUs, by Caffe's own NCCL: one process a GPU, the main loop being rank 0.

Caffe's semantics: every GPU takes whole batches of the prototxt, so the images of an iteration are N times those of one
GPU: two GPUs on the authors' prototxt make 64, which asks for another learning rate or half the iterations. With
--share-batch the GPUs share the batch instead (16 each), and an iteration stays 32 images.

Each rank reads every N-th image of the database (Caffe's Data layer does). Gradients are averaged before each update,
so weights and momentum are the same everywhere. Crops, mirrors and dropout are drawn by each rank for itself. Tests,
snapshots and the loss that is shown are rank 0's; the others wait for it in the next exchange.

Written after Caffe's python/train.py and src/caffe/parallel.cpp and never run on GPUs: no machine with two was
available. The tests run it on the CPU, with an exchange in Python in NCCL's place.
"""
import multiprocessing
import os

import caffe

from gpu import nccl
from training.plan import Plan
from training.rank_guard import watch_over
from training.snapshots import Snapshots


def join_others(plan: Plan, solver: caffe.SGDSolver, snapshots: Snapshots, iter_size: int) -> "caffe.NCCL":
    """Starts the processes of ranks 1.. and joins them. The result has to live as long as training does."""
    snapshot = (solver.iter, snapshots.path(solver.iter, "solverstate")) if solver.iter else None
    unique_id = nccl.new_unique_id()
    context = multiprocessing.get_context("spawn")  # fresh processes: this one may have touched a GPU
    for rank in range(1, len(plan.gpus)):
        follower = (os.getpid(), plan.run.caffe_log, rank, (plan, unique_id, snapshot, iter_size))
        context.Process(target=watch_over, args=follower, daemon=True).start()
    return nccl.join(solver, unique_id)
