"""The contents of results.json: all measures of one evaluation, from its saved lists and tables."""

import numpy as np

from measures.evaluation import Evaluation
from measures.saved import load_tables
from measures.scoring import accuracy, score_classes, score_protocols, score_retrieval, worst_queries
from measures.whole_ranking import CodeRankings
from search.protocols import PROTOCOLS
from search.rankings import Ranking


def score(evaluation: Evaluation, rankings: dict[str, Ranking]) -> dict:
    """The contents of results.json."""
    options, queries = evaluation.options, evaluation.queries
    by_codes = CodeRankings(evaluation.retrievals, [options.protocol, *PROTOCOLS.values()], options.threads)
    results, ap = score_retrieval(by_codes, rankings, options.protocol, options.threads)
    found = accuracy(queries)
    if found is not None:
        results["accuracy"] = found
    if "bcs" in ap:
        results |= score_queries(evaluation, ap["bcs"])
    results["protocols"] = score_protocols(by_codes)
    tables, origins = load_tables(evaluation)
    lists = {name: ranking.meta["made_from"] for name, ranking in rankings.items()}
    return results | tables | {"features": queries.meta, "key": evaluation.key(lists, origins)}


def score_queries(evaluation: Evaluation, ap: np.ndarray) -> dict:
    """{worst_queries, classes} by the AP of each query (Q,); without classes where images have several labels."""
    retrieval, predictions = evaluation.retrieval, evaluation.queries.predictions
    found = {"worst_queries": [{"query": row, "ap": float(ap[row])} for row in worst_queries(ap)]}
    if retrieval.query_labels.ndim == 1:
        predictions = None if predictions is None else predictions[retrieval.query_rows]
        found["classes"] = score_classes(retrieval.query_labels, predictions, ap)
    return found
