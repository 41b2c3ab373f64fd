"""A cluster of two nodes that the short tests share."""

import importlib.util

import pytest
from cluster_cases import Cluster


@pytest.fixture(scope="session")
def cluster():
    """A head and two nodes. Not to be harmed by tests."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed: make test installs it (requirements-cluster.txt)")
    made = Cluster(nodes=2)
    yield made
    made.stop()
