"""The process of a node that holds one shard. Imported by nodes, and by clients once they are connected."""

import hashlib
import os
import pickle
from functools import cache
from pathlib import Path

import ray

from basics.program import EvalError
from basics.rows import default_threads
from engines.asking import Queries, Reply, Request, reply_of, warm
from engines.shards import Shard, load_shard, read_manifest

AT_ONCE = 2     # requests that a shard works on; others wait


@cache
def code_digest() -> str:
    """SHA-256 of what decides an answer: clients and nodes of another checkout would differ silently."""
    digest = hashlib.sha256()
    for room in ("basics", "search", "engines"):
        for path in sorted((Path(__file__).resolve().parents[1] / room).glob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


class ShardActor:
    """A shard in memory. It is loaded when it is first needed, so that a damaged file is told in a sentence."""

    def __init__(self, directory: str, name: str, number: int):
        self.name, self.number = name, number
        self.directory = Path(os.environ.get("HASH_CODES_SHARDS", directory))
        self.threads = int(os.environ.get("HASH_CODES_THREADS", default_threads()))
        self.shard: Shard | None = None

    def _loaded(self) -> Shard:
        if self.shard is None:
            try:
                manifest = read_manifest(self.directory)
                if manifest.name != self.name:
                    raise EvalError(f"{self.directory} holds other shards ({manifest.name}) than are asked "
                                    f"({self.name}): copy them to this node again")
                shard = load_shard(self.directory, manifest, self.number)
                warm(shard)
                self.shard = shard
            except (EvalError, OSError) as error:
                raise EvalError(f"node {ray.util.get_node_ip_address()} cannot load shard {self.number}: {error}") \
                    from None
        return self.shard

    def describe(self) -> dict:
        """Where it is and what it holds; loads it."""
        shard = self._loaded()
        return {"node": ray.get_runtime_context().get_node_id(), "address": ray.util.get_node_ip_address(),
                "pid": os.getpid(), "code": code_digest(), "start": shard.start, "stop": shard.stop,
                "levels": shard.code_index.levels, "units": shard.fc7_index and shard.fc7_index.fc7.shape[1]}

    def reply(self, queries: Queries, request: Request) -> Reply:
        return reply_of(self._loaded(), queries, request)

    def reply_packed(self, question: bytes) -> bytes:
        """`reply` of a short question, pickled once for all shards: Ray takes bytes as they are."""
        return pickle.dumps(self.reply(*pickle.loads(question)), pickle.HIGHEST_PROTOCOL)

    @ray.method(concurrency_group="watch")
    def ping(self) -> int:
        """A sign of life, from a thread of its own."""
        return self.number
