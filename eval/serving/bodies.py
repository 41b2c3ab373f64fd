"""The bodies of requests: how long, how late and how many at once they may come."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from serving.faults import Fault

MOST_BODY = 20 << 20
MOST_READ = 4 * MOST_BODY
MOST_HELD = 16 * MOST_BODY   # of all that are here at one time
BODY_S = 30.0                # for a whole one to come


class Bodies:
    """held: bytes of the bodies that are here now."""

    def __init__(self, most_held: int = MOST_HELD):
        self.held, self.most_held = 0, most_held

    @asynccontextmanager
    async def of(self, request: Request) -> AsyncIterator[bytes]:
        """A request's body, while the block lasts.

        Fault 413 for more than 20 MB, 408 for one that does not come to its end, 503 while too much is here already.
        """
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(BODY_S):
                    length = await self._receive(request, body)
            except TimeoutError:
                raise Fault(408, f"The image did not come within {BODY_S:.0f} s.") from None
            if length > MOST_BODY:
                raise Fault(413, f"The image has more than {MOST_BODY >> 20} MB: make it smaller.")
            yield bytes(body)
        finally:
            self.held -= len(body)

    async def _receive(self, request: Request, body: bytearray) -> int:
        """How long the body is. A client that is still sending does not read why it should not: some more is read."""
        length = 0
        async for chunk in request.stream():
            length += len(chunk)
            if length <= MOST_BODY:
                if self.held + len(chunk) > self.most_held:
                    raise Fault(503, "Too many images come at the same time: try again in a moment.", retry_after=2)
                self.held += len(chunk)
                body += chunk
            elif length > MOST_READ:
                break
        return length
