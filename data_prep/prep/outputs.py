"""What a program may write over: never its own input, and only what it made itself and recognises."""
import os
from collections.abc import Iterable
from pathlib import Path

from prep.errors import PrepError


def refuse_inputs_as_outputs(outputs: Iterable[Path], inputs: Iterable[Path | None]) -> None:
    """PrepError when an output is, holds or lies in an input, links followed. None among the inputs: not given."""
    known = [path for path in inputs if path is not None]
    for output in outputs:
        for source in known:
            relation = _relation(_real(output), _real(source))
            if relation:
                raise PrepError(f"the output {output} {relation} the input {source}; choose another --out")


def _real(path: Path) -> Path:
    """Links followed as far as they lead (Path.resolve ends in a RuntimeError where they lead in a circle)."""
    return Path(os.path.realpath(path))


def _relation(output: Path, source: Path) -> str | None:
    if output == source:
        return "is"
    if source.is_relative_to(output):
        return "holds"
    return "lies in" if output.is_relative_to(source) else None


def refuse_foreign_folder(folder: Path, known_names: Iterable[str], what: str) -> None:
    """PrepError when a folder to be replaced is none, or holds anything but files of these names."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise PrepError(f"{folder}: is there and is no folder of its own; move it, or choose another --out")
    foreign = sorted({path.name for path in folder.iterdir()} - set(known_names)) if folder.exists() else []
    if foreign:
        raise PrepError(f"{folder}: holds {foreign[0]}, which is no part of {what}, and is left alone; "
                        "move it, or choose another --out")
