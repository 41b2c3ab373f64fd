"""Shards cut, loaded and merged in this process, beside the one machine: the same ids on tied data. No Ray."""

import dataclasses
import json

import numpy as np
import pytest
from shard_cases import in_shards, one_machine, same, tied_split, two_stage

from basics.program import EvalError
from engines import asking
from engines.asking import Queries, Request, reply_of
from engines.merging import ShortAnswer, covering, merge_nearest
from engines.shards import check_origin, cut, load_shard, read_manifest

QUERIES = 20


@pytest.mark.parametrize("kind", ["whole", "near", "spread"])
@pytest.mark.parametrize("radius", [0, 2, 4, 13])
@pytest.mark.parametrize("top_k", [1, 40, 700])
def test_two_stages_of_shards_equal_the_one_machine(tmp_path, kind, radius, top_k):
    split = tied_split(tmp_path, 700, kind=kind)
    manifest, shards = in_shards(split, tmp_path / "shards", 3)
    queries = Queries(split.packed()[:QUERIES], split.fc7[:QUERIES])
    wanted = one_machine(split).two_stage(queries.codes, queries.fc7, top_k, radius)
    same(two_stage(manifest, shards, queries, top_k, radius), wanted)


def test_the_decision_by_float64_is_needed(tmp_path):
    """Of rows that float32 cannot tell apart, a merge by what the shards say alone would be another order."""
    split = tied_split(tmp_path, 700, kind="near")
    manifest, shards = in_shards(split, tmp_path / "shards", 3)
    queries = Queries(split.packed()[:QUERIES], split.fc7[:QUERIES] + np.float32(0.01))
    parts = [reply_of(shard, queries, Request(fine=40, radius=13)).fine for shard in shards]
    ids, euclidean = (np.concatenate([part[place] for part in parts], axis=1) for place in (0, 1))
    wrong = np.take_along_axis(ids, np.argsort(euclidean, axis=1, kind="stable"), 1)[:, :40]
    right = one_machine(split).two_stage(queries.codes, queries.fc7, 40, 13)
    same(two_stage(manifest, shards, queries, 40, 13), right)
    assert not np.array_equal(wrong, right.ids)


@pytest.mark.parametrize("top_k", [1, 300, 3000])
def test_codes_of_shards_equal_the_one_machine(tmp_path, top_k):
    split = tied_split(tmp_path, 3000)
    manifest, shards = in_shards(split, tmp_path / "shards", 7)
    queries = Queries(split.packed()[:QUERIES])
    replies = covering([reply_of(shard, queries, Request(nearest=top_k)) for shard in shards], manifest.name, 3000)
    found = merge_nearest(replies, top_k, shards[0].code_index.levels)
    wanted = one_machine(split).search(queries.codes, top_k)
    assert np.array_equal(found[0], wanted[0])
    assert np.array_equal(found[1], wanted[1])


def replies_of(tmp_path):
    split = tied_split(tmp_path, 90)
    manifest, shards = in_shards(split, tmp_path / "shards", 3)
    queries = Queries(split.packed()[:2])
    return manifest, [reply_of(shard, queries, Request(nearest=5, distances=True)) for shard in shards]


@pytest.mark.parametrize("kept", [(0, 1), (1, 2), (0, 2), (0, 0, 1, 2), ()])
def test_an_answer_that_does_not_cover_the_database_is_an_error(tmp_path, kept):
    manifest, replies = replies_of(tmp_path)
    with pytest.raises(ShortAnswer):
        covering([replies[place] for place in kept], manifest.name, 90)


def test_a_reply_of_other_shards_is_an_error(tmp_path):
    manifest, replies = replies_of(tmp_path)
    replies[1] = dataclasses.replace(replies[1], manifest="other")
    with pytest.raises(ShortAnswer, match="other shards"):
        covering(replies, manifest.name, 90)


def test_a_reply_that_lists_rows_of_others_is_an_error(tmp_path):
    manifest, replies = replies_of(tmp_path)
    ids, distances = replies[1].nearest
    replies[1] = dataclasses.replace(replies[1], nearest=(ids + 30, distances))
    with pytest.raises(ShortAnswer, match="lists rows"):
        covering(replies, manifest.name, 90)


def test_shards_are_kept_until_the_features_change(tmp_path):
    split = tied_split(tmp_path, 50)
    assert cut(split, tmp_path / "shards", 2)[1]
    assert not cut(split, tmp_path / "shards", 2)[1]
    assert cut(split, tmp_path / "shards", 3)[1]
    assert cut(tied_split(tmp_path, 50, seed=1), tmp_path / "shards", 3)[1]


def test_shards_of_another_run_are_refused(tmp_path):
    manifest, _ = cut(tied_split(tmp_path, 50), tmp_path / "shards", 2)
    with pytest.raises(EvalError, match="another run"):
        check_origin(tmp_path / "shards", manifest, tied_split(tmp_path, 50, seed=1))


@pytest.mark.parametrize("count", [0, 51])
def test_a_number_of_shards_that_cannot_be_is_refused(tmp_path, count):
    with pytest.raises(EvalError, match=f"SHARDS={count}: give 1 to 50"):
        cut(tied_split(tmp_path, 50), tmp_path / "shards", count)


@pytest.mark.parametrize("start, stop", [(24, 50), (26, 50), (25, 49), (25, 51)])
def test_ranges_that_overlap_or_leave_gaps_are_refused(tmp_path, start, stop):
    cut(tied_split(tmp_path, 50), tmp_path / "shards", 2)
    path = tmp_path / "shards/manifest.json"
    contents = json.loads(path.read_text())
    contents["shards"][1] |= {"start": start, "stop": stop}
    path.write_text(json.dumps(contents))
    with pytest.raises(EvalError, match="shard"):
        read_manifest(tmp_path / "shards")


@pytest.mark.parametrize("name", ["codes.npy", "fc7.npy", "norms.npy"])
@pytest.mark.parametrize("damage", ["missing", "short", "changed"])
def test_a_damaged_shard_is_named(tmp_path, name, damage):
    manifest, _ = cut(tied_split(tmp_path, 50), tmp_path / "shards", 2)
    path = tmp_path / "shards/shard-001" / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink() if damage == "missing" else path.write_bytes(data[:-1] if damage == "short" else data)
    with pytest.raises(EvalError, match=f"shard-001/{name} (is missing|has|is damaged)"):
        load_shard(tmp_path / "shards", manifest, 1)


def test_fc7_can_be_kept_as_float16(tmp_path):
    split = tied_split(tmp_path, 50)
    manifest, _ = cut(split, tmp_path / "shards", 2, "float16")
    assert manifest.fc7 == {"units": 24, "dtype": "float16"}
    assert load_shard(tmp_path / "shards", manifest, 0).fc7_index.fc7.dtype == np.float16


@pytest.mark.parametrize("kind", ["whole", "spread"])
def test_a_shard_is_warmed_by_a_question_of_every_kind(tmp_path, monkeypatch, kind):
    """Loops that are compiled within somebody's question may take longer than it is given: on a new node a minute."""
    _, shards = in_shards(tied_split(tmp_path, 300, kind=kind), tmp_path / "shards", 2)
    found, reply = [], asking.reply_of
    monkeypatch.setattr(asking, "reply_of", lambda *question: found.append(reply(*question)))
    asking.warm(shards[1])
    assert found[0].fine[2][0] >= asking.WARM
    assert all(part is not None for part in (found[0].nearest, found[0].distances, found[0].squared))
