"""From ranked lists and codes to the contents of results.json. Nothing is searched by fc7 here."""

import numpy as np

from measures.average_precision import mean_ap, score_ranking
from measures.distance_counts import DistanceCounts, tie_aware_average_precision
from measures.whole_ranking import CodeRankings
from search.codes import unpack
from search.feature_set import Split
from search.protocols import PROTOCOLS, Protocol
from search.rankings import Ranking
from search.retrieval import Retrieval

WORST = 8
RADIUS_WITHIN = 2


def score_retrieval(by_codes: CodeRankings, rankings: dict[str, Ranking], protocol: Protocol,
                    threads: int | None = None) -> tuple[dict, dict[str, np.ndarray]]:
    """(results, {search: AP of each query}) of one protocol: results are for results.json.

    `map`, `precision_at_k` and `top_k` are those of the codes (bcs), by the protocol. Lists that are shorter than K (a
    protocol that ranks everything) give precision@k for their length, and `map_k` says for which K the mAP of a search
    with fc7 is; that of the codes is then ranked anew over all.
    """
    retrieval, whole = by_codes.by(protocol)
    database, counts = retrieval.database, whole.counts
    top_k = protocol.depth(len(database))
    searches, ap = {}, {}
    for name, ranking in rankings.items():
        searches[name], ap[name] = score_lists(retrieval, ranking, protocol, threads)
    if "bcs" in searches and (protocol.divisor == "all" or top_k > searches["bcs"]["map_k"]):
        ap["bcs"] = whole.ap(top_k, protocol.divisor)
        searches["bcs"] |= {"map": mean_ap(ap["bcs"], protocol.zero_hit), "map_k": top_k,
                            "ap_divisor": protocol.divisor}
    results = {"protocol": protocol.name, "top_k": top_k, "bits": retrieval.bits, "queries": len(retrieval),
               "database": len(database), "ap_divisor": protocol.divisor, "zero_hit": protocol.zero_hit}
    if "bcs" in searches:
        results |= {"map": searches["bcs"]["map"], "precision_at_k": searches["bcs"]["precision_at_k"]}
    if "hdl" in searches:
        results["two_stage"] = searches["hdl"]
    results |= {"searches": searches, **ball_measures(counts), "codes": code_statistics(retrieval, counts)}
    if protocol.divisor == "hits":
        results["map_tie_aware"] = float(tie_aware_average_precision(counts, top_k, threads).mean())
    return results, ap


def score_lists(retrieval: Retrieval, ranking: Ranking, protocol: Protocol,
                threads: int | None = None) -> tuple[dict, np.ndarray]:
    """(entry of `searches` in results.json, AP of each query) of one search's lists, cut at the protocol's K."""
    ranking = ranking.cut(protocol.depth(len(retrieval.database)))
    scores = score_ranking(ranking.ids, retrieval.query_labels, retrieval.database.labels, threads)
    entry = {"map": mean_ap(scores["ap"], protocol.zero_hit), "map_k": ranking.ids.shape[1], "ap_divisor": "hits",
             "precision_at_k": scores["precision_at_k"].tolist(), "seconds": ranking.meta["seconds"]}
    if ranking.pool is not None:
        entry |= pool_summary(ranking)
    if ranking.meta.get("search") == "es-pretrained":
        entry["blob"] = ranking.meta.get("blob", "fc7")  # lists saved before there was a choice do not tell
    return entry, scores["ap"]


def score_protocols(by_codes: CodeRankings) -> list[dict]:
    """mAP by codes under every named protocol: [{protocol, description, map, map_zero_hits_left_out, top_k, ...}]."""
    table = []
    for protocol in PROTOCOLS.values():
        retrieval, whole = by_codes.by(protocol)
        database = len(retrieval.database)
        top_k = protocol.depth(database)
        ap = whole.ap(top_k, protocol.divisor)
        table.append({"protocol": protocol.name, "description": protocol.description, "top_k": top_k,
                      "queries": len(ap), "database": database, "ap_divisor": protocol.divisor,
                      "map": mean_ap(ap), "map_zero_hits_left_out": mean_ap(ap, "left-out")})
    return table


def accuracy(queries: Split) -> float | None:
    """Share of all test images that the classifier names rightly; None without predictions or with several labels."""
    if queries.predictions is None or queries.labels.ndim > 1:
        return None
    return float(np.mean(queries.predictions == queries.labels))


def pool_summary(ranking: Ranking) -> dict:
    """radius, pool sizes, and how many lists had to be filled."""
    pool = ranking.pool
    return {"radius": ranking.meta["radius"], "radius_mean": ranking.meta["radius_mean"],
            "pool_mean": float(pool.mean()), "pool_median": float(np.median(pool)),
            "pool_empty": int(np.count_nonzero(pool == 0)),
            "filled": int(np.count_nonzero(pool < ranking.ids.shape[1]))}


def ball_measures(counts: DistanceCounts) -> dict:
    """Measures of Hamming balls."""
    recall, precision = counts.recall_precision()
    return {"precision_within_radius": {"radius": RADIUS_WITHIN, "precision": counts.precision_within(RADIUS_WITHIN)},
            "recall_precision": {"recall": recall.tolist(), "precision": precision.tolist()}}


def code_statistics(retrieval: Retrieval, counts: DistanceCounts) -> dict:
    """Whether the bits are used: balance and entropy of each, distinct codes, distances within and between classes."""
    codes = retrieval.database.codes
    bits = unpack(codes, retrieval.bits)
    ones = bits.mean(axis=0)
    share = np.clip([ones, 1 - ones], 1e-300, 1)
    within, between = counts.histograms()
    return {"ones": ones.tolist(), "entropy": float(-(share * np.log2(share)).sum()),
            "constant_bits": int(np.count_nonzero((ones == 0) | (ones == 1))),
            "distinct": len(np.unique(codes, axis=0)), "within": within.tolist(), "between": between.tolist()}


def score_classes(labels: np.ndarray, predictions: np.ndarray | None, ap: np.ndarray) -> dict:
    """Per-class AP by codes, and accuracy and confusion where there are predictions (rows: truth)."""
    classes = np.unique(labels)
    table = {"classes": classes.tolist(), "map": [float(ap[labels == c].mean()) for c in classes]}
    if predictions is not None:
        names = np.union1d(classes, np.unique(predictions))
        confusion = np.zeros((len(names), len(names)), int)
        np.add.at(confusion, (np.searchsorted(names, labels), np.searchsorted(names, predictions)), 1)
        table |= {"confusion_classes": names.tolist(), "confusion": confusion.tolist()}
    return table


def worst_queries(ap: np.ndarray) -> list[int]:
    """Rows of the queries with the lowest AP, worst first, ties in query order."""
    return np.argsort(ap, kind="stable")[:WORST].tolist()
