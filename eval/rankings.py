"""Ranked lists as files: searches write them, measures read them, so that scoring needs no search."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval_errors import EvalError
from eval_files import whole_file


@dataclass
class Ranking:
    """Ranked lists of one search: ids (Q, k) int32 rows of the database, and both distances where known.

    hamming (Q, k) and euclidean (Q, k) may be None; pool (Q,) is None but for hdl. meta: JSON values.
    """

    ids: np.ndarray
    hamming: np.ndarray | None = None
    euclidean: np.ndarray | None = None
    pool: np.ndarray | None = None
    meta: dict | None = None


def ranking_path(out, name):
    """Where evaluate.py keeps a search's lists."""
    return Path(out) / f"search-{name}.npz"


def save_ranking(path, ranking):
    """Write an .npz beside, then rename."""
    arrays = {name: getattr(ranking, name) for name in ("ids", "hamming", "euclidean", "pool")}
    with whole_file(path) as file:
        np.savez(file, meta=json.dumps(ranking.meta), **{k: v for k, v in arrays.items() if v is not None})


def load_ranking(path, fingerprint):
    """A saved Ranking. Raises EvalError if it is missing, damaged, or of other codes than `fingerprint` says."""
    if not path.exists():
        raise EvalError(f"{path} is missing: run without --score-only to search first")
    try:
        with np.load(path, allow_pickle=False) as saved:
            ranking = Ranking(**{name: saved[name] for name in saved.files if name != "meta"},
                              meta=json.loads(str(saved["meta"])))
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise EvalError(f"{path} is not a saved search ({error}): run without --score-only to search again") from None
    if ranking.meta.get("fingerprint") != fingerprint:
        raise EvalError(f"{path} was made from other codes: run without --score-only to search again")
    return ranking
