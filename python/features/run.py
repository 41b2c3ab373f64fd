"""One call of extract.py, from its options to its exit status. Behind the guard's fork."""
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from caffe_files.engine import engine_in_use
from features.extraction import Extraction
from features.feature_files import added_images
from features.loading import load_extractor, tell_device
from features.memory import check_batch
from features.options import SPLITS, ExtractOptions
from features.recipe import decide
from features.sources import FileSource, LmdbSource, Source
from gpu import device
from process.errors import DriverError


def extract(options: ExtractOptions, console: TextIO) -> int:
    """Extracts every source that is not extracted yet, all by one net; returns the exit status."""
    gpus = device.choose(options.gpu, lambda words: print(words, file=console))
    if len(gpus) > 1:
        raise DriverError(f"--gpu {options.gpu}: extraction takes one GPU")
    recipe = decide(options, None if gpus else engine_in_use(), console)
    extractions = [Extraction(source, out, recipe) for out, source in sources_of(options).items()]
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


def sources_of(options: ExtractOptions) -> dict[Path, Source]:
    """{folder of the features: source of the images}: one, or with --databases one for each split."""
    if options.lmdb:
        return {options.out: LmdbSource(options.lmdb)}
    if options.images:
        return {options.out: FileSource(options.images, options.root)}
    return {options.out / split: LmdbSource(split_database(options.databases, split)) for split in SPLITS}


def split_database(databases: Path, split: str) -> Path:
    """The originals where they are kept: the authors' evaluation resizes in float, the 256x256 pixels are rounded."""
    originals, resized = databases / f"{split}_originals_lmdb", databases / f"{split}_lmdb"
    if not originals.exists() and not resized.exists():
        raise DriverError(f"--databases {databases} has neither {resized.name} nor {originals.name}: make them with "
                          "data_prep/make_lmdb.py")
    return originals if originals.exists() else resized


def _is_kept(extraction: Extraction, console: TextIO) -> bool:
    made, added = extraction.is_made(), added_images(extraction.out)
    if added and not made:
        print(f"{extraction.out}: made anew, without the {added:,} images that were added to it: add them again with "
              "make add", file=console)
    if made:
        print(f"{extraction.out}: kept, made from the same weights, net, pre-processing and "
              f"{extraction.source.count:,} images" + (f"; {added:,} were added" if added else ""), file=console)
    return made
