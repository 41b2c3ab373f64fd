"""Connects to a Ray cluster of this project; eval/README.md, A cluster, tells what that takes."""
import importlib.util
import ipaddress
import os
import socket
from types import ModuleType

from on_cluster.options import Cluster
from process.errors import DriverError

NODE = "hash_codes"  # resource of a node, none of the head
REACH_S = 2.0


def is_reachable(cluster: Cluster) -> bool:
    """Whether something listens at the head's address."""
    try:
        socket.create_connection((cluster.host, cluster.port), REACH_S).close()
    except OSError:
        return False
    return True


def connect(cluster: Cluster) -> ModuleType:
    """The module ray, connected. DriverError without a cluster, with another token or other versions, without nodes."""
    if not is_reachable(cluster):  # Ray itself would try for minutes
        raise DriverError(f"there is no cluster at {cluster} (CLUSTER=): make cluster-head starts one and prints its "
                          "address")
    if importlib.util.find_spec("ray") is None:
        raise DriverError("Ray is not installed: .venv/bin/pip install -r requirements-cluster.txt, or call by make")
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(cluster.token), RAY_NUM_REDIS_GET_RETRIES="3",
                      RAY_USAGE_STATS_ENABLED="0")
    if ipaddress.ip_address(cluster.host).is_loopback:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    import ray  # it reads the environment once
    try:
        ray.init(address=str(cluster), namespace="hash-codes", log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        why = " ".join(str(error).split()) or "no reason was given"
        raise DriverError(f"the cluster at {cluster} cannot be used: is {cluster.token} its token, and this machine "
                          f"its head or a node? (Ray: {why})") from None
    if not nodes(ray):
        raise DriverError(f"the cluster at {cluster} has no nodes: make cluster-node CLUSTER={cluster}")
    return ray


def nodes(ray: ModuleType) -> int:
    """Living nodes of the cluster, its head not among them."""
    return sum(node["Alive"] and NODE in node["Resources"] for node in ray.nodes())
