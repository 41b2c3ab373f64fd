"""A part of an extraction: some rows of a source, in a folder of features of its own until all are joined.

Any number of processes on any machines may compute parts, the same one too: each writes under a name that no other has,
and the first that is whole stays. So a part that was begun twice is there once.
"""
import errno
import os
import re
import shutil
import socket
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from features.extraction import Extraction
from features.extractor import Extractor
from features.feature_files import PROGRESS, FeatureFiles, is_made
from features.options import Part
from features.recipe import Recipe
from features.sources import FileSource, Labelled, LmdbSource, Source
from process.errors import DriverError
from process.files import PARTIAL, lock_folder
from process.identity import sha256
from process.run_folder import RunFolder

DIGESTS = "digests.npy"  # (rows, 32) uint8: SHA-256 of each image file, which those of all images together follow from


class PartOfSource:
    """Some rows of a source, as a Source. digests: of image files, see DIGESTS; None for a database's rows."""

    def __init__(self, whole: LmdbSource | FileSource, rows: range) -> None:
        self.whole, self.rows = whole, rows
        self.path, self.count, self.meta = whole.path, len(rows), whole.meta
        self.ids: Sequence[str] = whole.ids[rows.start:rows.stop]
        several = getattr(whole, "several", None)
        self.several = None if several is None else several[rows.start:rows.stop]
        self.digests: np.ndarray | None = None

    def identity(self) -> dict[str, str]:
        """SHA-256 over the images of these rows."""
        if isinstance(self.whole, LmdbSource):
            return self.whole.identity_of(self.rows)
        found = [self.whole.digest(row) for row in self.rows]
        self.digests = np.frombuffer(b"".join(found), np.uint8).reshape(len(found), -1)
        return {"fingerprint": self.whole.fingerprint(self.rows, found)}

    def about(self, part: Part, batch: int) -> dict[str, Any]:
        """Which rows these are, and of what, as meta.json tells it."""
        return {"part": str(part), "first": self.rows.start, "end": self.rows.stop, "images": self.whole.count,
                "batch": batch}

    def read(self, start: int = 0) -> Iterator[Labelled]:
        """The images from row `start` of these rows on."""
        return islice(self.whole.read(self.rows.start + start), self.count - start)


class PartFiles(FeatureFiles):
    """The files of a part, with their checksums in meta.json. digests: as PartOfSource has them."""

    def __init__(self, folder: Path, key: str, thumbs: int, digests: np.ndarray | None) -> None:
        _remove_what_ended_processes_left(folder)
        super().__init__(folder, key, thumbs)
        self.digests = digests

    def _beside(self, folder: Path) -> Path:
        """A name that no other process has."""
        return folder.with_name(f"{_of_this_machine(folder)}{os.getpid()}.{os.urandom(4).hex()}{PARTIAL}")

    def finish(self, ids: Sequence[str], meta: dict[str, Any]) -> None:
        """Completes the folder and gives it its name, unless another process has been quicker with the same part."""
        self._complete(ids, meta)
        while not self._is_placed():
            pass

    def _is_placed(self) -> bool:
        """Whether the folder has its name now. What stands there and was made from something else makes room."""
        if is_made(self.folder, self.made_from["key"]):
            self.discard()
            return True
        if self.folder.exists():
            old = self._beside(self.folder)
            self.folder.rename(old)
            shutil.rmtree(old, ignore_errors=True)
        try:
            self.partial.rename(self.folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another process's, just now
                raise
            return False
        return True

    def _about_files(self) -> dict[str, Any]:
        (self.partial / PROGRESS).unlink()
        if self.digests is not None:
            np.save(self.partial / DIGESTS, self.digests)
        return {"files": {path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
                          for path in sorted(self.partial.iterdir())}}


def _of_this_machine(folder: Path) -> str:
    """What the names of unfinished copies of a part begin with on this machine."""
    return f"{folder.name}.{re.sub(r'[^A-Za-z0-9-]', '-', socket.gethostname())}."


def _remove_what_ended_processes_left(folder: Path) -> None:
    """Unfinished copies whose process has ended. Those of other machines are left to whoever joins the parts."""
    for path in folder.parent.glob(f"{_of_this_machine(folder)}*{PARTIAL}"):
        if _lives(path.name.split(".")[-3]):
            continue
        try:
            descriptor = lock_folder(path)
        except (DriverError, OSError):  # at work in a container of the same name, or gone just now
            continue
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _lives(process: str) -> bool:
    """Whether a process of this machine runs. One that was killed keeps its number until its parent asks for it."""
    try:
        return Path("/proc", process, "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class PartExtraction(Extraction):
    """The features of a part, to be put into its own folder. device: that computes, in words."""

    def __init__(self, whole: LmdbSource | FileSource, out: Path, recipe: Recipe, part: Part, device: str) -> None:
        self.part, self.features, self.device = part, out, device
        super().__init__(PartOfSource(whole, part.rows(whole.count, recipe.batch)), part.folder(out), recipe)

    def _origin(self) -> dict[str, Any]:
        return {**super()._origin(), "part": self.source.about(self.part, self.recipe.batch)}

    def _all_images(self) -> Source:
        return self.source.whole

    def _new_files(self) -> FeatureFiles:
        return PartFiles(self.out, self.key, self.thumbs, self.source.digests)

    def _meta(self, extractor: Extractor, run: RunFolder | None) -> dict:
        return {**super()._meta(extractor, run), "split": self.features.name,
                "computed": {"host": socket.gethostname(), "device": self.device}}
