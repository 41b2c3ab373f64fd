"""The features of one source of images in the making: its key, its files, its reader."""
import time
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from tqdm import tqdm

from features.extractor import Extractor
from features.feature_files import FeatureFiles, is_made
from features.prefetch import Prefetcher
from features.recipe import Recipe
from features.sources import Source
from process.checkout import commit
from process.identity import cache_key
from process.run_folder import RunFolder

MANY = 200_000    # images of which no pictures are kept
LARGE_THUMB = 64  # side of a picture at most, in pixels


class Extraction:
    """Features of `source`, by `recipe`, in the folder `out`."""

    def __init__(self, source: Source, out: Path, recipe: Recipe) -> None:
        self.source, self.out, self.recipe = source, out, recipe
        self.origin = self._origin()
        self.key = cache_key(self.origin)
        self.several: np.ndarray | None = getattr(source, "several", None)
        self.files: FeatureFiles | None = None
        self.reader: Prefetcher | None = None

    def _origin(self) -> dict[str, Any]:
        """All that the features depend on, as meta.json tells it."""
        return origin(self.recipe, self.source, self.source.identity())

    def is_made(self) -> bool:
        """Whether the folder holds these very features already."""
        return is_made(self.out, self.key)

    def begin(self, thumbs: int | None) -> None:
        """Takes the folder and starts the reader, which forks: before Caffe is used. thumbs: None for the default."""
        self.thumbs = _default_thumbs(self._all_images()) if thumbs is None else thumbs
        self.files = self._new_files()
        self.reader = Prefetcher(self.source, self.recipe.preprocess, self.recipe.batch, self.files.rows, self.thumbs)

    def _all_images(self) -> Source:
        """The images whose number and size decide about pictures for the report."""
        return self.source

    def _new_files(self) -> FeatureFiles:
        return FeatureFiles(self.out, self.key, self.thumbs)

    def close(self) -> None:
        """Ends the reader."""
        if self.reader:
            self.reader.close()

    def finish(self, extractor: Extractor, run: RunFolder | None, console: TextIO) -> None:
        """Computes the rows that are left and gives the folder its name. Interrupted, what is there is kept."""
        try:
            self.files.open(self._arrays(extractor))
            rate = self._write_rows(extractor, console)
        except KeyboardInterrupt:
            self.files.checkpoint()
            raise
        self.files.finish(self.source.ids, self._meta(extractor, run))
        widths = ", ".join(f"{name} ({extractor.width(name)})" for name in extractor.blobs)
        print(f"{self.out}: {self.source.count:,} rows of {widths}, images at {rate:,.1f}/s", file=console)

    def _arrays(self, extractor: Extractor) -> dict[str, tuple[tuple[int, ...], type]]:
        """{name: (shape, dtype)} of the files to write."""
        count = self.source.count
        shapes = {name: ((count, extractor.width(name)), np.float32) for name in extractor.blobs}
        shapes["labels"] = ((count,), np.int64) if self.several is None else (self.several.shape, np.uint8)
        if extractor.classifier:
            shapes["predictions"] = ((count,), np.int64)
        if self.thumbs:
            shapes["thumbs"] = ((count, self.thumbs, self.thumbs, 3), np.uint8)
        return shapes

    def _write_rows(self, extractor: Extractor, console: TextIO) -> float:
        """Extracts what is left; returns images/s."""
        started, first = time.monotonic(), self.files.rows
        with tqdm(total=self.source.count, initial=first, unit="image", desc=self.source.path, file=console,
                  mininterval=0.5 if console.isatty() else 10) as bar:
            for images, labels, thumbs in self.reader:
                pictures = {"thumbs": thumbs} if self.thumbs else {}
                if self.several is not None:
                    labels = self.several[self.files.rows:self.files.rows + len(labels)]
                self.files.append(**extractor(images), labels=labels, **pictures)
                bar.update(len(labels))
        return (self.files.rows - first) / (time.monotonic() - started)

    def _meta(self, extractor: Extractor, run: RunFolder | None) -> dict[str, Any]:
        """meta.json: what made the features (python/README.md lists it)."""
        return {**self.origin, "split": self.out.name, "bits": extractor.width("latent"),
                "feature_dim": extractor.width("fc7"), **about(self.source, run)}


def origin(recipe: Recipe, source: Source, identity: dict[str, str]) -> dict[str, Any]:
    """All that features depend on, as meta.json tells it: the key is made of it. identity: of the images."""
    return {**recipe.identity(), "data": {"path": source.path, **identity, "dataset": source.meta.get("dataset")}}


def about(source: Source, run: RunFolder | None) -> dict[str, Any]:
    """What meta.json tells of the images and of the run."""
    return {"count": source.count, "classes": source.meta.get("classes"), "run": str(run) if run else None,
            "training": _training(run), "commit": commit()}


def _training(run: RunFolder | None) -> dict | None:
    """How long the run was trained, for those who show its figures; None for weights of no run."""
    if not run or not run.settings.exists():
        return None
    settings = run.read_settings()
    return {"iterations": settings.get("iterations"), "schedule": settings.get("schedule", 1)}


def _default_thumbs(source: Source) -> int:
    """Side of the report's pictures: the images' own when small, 64 otherwise, 0 (none) for very many images."""
    if source.count > MANY:
        return 0
    image, _ = next(source.read())
    return min(LARGE_THUMB, max(image.shape[:2]))
