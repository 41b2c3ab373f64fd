"""The net of a recipe, put on its device."""
from collections.abc import Sequence
from typing import TextIO

from caffe_files.engine import cpu_sentence, freeze_weights
from features.extractor import Extractor
from features.memory import check_memory
from features.recipe import Recipe
from gpu import device
from gpu.machine import check_net
from process.machine import stay_within_memory


def tell_device(gpus: Sequence[int], recipe: Recipe, any_memory: bool, console: TextIO) -> None:
    """Says what computes, and stops before the card does when it is too small."""
    for gpu in device.listed(gpus) if gpus else [cpu_sentence()]:
        print(f"device: {gpu}", file=console)
        if gpus and not any_memory:
            print(check_memory(recipe.net, recipe.batch, gpu), file=console)


def load_extractor(recipe: Recipe, gpus: Sequence[int]) -> Extractor:
    """The net with its weights, which no longer change. Caffe is used from here on: what forks has forked."""
    device.use(gpus)
    if not gpus:
        stay_within_memory()
    extractor = Extractor(recipe.net, recipe.weights, recipe.blobs, recipe.batch)
    if not gpus:
        check_net(extractor.net, recipe.batch, recipe.net, training=False)
    freeze_weights()
    return extractor
