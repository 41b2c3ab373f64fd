"""One call of extract.py, from its options to its exit status. Behind the guard's fork."""
from contextlib import ExitStack
from typing import TextIO

from caffe_files.engine import engine_in_use
from features.extraction import Extraction
from features.feature_files import added_images
from features.joining import join
from features.loading import load_extractor, tell_device
from features.memory import check_batch
from features.options import ExtractOptions
from features.parts import PartExtraction
from features.recipe import Recipe, check_expected, decide
from features.sources import sources_of
from gpu import device
from process.cpu import processor
from process.errors import DriverError


def extract(options: ExtractOptions, console: TextIO) -> int:
    """Extracts every source that is not extracted yet, all by one net, or joins parts; returns the exit status."""
    if options.join:
        return join(options, console)
    gpus = device.choose(options.gpu, lambda words: print(words, file=console))
    if len(gpus) > 1:
        raise DriverError(f"--gpu {options.gpu}: extraction takes one GPU")
    recipe = decide(options, None if gpus else engine_in_use(), console)
    if options.expect:
        check_expected(recipe, options.expect)
    extractions = _extractions(options, recipe, device.listed(gpus)[0].name if gpus else f"CPU {processor()}")
    left = [extraction for extraction in extractions if not _is_kept(extraction, console)]
    if not left:
        return 0
    tell_device(gpus, recipe, options.any_memory, console)
    check_batch(recipe)
    with ExitStack() as readers:
        for extraction in left:
            readers.callback(extraction.close)
            extraction.begin(options.thumbs)
        extractor = load_extractor(recipe, gpus)
        for extraction in left:
            extraction.finish(extractor, options.run, console)
    return 0


def _extractions(options: ExtractOptions, recipe: Recipe, device: str) -> list[Extraction]:
    """All of each source, or the part that is asked for. device: that computes, in words."""
    sources = sources_of(options).items()
    if options.part:
        return [PartExtraction(source, out, recipe, options.part, device) for out, source in sources]
    return [Extraction(source, out, recipe) for out, source in sources]


def _is_kept(extraction: Extraction, console: TextIO) -> bool:
    made, added = extraction.is_made(), added_images(extraction.out)
    if added and not made:
        print(f"{extraction.out}: made anew, without the {added:,} images that were added to it: add them again with "
              "make add", file=console)
    if made:
        print(f"{extraction.out}: kept, made from the same weights, net, pre-processing and "
              f"{extraction.source.count:,} images" + (f"; {added:,} were added" if added else ""), file=console)
    return made
