"""Connecting to a cluster as a client, with a sentence for each way in which that fails."""

import importlib.util
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

from basics.program import EvalError
from nodes.address import Address, check_reachable, token_of

NAMESPACE = "hash-codes"        # of named actors
RESOURCE = "hash_codes"         # what a node started by this project has; actors and tasks ask a little of it
SHARE = 0.0001                  # of it: any number of actors fits a node
TRIES = 3                       # a second each, that Ray asks a head that does not take the token


def environment(address: Address, token: Path) -> dict[str, str]:
    """What Ray reads of the environment when it is imported: of a client, a node or a worker."""
    found = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0",
             "RAY_DEDUP_LOGS": "0", "RAY_NUM_REDIS_GET_RETRIES": str(TRIES), "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    if address.is_loopback:     # otherwise 127.0.0.1 is taken for the machine's address on its network
        found["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    return found


def check_installed():
    """EvalError where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise EvalError("Ray is not installed: .venv/bin/pip install -r requirements-cluster.txt, or call by make")


def connect(address: Address, token: Path | None = None):
    """The module `ray`, connected to the cluster. EvalError for no cluster, another token, version or Python."""
    check_reachable(address)
    token = token_of(address, token)
    os.environ.update(environment(address, token))
    check_installed()
    import ray  # reads the environment, and one machine does without it

    if ray.is_initialized() and ray.get_runtime_context().gcs_address == str(address):
        return ray      # one connection a process
    said = ""
    with _stderr_kept() as kept:
        try:
            ray.init(address=str(address), namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR",
                     configure_logging=True)
            return ray
        except (ConnectionError, RuntimeError, ValueError) as error:
            said = str(error)
        finally:
            kept.seek(0)
            noise = kept.read()
    raise EvalError(_told(address, token, said, noise))


def _told(address, token, said, noise):
    if "auth" in noise.lower() or "auth" in said.lower():
        return f"{token} is not the token of the cluster at {address}: copy the one that its head keeps (TOKEN=)"
    if "Version mismatch" in said:
        return f"the cluster at {address} has other versions: {' '.join(said.split())} Install the same on all machines"
    if "node" in said.lower() and "match" in said.lower():
        return f"this machine is no node of the cluster at {address}: make cluster-node CLUSTER={address} first"
    return f"the cluster at {address} cannot be used: {' '.join(said.split()) or 'no reason was given'}"


@contextmanager
def _stderr_kept():
    """stderr goes into a file within: what Ray's own code in C++ writes there is told in a sentence, or is noise."""
    with tempfile.TemporaryFile("w+", errors="replace") as kept:
        before = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield kept
        finally:
            os.dup2(before, 2)
            os.close(before)
