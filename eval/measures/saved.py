"""What an evaluation leaves in its folder and finds there again: ranked lists, tables, whether they are still valid.

A saved result is used again only if it was made from the same things (search/made_from.py).
"""

import sys
from pathlib import Path

import numpy as np

from basics.files import read_json, whole_file, write_json
from basics.program import EvalError
from measures.baselines import score_baselines
from measures.cost import measure_cost
from measures.evaluation import Evaluation
from measures.sweep import sweep_radius
from search.codes import as_bytes
from search.made_from import check_made_from, differences
from search.rankings import Ranking, load_made_from, load_ranking, save_ranking
from search.searches import each_search

MEASURED = ("codes", "fc7", "labels")   # what a table's figures are of, whatever methods it lists


def search_is_saved(evaluation: Evaluation) -> bool:
    """Whether all lists and tables in the output folder are those that a search would make now."""
    try:
        lists = {name: load_made_from(evaluation.out.ranking(name)) for name in evaluation.searches}
    except EvalError:
        return False
    tables = {name: load_table(evaluation, name)[0] for name in evaluation.tables}
    return lists == evaluation.lists and tables == evaluation.tables


def is_current(evaluation: Evaluation, report_key: str | None) -> bool:
    """Whether results.json, the report if one is wanted (by its key) and what was searched are of these features."""
    if not search_is_saved(evaluation) or not codes_are_saved(evaluation):
        return False
    key = evaluation.key(evaluation.lists, evaluation.tables)
    kept = [read_saved(evaluation.out.results).get("key")] + [report_key] * evaluation.options.report
    return all(found == key for found in kept)


def packed_bytes(evaluation: Evaluation) -> dict[Path, np.ndarray]:
    """{file: (N, bytes) uint8} of both splits, each whole and in its own order, whatever the protocol makes of them."""
    retrievals, bits = evaluation.retrievals, evaluation.queries.bits
    return {evaluation.out.codes("train"): as_bytes(retrievals.train_codes, bits),
            evaluation.out.codes("test"): as_bytes(retrievals.test_codes, bits)}


def save_codes(evaluation: Evaluation):
    """Write both splits' codes for other tools."""
    for path, codes in packed_bytes(evaluation).items():
        with whole_file(path) as file:
            np.save(file, codes)


def codes_are_saved(evaluation: Evaluation) -> bool:
    """Whether both files hold these codes."""
    return all(_holds(path, codes) for path, codes in packed_bytes(evaluation).items())


def _holds(path, codes):
    try:
        return np.array_equal(np.load(path, allow_pickle=False), codes)
    except (OSError, ValueError, EOFError):
        return False


def search_and_save(evaluation: Evaluation):
    """Everything that searches: ranked lists, the sweep over T, the baselines."""
    found = each_search(evaluation.retrieval, evaluation.searches, evaluation.search_options, evaluation.pretrained,
                        evaluation.options.threads)
    for name, ranking in found:
        save_ranking(evaluation.out.ranking(name), ranking)
    for name, make in TABLES.items():
        path = evaluation.out.table(name)
        if name in evaluation.tables:
            write_json(path, {"made_from": evaluation.tables[name], "table": make(evaluation)})
        else:
            path.unlink(missing_ok=True)   # an older search's


def make_sweep(evaluation: Evaluation) -> list[dict]:
    return sweep_radius(evaluation.retrieval, evaluation.options.threads)


def make_baselines(evaluation: Evaluation) -> dict:
    return score_baselines(evaluation.retrieval, evaluation.baselines, evaluation.search_options.top_k,
                           evaluation.options.threads)


def make_cost(evaluation: Evaluation) -> dict:
    retrieval = evaluation.retrieval
    return measure_cost(retrieval.query_codes, retrieval.database.codes, retrieval.bits,
                        retrieval.query_fc7, retrieval.database.fc7)


TABLES = {"sweep": make_sweep, "baselines": make_baselines, "cost": make_cost}


def load_lists(evaluation: Evaluation) -> dict[str, Ranking]:
    """The saved lists of the searches. EvalError if any was made from other things than the features and options say.

    An option that was not given accepts what the lists were made with; longer lists than asked for are cut by scoring.
    """
    rankings = {}
    for name, wanted in evaluation.lists.items():
        path = evaluation.out.ranking(name)
        rankings[name] = load_ranking(path)
        found = rankings[name].meta.get("made_from")
        given = {entry: value for entry, value in wanted.items() if value is not None and entry != "top_k"}
        check_made_from(path, found, given)
        if found["top_k"] < wanted["top_k"]:
            raise EvalError(f"{path} holds the first {found['top_k']} results of each query, {wanted['top_k']} are "
                            f"asked for: run without --score-only to search again, or give --top-k {found['top_k']}")
    return rankings


def load_table(evaluation: Evaluation, name: str) -> tuple[dict | None, dict | list | None]:
    """(what a saved table was made from, the table); (None, None) if there is none that tells."""
    saved = read_saved(evaluation.out.table(name))
    return saved.get("made_from"), saved.get("table")


def read_saved(path: Path) -> dict:
    """A JSON object; {} where there is none that can be read: what does not tell its key is stale."""
    try:
        return read_json(path)
    except EvalError:
        return {}


def load_tables(evaluation: Evaluation) -> tuple[dict, dict]:
    """({table: contents}, {table: what it was made from}) of those that are wanted and of these features.

    Others are left out, and said so: their figures would be of other features or labels.
    """
    contents, origins = {}, {}
    for name, wanted in evaluation.tables.items():
        origin, table = load_table(evaluation, name)
        if origin is None:
            continue
        different = differences(origin, {entry: wanted[entry] for entry in MEASURED if entry in wanted})
        if different:
            print(f"{evaluation.out.table(name)} is left out: it was made from {' and '.join(different)}; "
                  "run without --score-only to make it again", file=sys.stderr)
            continue
        contents[name], origins[name] = table, origin
    return contents, origins
