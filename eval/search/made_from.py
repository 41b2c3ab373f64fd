"""What a result was made from, as a dict of digests: a saved result whose dict is another one is stale.

Clocks tell nothing here (a copied run is as good as the original), so equality of these dicts is the only rule.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from basics.program import EvalError
from basics.rows import block_slices, evenly, gather, release
from search.feature_set import Split

WHOLE_BYTES = 1 << 28    # arrays up to 256 MiB are read whole
SAMPLED_ROWS = 1024      # of a larger one whose meta.json has a key
BLOCK_ROWS = 4096
IN_WORDS = {"codes": "other codes", "fc7": "other fc7", "pretrained fc7": "other fc7 of the net before fine-tuning",
            "labels": "other labels", "top_k": "another length of lists", "radius": "another radius T",
            "pool_min": "another --pool-min", "methods": "other baselines"}


def json_digest(contents) -> str:
    """SHA-256 of what JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str | None:
    """SHA-256 of a file; None if there is none."""
    if not path.exists():
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def array_digest(*arrays: np.ndarray) -> str:
    """SHA-256 of the shapes, types and values of arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype.str}".encode())
        for rows in tqdm(block_slices(len(array), BLOCK_ROWS), desc="reading what is ranked", unit="block", delay=2,
                         leave=False, disable=None):
            digest.update(np.ascontiguousarray(array[rows]).data)
        release(array)
    return digest.hexdigest()


def split_digest(split: Split, name: str) -> str | None:
    """What identifies one array (fc7, thumbs, ...) of a split; None if the split has none.

    Its values, as a rule. An array above 256 MiB whose meta.json has a key is told by that key, which the extraction
    makes of everything that features depend on, with 1,024 evenly taken rows: reading it whole would take longer than
    the search that is to be saved.
    """
    array = getattr(split, name)
    if array is None:
        return None
    key = split.meta.get("key")
    if key is None or array.nbytes <= WHOLE_BYTES:
        return array_digest(array)
    sampled = gather(array, evenly(len(array), SAMPLED_ROWS))
    return json_digest([key, array.shape, array_digest(sampled)])


def differences(found: dict, wanted: dict) -> list[str]:
    """What a result was made from other than `wanted`, in words; [] if all entries of `wanted` are equal in `found`."""
    return [IN_WORDS.get(name, f"another {name}") for name, value in wanted.items() if found.get(name) != value]


def check_made_from(path: Path, found, wanted: dict):
    """EvalError that names what differs, unless the saved result at `path` was made from `wanted`."""
    if not isinstance(found, dict):
        raise EvalError(f"{path} does not tell which fc7 it was made from (an older version wrote it): "
                        "run without --score-only to search again")
    different = differences(found, wanted)
    if different:
        raise EvalError(f"{path} was made from {' and '.join(different)}: run without --score-only to search again")
