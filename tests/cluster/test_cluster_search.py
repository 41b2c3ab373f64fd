"""Search on a cluster of two nodes beside the one machine, and a killed actor. The long trial: make test-cluster."""

import json
import os
import pickle
import signal

import numpy as np
import pytest
from shard_cases import one_machine, same, tied_split

import cluster as cluster_program
from basics.program import EvalError
from engines.cluster_engine import FEW, GIVE_UP_S, MOST_SETTLED, ClusterEngine
from engines.shards import cut
from nodes.address import parse_address

IMAGES, QUERIES = 3000, 20


@pytest.fixture(scope="module")
def searched(cluster, tmp_path_factory):
    """(engine, the one machine, query codes, query fc7) of a database with many ties in three shards, two copies."""
    folder = tmp_path_factory.mktemp("searched")
    split = tied_split(folder, IMAGES)
    cut(split, folder / "shards", 3)
    engine = ClusterEngine(parse_address(cluster.address), folder / "shards", split)
    yield engine, one_machine(split), split.packed()[:QUERIES], split.fc7[:QUERIES]
    engine.ray.shutdown()


@pytest.mark.parametrize("top_k", [1, 100, IMAGES])
def test_codes_are_ranked_as_on_one_machine(searched, top_k):
    engine, machine, codes, _ = searched
    for found, wanted in zip(engine.search(codes, top_k), machine.search(codes, top_k)):
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize("radius", [0, 2, 4, 13])
@pytest.mark.parametrize("top_k", [1, 100, IMAGES])
def test_two_stages_are_those_of_one_machine(searched, top_k, radius):
    engine, machine, codes, fc7 = searched
    same(engine.two_stage(codes, fc7, top_k, radius), machine.two_stage(codes, fc7, top_k, radius))


def test_exhaustive_search_is_that_of_one_machine(searched):
    engine, machine, _, fc7 = searched
    same(engine.exhaustive(fc7, 50), machine.exhaustive(fc7, 50))


@pytest.mark.parametrize("radius", [None, 3])
def test_one_query_is_answered_as_on_one_machine(searched, radius):
    engine, machine, codes, fc7 = searched
    found, wanted = (one.lists(codes[:1], fc7[:1], 10, radius) for one in (engine, machine))
    same(found.fine, wanted.fine)
    assert found.radius == wanted.radius
    assert np.array_equal(found.hamming, wanted.hamming)
    assert all(map(np.array_equal, found.nearest, wanted.nearest))


def test_many_pairs_of_one_query_are_a_short_question(searched, monkeypatch):
    """So that an actor that is silent is left after half a second, as in the question before it."""
    engine, _, codes, fc7 = searched
    asked, answers = [], engine._answers

    def watched(requests, limit):
        told = [pickle.loads(question) for question in requests.values()]
        exact = [request.exact for _, request in told if request.exact is not None]
        asked.append((sum(len(rows) for _, rows in exact), limit))
        return answers(requests, limit)
    monkeypatch.setattr(engine, "_answers", watched)
    engine.lists(codes[:1], fc7[:1], MOST_SETTLED + 1, 13)
    assert max(pairs for pairs, _ in asked) > FEW, asked
    assert {limit for _, limit in asked} == {GIVE_UP_S}


@pytest.mark.parametrize("queries", [1, 7])
@pytest.mark.parametrize("radius", [0, 3, 13])
def test_short_lists_take_one_question(searched, monkeypatch, queries, radius):
    engine, machine, codes, fc7 = searched
    asked, answers = [], engine._answers
    monkeypatch.setattr(engine, "_answers", lambda *question: (asked.append(1), answers(*question))[1])
    found, wanted = (one.lists(codes[:queries], fc7[:queries], 100, radius) for one in (engine, machine))
    same(found.fine, wanted.fine)
    assert len(asked) == 1


@pytest.mark.parametrize("top_k", [0, IMAGES + 1])
def test_a_length_that_cannot_be_is_refused(searched, top_k):
    engine, _, codes, _ = searched
    with pytest.raises(EvalError, match="choose 1 to 3000"):
        engine.search(codes, top_k)


def test_an_actor_is_killed_and_every_answer_is_right(searched):
    engine, machine, codes, fc7 = searched
    wanted = machine.lists(codes[:1], fc7[:1], 10, 3)
    handle = next(iter(engine.copies.handles.values()))
    os.kill(engine.ray.get(handle.describe.remote(), timeout=60)["pid"], signal.SIGKILL)
    for _ in range(20):
        same(engine.lists(codes[:1], fc7[:1], 10, 3).fine, wanted.fine)


def test_more_copies_than_nodes_are_refused(searched, cluster):
    engine = searched[0]
    with pytest.raises(EvalError, match="3 copies of each shard need 3 nodes, the cluster at .* has 2"):
        ClusterEngine(parse_address(cluster.address), engine.copies.directory, copies=3)


def test_shards_of_another_run_are_refused(searched, cluster, tmp_path):
    with pytest.raises(EvalError, match="another run"):
        ClusterEngine(parse_address(cluster.address), searched[0].copies.directory, tied_split(tmp_path, 3000, seed=9))


def test_a_damaged_shard_is_named_and_mended(searched, cluster, tmp_path):
    """A database of its own, whose second shard cannot be loaded by any copy until the file is right again."""
    cut(tied_split(tmp_path, 60, seed=3), tmp_path / "shards", 2)
    path = tmp_path / "shards/shard-001/fc7.npy"
    right = path.read_bytes()
    path.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    with pytest.raises(EvalError, match=r"shard 1 \(rows 30 to 60\) cannot be used: node .* is damaged"):
        ClusterEngine(parse_address(cluster.address), tmp_path / "shards")
    path.write_bytes(right)
    assert ClusterEngine(parse_address(cluster.address), tmp_path / "shards").count == 60


def test_the_manifest_names_what_is_missing(tmp_path):
    with pytest.raises(EvalError, match="make shards"):
        ClusterEngine(parse_address("127.0.0.1:1"), tmp_path)


def test_rebalance_needs_shards():
    with pytest.raises(EvalError, match="--shards names the shards"):
        cluster_program.rebalance(cluster_program.parse_arguments(["rebalance"]))


def test_a_manifest_of_another_version_is_refused(tmp_path):
    cut(tied_split(tmp_path, 60), tmp_path / "shards", 2)
    path = tmp_path / "shards/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
    with pytest.raises(EvalError, match="make shards"):
        ClusterEngine(parse_address("127.0.0.1:1"), tmp_path / "shards")
