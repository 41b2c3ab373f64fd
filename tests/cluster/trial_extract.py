"""Kills in the middle of an extraction on a cluster: nothing is lost, nothing is there twice.

Too slow for make test: make test-cluster runs it.
"""
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from cluster_cases import Cluster
from extraction_on_cluster import at_work, extract_on, kill_worker, outcome

from caffe_cases import TEST_IMAGES
from extraction_cases import assert_equal, extract

PARTS = 7


@pytest.fixture
def two_nodes():
    """A cluster of its own, with two nodes: (cluster, first processes of its nodes)."""
    made = Cluster()
    try:
        yield made, [made.add_node(), made.add_node()]
    finally:
        made.stop()


def wait_for_one(process, but=()):
    """{process: parent} of a part that is at work now, none of those."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        found = [(part, parent) for part, parent in at_work().items() if part not in but]
        if found:
            return found[0]
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("no part was begun within two minutes")


def test_killed_parts_workers_and_a_node_lose_nothing(trained, call, two_nodes):
    cluster, nodes = two_nodes
    process, killed = extract_on(cluster.address, parts=PARTS), []
    for number in range(3):
        part, parent = wait_for_one(process, killed)
        killed.append(part)
        if number == 1:
            os.kill(part, signal.SIGKILL)  # the program itself, Ray's worker lives
        else:
            kill_worker(part, parent)
    wait_for_one(process, killed)
    cluster.kill(nodes[0])
    status, said = outcome(process)
    assert status == 0, said
    assert f"{TEST_IMAGES} rows joined from {PARTS} parts" in said
    assert os.listdir("features") == ["test"]
    assert extract(call, out="features/whole")[0] == 0
    assert_equal("features/test", "features/whole")
    assert not at_work()


def test_the_driver_is_killed_and_goes_on_from_the_parts_that_are_there(trained, call, two_nodes):
    cluster, _ = two_nodes
    process, folder = extract_on(cluster.address, parts=PARTS), Path("features/test.parts")
    while len(list(folder.glob("part-*-of-?????"))) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    before = {path.name: path.stat().st_ino for path in folder.glob("part-*-of-?????")}
    status, said = outcome(extract_on(cluster.address, parts=PARTS))
    assert status == 0, said
    assert len(before) >= 2
    assert extract(call, out="features/whole")[0] == 0
    assert_equal("features/test", "features/whole")
    assert json.loads(Path("features/test/meta.json").read_text())["count"] == TEST_IMAGES


def test_a_lost_cluster_ends_in_a_sentence_and_loses_no_part(trained, two_nodes):
    """Head and nodes: with the head alone gone, the workers that are there go on, and may make all parts."""
    cluster, nodes = two_nodes
    process, folder = extract_on(cluster.address, parts=PARTS), Path("features/test.parts")
    while not list(folder.glob("part-*-of-?????")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    lost = time.monotonic()
    for first in (int(re.search(r"process (\d+)", cluster.said)[1]), *nodes):
        cluster.kill(first)
    status, said = outcome(process)
    assert status == 1
    assert "has had no head or no node for 20 s: start it again. The same command goes on" in said
    assert time.monotonic() - lost < 90
    assert list(folder.glob("part-*-of-?????"))


def test_a_cluster_without_nodes_is_given_up(trained, two_nodes):
    cluster, nodes = two_nodes
    for node in nodes:
        cluster.kill(node)
    time.sleep(10)
    status, said = outcome(extract_on(cluster.address))
    assert status == 1
    assert f"the cluster at {cluster.address} has no nodes: make cluster-node CLUSTER={cluster.address}" in said
