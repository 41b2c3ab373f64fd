"""HTTP connections that do not wait for ever: slow clients are cut off."""

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 5       # for a whole request head, and between two requests
REQUEST_S = 120  # for one request with its answer
LOOK_S = 1


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, which has a limit only between a finished answer and the next byte."""

    def connection_made(self, transport):
        super().connection_made(transport)
        self._seen, self._since = (None, True), self.loop.time()
        self._look_later()

    def connection_lost(self, exc):
        self._look_task.cancel()
        super().connection_lost(exc)

    def _look_later(self):
        self._look_task = self.loop.call_later(LOOK_S, self._look)

    def _look(self):
        """Cut off whoever has been in one state for too long: in the head of a request, or in a request."""
        idle = self.cycle is None or self.cycle.response_complete
        if (self.cycle, idle) != self._seen:
            self._seen, self._since = (self.cycle, idle), self.loop.time()
        if self.loop.time() - self._since > (HEAD_S if idle else REQUEST_S):
            self.transport.abort()
        else:
            self._look_later()
