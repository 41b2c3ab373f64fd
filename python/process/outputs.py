"""What a program may write over: never its own input, and only what it made itself and recognises.

Looked at before anything is written, the log included.
"""
import os
from collections.abc import Iterable
from pathlib import Path

from process.errors import DriverError


def refuse_inputs_as_outputs(outputs: Iterable[Path], inputs: Iterable[Path | None]) -> None:
    """DriverError when an output is, holds or lies in an input, links followed. None among the inputs: not given."""
    known = [path for path in inputs if path is not None]
    for output in outputs:
        for source in known:
            relation = _relation(_real(output), _real(source))
            if relation:
                raise DriverError(f"the output {output} {relation} the input {source}: choose another place for it")


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
    """DriverError when a folder to be replaced holds anything but files of these names. what: it should be, in words.

    A folder that is not there is fine, and so is an empty one.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise DriverError(f"{folder} is there and is no folder of its own: move it, or choose another place")
    foreign = sorted({path.name for path in folder.iterdir()} - set(known_names)) if folder.exists() else []
    if foreign:
        raise DriverError(f"{folder} is there and holds {foreign[0]}, which is no part of {what}: it is left alone. "
                          "Move it, or choose another place")


def refuse_foreign_text(path: Path, mark: str) -> None:
    """DriverError when a text file to be replaced is there and has no line with this mark of the program's own."""
    if path.is_symlink() or (path.exists() and mark not in _start(path)):
        raise DriverError(f"{path} is there and was not written by this program: it is left alone. Move it, or choose "
                          "another place")


def _start(path: Path) -> str:
    """The first lines, where the program puts its mark; "" of what is no file."""
    if not path.is_file():
        return ""
    with open(path, "rb") as file:
        return file.read(4096).decode(errors="replace")
