"""Databases with many ties, cut into shards, and the one machine's answers to compare with."""

import numpy as np

from engines.asking import Queries, Request, reply_of
from engines.merging import covering, merge_fine, merge_nearest
from engines.shards import cut, load_shard
from search.coarse import CodeIndex
from search.engine import ThisMachine
from search.feature_set import Split
from search.fine import Fc7Index, FineResult, fill


def tied_split(folder, count, bits=12, units=24, seed=0, kind="whole", dtype=np.float32) -> Split:
    """`count` images whose codes, and fc7 of kind "whole" or "near", are equal or nearly so by the dozen."""
    rng = np.random.default_rng(seed)
    fc7 = rng.integers(0, 2, (count, units)).astype(dtype)
    if kind == "near":      # differences far below the rounding error of a float32 product
        fc7 = (30 + 1e-4 * rng.random((count, units))).astype(dtype)
    elif kind == "spread":
        fc7 = np.maximum(rng.normal(size=(count, units)), 0).astype(dtype)
    return Split(folder, labels=rng.integers(0, 5, count), ready_codes=rng.random((count, bits)) < 0.3, fc7=fc7,
                 meta={"bits": bits})


def one_machine(split: Split) -> ThisMachine:
    index = Fc7Index(split.fc7)
    return ThisMachine(CodeIndex(split.packed()), lambda: index)


def in_shards(split: Split, folder, shards: int):
    """(manifest, the shards loaded)."""
    manifest, _ = cut(split, folder, shards)
    return manifest, [load_shard(folder, manifest, number) for number in range(shards)]


def two_stage(manifest, shards, queries: Queries, top_k: int, radius) -> FineResult:
    """The two-stage answer of shards in this process, merged as the cluster's are."""
    wanted = Request(nearest=top_k, fine=top_k, radius=radius)
    replies = covering([reply_of(shard, queries, wanted) for shard in shards], manifest.name, manifest.count)

    def exact(places, rows):
        squared = np.full(len(rows), np.nan)
        for shard in shards:
            mine = np.flatnonzero((rows >= shard.start) & (rows < shard.stop))
            asked = Request(exact=(places[mine], rows[mine]))
            squared[mine] = reply_of(shard, queries, asked).exact
        return squared

    result = FineResult(*merge_fine(replies, top_k, exact), np.zeros(len(queries.codes)))
    fill(result, merge_nearest(replies, top_k, shards[0].code_index.levels)[0])
    return result


def same(found: FineResult, wanted: FineResult):
    assert np.array_equal(found.ids, wanted.ids)
    assert np.array_equal(found.pool, wanted.pool)
    np.testing.assert_allclose(found.euclidean, wanted.euclidean, rtol=1e-3, atol=1e-4)   # NaN where NaN is
