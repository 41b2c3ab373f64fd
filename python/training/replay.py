"""What makes an interrupted run end in the same bits as one that was not (on the CPU).

Every iteration reseeds Caffe's generator from (seed, iteration), so dropout masks do not depend on where the run was
interrupted. The Data layer's own generator is put back by reading again what was read.
"""
from collections.abc import Iterable

import caffe


def seed_iteration(seed: int, iteration: int) -> None:
    """Seeds Caffe's generator of dropout masks.

    On a GPU that starts cuRAND anew, which is too slow for every iteration.
    """
    caffe.set_random_seed((seed * 1_000_003 + iteration + caffe.solver_rank() * 7919) % 2**31)


def skip_data(solver: caffe.SGDSolver, iter_size: int, iterations: Iterable[int]) -> None:
    """Puts the Data layers back: position, and the generator of crops and mirrors, which only drawing advances."""
    last = last_data_layer(solver.net)
    for _ in iterations:
        for _ in range(iter_size):
            solver.net._forward(0, last)


def last_data_layer(net: caffe.Net) -> int:
    """Index of the last layer that reads: the first, but for a net that reads labels beside the images."""
    return max((i for i, layer in enumerate(net.layers) if layer.type == "Data"), default=0)
