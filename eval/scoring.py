"""From ranked lists and codes to the contents of results.json. Nothing is searched by fc7 here."""

from dataclasses import replace

import numpy as np

from coarse_search import CodeIndex
from distance_counts import count_distances, tie_aware_average_precision
from measures import score_ranking
from protocols import PROTOCOLS, mean_ap, ranking_ap
from trial import make_trial

WORST = 8
RADIUS_WITHIN = 2


def score_trial(trial, rankings, protocol, threads=None):
    """(results, details): results is JSON; details has per-query AP of each search and the DistanceCounts.

    `map`, `precision_at_k` and `top_k` are those of the codes (bcs), by the protocol named in `protocol`. Lists that
    are shorter than K (a protocol that ranks everything) give precision@k for their length, and `map_k` says for
    which K the mAP of a search with fc7 is; that of the codes is then ranked anew over all.
    """
    index = CodeIndex(trial.db_codes)
    top_k = min(protocol.top_k or index.count, index.count)
    counts = count_distances(index, trial.query_codes, trial.query_labels, trial.db_labels, trial.bits, threads)
    searches, details = {}, {"counts": counts, "ap": {}}
    for name, ranking in rankings.items():
        scores = score_ranking(ranking.ids, trial.query_labels, trial.db_labels, threads)
        details["ap"][name] = scores["ap"]
        searches[name] = {"map": mean_ap(scores["ap"], protocol.zero_hit), "map_k": ranking.ids.shape[1],
                          "ap_divisor": "hits", "precision_at_k": scores["precision_at_k"].tolist(), "seconds": ranking.meta["seconds"]}
        if ranking.pool is not None:
            searches[name] |= pool_summary(ranking)
        if name == "es-pretrained":
            searches[name]["blob"] = ranking.meta.get("blob", "fc7")  # lists saved before there was a choice do not tell
    if "bcs" in searches:
        if protocol.divisor == "all" or top_k > searches["bcs"]["map_k"]:
            details["ap"]["bcs"] = ranking_ap(index, trial.query_codes, trial.query_labels, trial.db_labels, top_k,
                                              protocol.divisor, threads)
            searches["bcs"] |= {"map": mean_ap(details["ap"]["bcs"], protocol.zero_hit), "map_k": top_k,
                                "ap_divisor": protocol.divisor}
    results = {"protocol": protocol.name, "top_k": top_k, "bits": trial.bits, "queries": len(trial.query_codes),
               "database": index.count, "ap_divisor": protocol.divisor, "zero_hit": protocol.zero_hit}
    if "bcs" in searches:
        results |= {"map": searches["bcs"]["map"], "precision_at_k": searches["bcs"]["precision_at_k"]}
    if "hdl" in searches:
        results["two_stage"] = searches["hdl"]
    results |= {"searches": searches, **ball_measures(counts), "codes": code_statistics(trial, counts)}
    if protocol.divisor == "hits":
        results["map_tie_aware"] = float(tie_aware_average_precision(counts, top_k).mean())
    return results, details


def pool_summary(ranking):
    """radius, pool sizes, and how many lists had to be filled."""
    pool = ranking.pool
    return {"radius": ranking.meta["radius"], "radius_mean": ranking.meta["radius_mean"],
            "pool_mean": float(pool.mean()), "pool_median": float(np.median(pool)),
            "pool_empty": int(np.count_nonzero(pool == 0)), "filled": int(np.count_nonzero(pool < ranking.ids.shape[1]))}


def ball_measures(counts):
    """Measures of Hamming balls."""
    recall, precision = counts.recall_precision()
    return {"precision_within_radius": {"radius": RADIUS_WITHIN, "precision": counts.precision_within(RADIUS_WITHIN)},
            "recall_precision": {"recall": recall.tolist(), "precision": precision.tolist()}}


def code_statistics(trial, counts):
    """Whether the bits are used: balance and entropy of each, distinct codes, distances within and between classes."""
    bits = unpack(trial.db_codes, trial.bits)
    ones = bits.mean(axis=0)
    share = np.clip([ones, 1 - ones], 1e-300, 1)
    within, between = counts.histograms()
    return {"ones": ones.tolist(), "entropy": float(-(share * np.log2(share)).sum()),
            "constant_bits": int(np.count_nonzero((ones == 0) | (ones == 1))),
            "distinct": len(np.unique(trial.db_codes, axis=0)), "within": within.tolist(), "between": between.tolist()}


def unpack(packed, bits):
    """(N, bits) 0/1 of packed codes (codes.pack)."""
    return np.unpackbits(np.ascontiguousarray(packed).view(np.uint8), axis=1)[:, :bits]


def score_classes(labels, predictions, ap):
    """Per-class AP by codes, and accuracy and confusion where there are predictions (rows: truth)."""
    classes = np.unique(labels)
    table = {"classes": classes.tolist(), "map": [float(ap[labels == c].mean()) for c in classes]}
    if predictions is not None:
        names = np.union1d(classes, np.unique(predictions))
        confusion = np.zeros((len(names), len(names)), int)
        np.add.at(confusion, (np.searchsorted(names, labels), np.searchsorted(names, predictions)), 1)
        table |= {"confusion_classes": names.tolist(), "confusion": confusion.tolist()}
    return table


def worst_queries(ap):
    """Rows of the queries with the lowest AP, worst first, ties in query order."""
    return np.argsort(ap, kind="stable")[:WORST].tolist()


def score_protocols(queries, database, threads=None):
    """mAP by codes under every named protocol: [{protocol, description, map, map_left_out, top_k, ...}]."""
    table = []
    queries, database = replace(queries, fc7=None), replace(database, fc7=None)  # not needed, and large to copy
    for protocol in PROTOCOLS.values():
        trial = make_trial(queries, database, protocol)
        index = CodeIndex(trial.db_codes)
        top_k = min(protocol.top_k or index.count, index.count)
        ap = ranking_ap(index, trial.query_codes, trial.query_labels, trial.db_labels, top_k, protocol.divisor, threads)
        table.append({"protocol": protocol.name, "description": protocol.description, "top_k": top_k,
                      "queries": len(ap), "database": index.count, "ap_divisor": protocol.divisor,
                      "map": mean_ap(ap), "map_zero_hits_left_out": mean_ap(ap, "left-out")})
    return table
