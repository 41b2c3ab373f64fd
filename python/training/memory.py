"""Whether a training fits into a GPU's memory, and which batch would."""
import math
from collections.abc import Sequence
from pathlib import Path

from caffe.proto import caffe_pb2

from caffe_files.databases import first_shape
from gpu.machine import check_bytes
from gpu.memory import ALLOWANCE, ANYWAY, NONE_FITS, ask, input_net, too_small
from gpu.net_sizes import FLOAT
from gpu.nvidia import Gpu, in_words
from process.errors import DriverError
from training.problem import Problem


def phase_need(net: caffe_pb2.NetParameter, phase: str, layer: caffe_pb2.LayerParameter,
               batches: Sequence[int]) -> tuple[int, list[int]]:
    """(bytes of the weights, [bytes of all else] for each batch) of a phase that starts with this Data layer."""
    shape = first_shape(Path(layer.data_param.source))
    crop = layer.transform_param.crop_size
    image = (shape[0], crop, crop) if crop else shape
    tops = [(batches[0], *image), (batches[0],)][:len(layer.top)]
    weights, found = ask(input_net(net, getattr(caffe_pb2, phase), tops), phase, batches)
    ahead = FLOAT * layer.data_param.prefetch * image[0] * image[1] * image[2]
    return weights, [at["forward"] + at["workspace"] + batch * ahead + (at["backward"] if phase == "TRAIN" else 0)
                     for batch, at in zip(batches, found)]


def training_needs(problem: Problem, iter_sizes: Sequence[int]) -> dict[int, int]:
    """{iter_size: bytes on each GPU} with the batches that a Problem would have at each iter_size."""
    batches = [problem.batches(iter_size) for iter_size in iter_sizes]
    weights, train = phase_need(problem.net, "TRAIN", problem.train_layer, [train for train, _ in batches])
    _, test = phase_need(problem.net, "TEST", problem.test_layer, [test for _, test in batches])
    copies = _weight_copies(problem.solver, problem.devices)
    return {iter_size: ALLOWANCE + copies * weights + train[i] + test[i] for i, iter_size in enumerate(iter_sizes)}


def _weight_copies(solver: caffe_pb2.SolverParameter, devices: int) -> int:
    """Arrays of the weights' size: weights, gradients, momentum; more for other solvers and for NCCL's buffers."""
    plain = solver.type == "SGD" and solver.regularization_type == "L2"
    return (3 if plain else 6) + (2 if devices > 1 else 0)


def check_batches(problem: Problem) -> None:
    """DriverError when the batches read ahead need more memory than the machine has: Caffe takes it at once."""
    for layer in (problem.train_layer, problem.test_layer):
        shape = first_shape(Path(layer.data_param.source))
        crop, batch = layer.transform_param.crop_size, layer.data_param.batch_size
        image = (shape[0], crop, crop) if crop else shape
        check_bytes(FLOAT * (layer.data_param.prefetch + 1) * batch * math.prod(image),
                    f"{problem.net_file}: batch_size {batch:,} of layer {layer.name!r}", "take smaller batches")


def check_memory(problem: Problem, gpus: Sequence[Gpu]) -> str:
    """A line on the memory needed and there is. DriverError when the estimate is more than the fullest GPU has free."""
    now = problem.solver.iter_size
    needs = training_needs(problem, [now, *(n for n in problem.iter_sizes() if n > now)])
    line = f"memory: about {in_words(needs[now])} needed" + (" on each GPU" if len(gpus) > 1 else "")
    told = [gpu for gpu in gpus if gpu.free is not None]
    if not told:
        return f"{line}; how much is free the driver does not tell"
    fullest = min(told, key=lambda gpu: gpu.free)
    if needs[now] <= fullest.free:
        return f"{line} with batches of {problem.batches(now)[0]}"
    raise DriverError(f"{too_small(needs[now], problem.batches(now)[0], fullest)}. {_advice(problem, needs, fullest)}")


def _advice(problem: Problem, needs: dict[int, int], gpu: Gpu) -> str:
    """The smallest iter_size that fits, or that none does."""
    fitting = [iter_size for iter_size, need in needs.items() if need <= gpu.free]
    if not fitting:
        return f"{NONE_FITS} ({ANYWAY})"
    return (f"Batches of {problem.batches(fitting[0])[0]} fit: --iter-size {fitting[0]} (ITER_SIZE={fitting[0]}) "
            f"trains with them, and an iteration stays {problem.batch} images ({ANYWAY})")
