"""A server under load, beside the bare search of the same database."""

import http.client
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from basics.program import EvalError
from basics.rows import block_slices
from benchmarks.made_up import synthetic
from search.answers import AskedDatabase
from search.feature_set import Split, load_split

PROGRAM = Path(__file__).resolve().parents[1] / "serve.py"
TOP_K = 10
POOL = 450              # images that T is to leave, as in benchmarks/large.py
START_S = 1800          # norms of a million rows of fc7 are computed once
VARIED = 20_000         # rows that a database is made of, varied again and again


@dataclass(frozen=True)
class Load:
    """What one measurement found. seconds: of each request; refused: those told to wait; wall: of all together."""

    clients: int
    seconds: list[float]
    refused: int
    wall: float

    def told(self) -> dict:
        p50, p99 = (1000 * float(np.quantile(self.seconds, q)) for q in (0.5, 0.99))
        return {"clients": self.clients, "requests": len(self.seconds), "refused": self.refused,
                "per_second": len(self.seconds) / self.wall, "p50_ms": p50, "p99_ms": p99}


def write_features(folder: Path, count: int, bits: int, units: int):
    """A made-up database of `count` images as a run's features/train, fc7 in a file."""
    train = folder / "features/train"
    train.mkdir(parents=True)
    rng = np.random.default_rng(0)
    base, _ = synthetic(min(count, VARIED), 1, bits, units)
    fc7 = np.lib.format.open_memmap(train / "fc7.npy", "w+", np.float32, (count, units))
    codes, labels = np.empty((count, bits), bool), np.empty(count, np.int64)
    for rows in block_slices(count, len(base.codes)):
        size = rows.stop - rows.start
        fc7[rows] = base.fc7[:size] + rng.random((size, 1), np.float32)
        codes[rows] = base.codes[:size] ^ (rng.random((size, bits)) < 0.05)
        labels[rows] = base.labels[:size]
    fc7.flush()
    np.save(train / "codes.npy", codes)
    np.save(train / "labels.npy", labels)
    (train / "meta.json").write_text(json.dumps({"bits": bits}))


class Server:
    """serve.py on made-up features, until the block ends. net: the command of the net's process, or ()."""

    def __init__(self, features: Path, net: Sequence[str] = ()):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.net = list(net)
        command = [sys.executable, str(PROGRAM), "--features", str(features), "--port", str(self.port)]
        self.process = subprocess.Popen(command + (["--net", *self.net] if self.net else []), stdout=subprocess.DEVNULL)

    def __enter__(self) -> "Server":
        ends = time.monotonic() + START_S
        while time.monotonic() < ends and self.process.poll() is None:
            try:
                told = self.ask(self.connection(), "GET", "/api/health")[1]
                if told["net"] in ("ready", "failed", "none"):
                    return self
            except OSError:
                pass
            time.sleep(0.2)
        raise EvalError("the server did not start; its words stand above")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def processor_seconds(self) -> float:
        """That the server has used so far, without its net's process."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    @staticmethod
    def ask(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None):
        """(status, answer) of one request."""
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def load(self, clients: int, requests: Sequence[tuple[str, bytes]]) -> Load:
        """Every client asks its share of (path, body), one after the other, on a connection that it keeps."""
        seconds, refused, lock = [], [0], threading.Lock()

        def client(share):
            connection = self.connection()
            for path, body in share:
                started = time.perf_counter()
                status, told = self.ask(connection, "POST", path, body)
                spent = time.perf_counter() - started
                with lock:
                    if status == 200:
                        seconds.append(spent)
                    elif status == 503:
                        refused[0] += 1
                    else:
                        raise EvalError(f"{path} was answered with {status}: {told}")
            connection.close()

        threads = [threading.Thread(target=client, args=(requests[i::clients],)) for i in range(clients)]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return Load(clients, seconds, refused[0], time.perf_counter() - started)


def radius_for(asked: AskedDatabase, split: Split, rows: np.ndarray) -> int:
    """The smallest T that leaves POOL images in the median query's pool."""
    nearest = asked.engine.search(split_codes(split, rows), min(POOL, len(split)))[1]
    return int(np.median(nearest[:, -1])) + 1


def split_codes(split: Split, rows: np.ndarray) -> np.ndarray:
    return split.packed()[rows]


def beside_bare(server: Server, split: Split, asked: AskedDatabase, rows: np.ndarray, radius: int,
                words: str) -> tuple[dict[str, list[float]], dict[str, float]]:
    """({"bare", "served": seconds}, the same of processor time, per query) of queries by row, asked in turn.

    words: further parameters of the request.
    """
    codes, seconds, connection = split_codes(split, rows), {"bare": [], "served": []}, server.connection()
    bare_processor, served_processor = 0.0, server.processor_seconds()
    for place, row in enumerate(rows):
        started, processor = time.perf_counter(), time.process_time()
        found = asked.lists(codes[place:place + 1], np.asarray(split.fc7[row:row + 1]), TOP_K, radius, threads=1)
        seconds["bare"].append(time.perf_counter() - started)
        bare_processor += time.process_time() - processor
        started = time.perf_counter()
        status, told = server.ask(connection, "POST", f"/api/search?of=train/{row}&k={TOP_K}&T={radius}{words}", b"")
        seconds["served"].append(time.perf_counter() - started)
        listed = [result["row"] for result in told["searches"]["hdl"]["results"]] if status == 200 else None
        if listed != found.fine.ids[0].tolist():
            raise EvalError(f"row {row}: the server answers {listed}, the bare search {found.fine.ids[0].tolist()}")
    used = {"bare": bare_processor, "served": server.processor_seconds() - served_processor}
    return seconds, {side: spent / len(rows) for side, spent in used.items()}


def asked_database(features: Path) -> tuple[Split, AskedDatabase]:
    split = load_split(features / "train")
    asked = AskedDatabase(split)
    assert asked.fc7_index is not None
    return split, asked


def images_of(thumbs: Path, count: int) -> list[bytes]:
    """PNG files of a run's small pictures."""
    return [png(pixels) for pixels in np.load(thumbs, mmap_mode="r")[:count]]


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(buffer, format="PNG")
    return buffer.getvalue()
