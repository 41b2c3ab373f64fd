"""The process that holds the net: started, asked in turn, started again when it ends."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.feature_set import SHARED_META, differing_key, identity
from serving.faults import Fault
from serving.framing import BrokenPipe, Frame, frame_bytes, read_frame

ANSWER_S = 60.0         # for one image; CaffeNet on a busy processor takes one
START_S = 180.0
MOST_WAITING = 64
PAUSE_S = 5.0           # between two starts that failed


@dataclass(frozen=True, eq=False)
class Embedded:
    """One image by the net: latent (bits,) and fc7 (units,) float32 or None, a PNG preview, what the process tells."""

    latent: np.ndarray
    fc7: np.ndarray | None
    preview: bytes
    told: dict


class NetProcess:
    """command: the words that start the process; whatever speaks the frames of python/README.md will do.

    wanted: meta.json of the database's features, which the net's own has to agree with. All methods belong to one event
    loop. state: "starting", "ready", "failed" or "stopped"; `error` says why it failed.
    """

    def __init__(self, command: Sequence[str], wanted: dict):
        self.command, self.wanted = list(command), wanted
        self.state, self.error = "stopped", ""
        self.process: asyncio.subprocess.Process | None = None
        self.turn = asyncio.Lock()
        self.waiting = 0
        self.failed_at = float("-inf")

    async def start(self):
        """Begin to load the net, as long as nobody asks; errors are kept for who asks."""
        async with self.turn:
            with contextlib.suppress(Fault):
                await self._ready()

    async def embed(self, image: bytes) -> Embedded:
        """Code and fc7 of an image file. Fault 415 for what is no image, 503 where the net is not there."""
        answer = await self._ask({"op": "embed"}, {"image": image})
        if "error" in answer.header:
            raise Fault(415, sentence(answer.header["error"]))
        parts = answer.parts
        return Embedded(parts["latent"], parts.get("fc7"), parts["preview"], answer.header)

    async def original(self, split: str, row: int) -> bytes:
        """PNG of the image that a row's features were made from. Fault 404 when it is not there."""
        answer = await self._ask({"op": "original", "split": split, "row": row}, {})
        if "error" in answer.header:
            raise Fault(404, sentence(answer.header["error"]))
        return answer.parts["image"]

    async def _ask(self, header: dict, parts: dict) -> Frame:
        """One request in its turn. A process that ends meanwhile is started again and asked once more."""
        if self.waiting >= MOST_WAITING:
            raise Fault(503, f"{self.waiting} images wait for the net already: try again in a moment", retry_after=2)
        self.waiting += 1
        try:
            async with self.turn:
                for _ in range(2):
                    await self._ready()
                    with contextlib.suppress(BrokenPipe, ConnectionError):
                        return await self._exchange(header, parts)
                    await self._end()
        finally:
            self.waiting -= 1
        raise Fault(503, "The net's process ended twice on this request; the server's terminal tells why.")

    async def _exchange(self, header, parts) -> Frame:
        """Cancelled in the middle the process is ended: its answer would be taken for that of the next request."""
        whole = False
        try:
            async with asyncio.timeout(ANSWER_S):
                self.process.stdin.write(frame_bytes(header, parts))
                await self.process.stdin.drain()
                answer = await read_frame(self.process.stdout)
            whole = True
            return answer
        except TimeoutError:
            raise Fault(503, f"The net has not answered within {ANSWER_S:.0f} s; it is started again.") from None
        finally:
            if not whole:
                await asyncio.shield(self._end())

    async def _ready(self):
        """Start the process unless it runs. Fault 503 with the reason when it does not come up."""
        if self.process is not None and self.process.returncode is None:
            return
        if time.monotonic() - self.failed_at < PAUSE_S:
            raise Fault(503, self.error, retry_after=5)
        self.state = "starting"
        try:
            await self._spawn()
        except (BrokenPipe, ConnectionError, OSError, TimeoutError) as error:
            await self._fail(f"The net's process did not start ({error}); its terminal tells why.")
        self.state, self.error = "ready", ""

    async def _spawn(self):
        self.process = await asyncio.create_subprocess_exec(
            *self.command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True)
        async with asyncio.timeout(START_S):
            first = (await read_frame(self.process.stdout)).header
        if "error" in first:
            await self._fail(f"The net's process did not start: {first['error']}")
        key = differing_key(first["meta"], self.wanted, SHARED_META)
        if key:
            await self._fail("The net is not the one that the database was made with, or prepares images otherwise: "
                             f"'{key}' is {identity(first['meta'][key])}, in the database's meta.json "
                             f"{identity(self.wanted[key])}. Serve the run with its own net and PROTOCOL=.")

    async def _fail(self, words: str):
        self.state, self.error, self.failed_at = "failed", words, time.monotonic()
        await self._end()
        self.state = "failed"
        raise Fault(503, words)

    async def _end(self):
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        self.process, self.state = None, "stopped"

    async def close(self):
        """End the process."""
        await self._end()


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
