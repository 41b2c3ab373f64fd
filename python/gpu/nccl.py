"""Caffe's NCCL: the ranks of one training, one process a GPU, and the exchange of their gradients."""
from collections.abc import Sequence

import caffe

from process.errors import DriverError

UNIQUE_ID_BYTES = 128


def check_nccl() -> None:
    """DriverError when the Caffe in use cannot train on several GPUs."""
    if not caffe.has_nccl():
        raise DriverError("this Caffe was built without NCCL, which several GPUs need: build one with it "
                          "(make caffe CUDA=1 NCCL=1), or give one GPU")


def become(rank: int, gpus: Sequence[int]) -> None:
    """Makes this process rank `rank` of Caffe's solvers. Before the solver is made."""
    caffe.set_device(gpus[rank])
    caffe.set_mode_gpu()
    caffe.set_solver_count(len(gpus))
    caffe.set_solver_rank(rank)
    caffe.set_multiprocess(True)


def new_unique_id() -> bytes:
    """An id by which the ranks find each other. DriverError when pycaffe cuts it short."""
    unique_id = caffe.NCCL.new_uid()
    if len(unique_id) != UNIQUE_ID_BYTES:
        raise DriverError(f"pycaffe cuts NCCL's id to {len(unique_id)} of {UNIQUE_ID_BYTES} bytes (a fault of its "
                          "NCCL_New_Uid, in python/caffe/_caffe.cpp): train on one GPU, or build Caffe with that fixed")
    return unique_id


def join(solver: caffe.SGDSolver, unique_id: bytes) -> "caffe.NCCL":
    """Joins the other ranks, takes rank 0's weights, and exchanges gradients at every update. Keep the result alive."""
    nccl = caffe.NCCL(solver, unique_id)
    nccl.bcast()
    solver.add_callback(nccl)
    if solver.param.layer_wise_reduce:
        solver.net.after_backward(nccl)
    return nccl
