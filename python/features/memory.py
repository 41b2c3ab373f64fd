"""Whether an extraction fits into a GPU's memory, and which batch would."""
from pathlib import Path

from caffe.proto import caffe_pb2

from caffe_files.prototxt import read_net
from features.prefetch import SLOTS
from features.recipe import Recipe
from gpu.machine import check_bytes
from gpu.memory import ALLOWANCE, ANYWAY, NONE_FITS, ask, input_net, too_small
from gpu.net_sizes import FLOAT
from gpu.nvidia import Gpu, in_words
from process.errors import DriverError


def check_batch(recipe: Recipe) -> None:
    """DriverError when the batches that are read ahead need more memory than the machine has."""
    check_bytes(FLOAT * SLOTS * recipe.batch * recipe.preprocess.channels * recipe.preprocess.crop ** 2,
                f"a batch of {recipe.batch:,} images", "take a smaller --batch")


def check_memory(net_file: Path, batch: int, gpu: Gpu) -> str:
    """A line on the memory needed. DriverError when the estimate is more than the GPU has free.

    Weights have no gradient here, blobs no diff.
    """
    net = read_net(net_file)
    shape = tuple(next(layer for layer in net.layer if layer.type == "Input").input_param.shape[0].dim)[1:]
    batches = [batch >> halved for halved in range(batch.bit_length())]
    weights, found = ask(input_net(net, caffe_pb2.TEST, [(batch, *shape)]), "TEST", batches)
    image = FLOAT * shape[0] * shape[1] * shape[2]
    needs = {size: ALLOWANCE + weights + at["forward"] + at["workspace"] + size * image
             for size, at in zip(batches, found)}
    if gpu.free is None or needs[batch] <= gpu.free:
        return f"memory: about {in_words(needs[batch])} needed with batches of {batch}"
    fitting = [size for size in needs if needs[size] <= gpu.free]
    advice = f"--batch {fitting[0]} fits" if fitting else NONE_FITS
    raise DriverError(f"{too_small(needs[batch], batch, gpu)}. {advice} ({ANYWAY})")
