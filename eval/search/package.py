"""A package of python/package.py: codes.npy, labels.npy, ids.txt and meta.json lie in it as in a folder of features."""

from pathlib import Path

from basics.program import EvalError
from search.made_from import file_digest

READ_HERE = ("codes.npy", "labels.npy", "ids.txt", "meta.json", "results.json", "fc7.npy", "thumbs.npy", "latent.npy",
             "predictions.npy")


def check_package(folder: Path):
    """Raise EvalError unless what is read of a package is what its SHA256SUMS (as sha256sum writes it) lists."""
    file = folder / "SHA256SUMS"
    if not file.is_file():
        raise EvalError(f"{folder} is no package: it has no SHA256SUMS. make package RUN= OUT= makes one")
    sums = {name: packed for packed, _, name in (line.partition("  ") for line in file.read_text().splitlines())}
    for name in READ_HERE:
        path = folder / name
        if path.is_file() != (name in sums):
            told = "is missing" if name in sums else "was not packed, SHA256SUMS does not list it"
            raise EvalError(f"{path} {told}: get the package again, or make it anew")
        if name in sums and file_digest(path) != sums[name]:
            raise EvalError(f"{path} is not what was packed, its SHA-256 is another: get the package again, or make it "
                            "anew")
