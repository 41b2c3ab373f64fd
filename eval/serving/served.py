"""The run that is served now: read again when its files are replaced; images that were uploaded to it."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from basics.program import EvalError
from search.engine import Engine
from search.feature_set import Split
from serving.collection import Collection, Query, signature
from serving.faults import Fault
from serving.net import Embedded, NetProcess
from serving.place import Place

LOOK_AGAIN_S = 1.0
KEPT_UPLOADS = 256


class Served:
    """A Collection with its net and uploads. `make`: runs work on a thread, so that the event loop goes on."""

    def __init__(self, place: Place, net_command: Sequence[str], on_thread: Callable,
                 make_engine: Callable[[Split], Engine] | None = None):
        self.place, self.net_command, self.on_thread, self.make_engine = place, net_command, on_thread, make_engine
        self.collection = Collection(place, make_engine)
        self.net = self._net()
        self.uploads: OrderedDict[str, tuple[Query, bytes]] = OrderedDict()
        self.looked = time.monotonic()
        self.reading: asyncio.Task | None = None
        self.fault: Fault | None = None

    def _net(self) -> NetProcess | None:
        return NetProcess(self.net_command, self.collection.database.meta) if self.net_command else None

    async def current(self) -> Collection:
        """The collection. Fault 503 while the run is read again, or when it cannot be."""
        if time.monotonic() - self.looked > LOOK_AGAIN_S and (self.reading is None or self.reading.done()):
            self.looked = time.monotonic()
            if signature(self.place) != self.collection.signature:
                self.fault = Fault(503, "The run was replaced while it was served; it is being read again.", 1)
                self.reading = asyncio.create_task(self._read_again())
        if self.fault:
            raise self.fault
        return self.collection

    async def _read_again(self):
        try:
            collection = await self.on_thread(Collection, self.place, self.make_engine)
        except (EvalError, OSError) as error:
            self.fault = Fault(503, f"The run was replaced while it was served, and cannot be read: {error}.", 5)
            return
        old, self.collection = self.net, collection
        self.net, self.fault = self._net(), None
        self.uploads.clear()
        if old:
            await old.close()

    def keep(self, collection: Collection, image: bytes, embedded: Embedded) -> Query:
        """The query that an uploaded image is, to be asked again by its address."""
        key = hashlib.sha256(image).hexdigest()[:24]
        told = {name: embedded.told[name] for name in ("format", "width", "height", "notes", "seconds")}
        number = embedded.told.get("prediction")
        if number is not None:
            told["predicted"] = collection.database.class_name(number)
        query = collection.query_of_features(f"upload/{key}", "uploaded image", embedded.latent, embedded.fc7, told)
        self.uploads[key] = query, embedded.preview
        self.uploads.move_to_end(key)
        while len(self.uploads) > KEPT_UPLOADS:
            self.uploads.popitem(last=False)
        return query

    def upload(self, key: str) -> tuple[Query, bytes]:
        """(query, preview) of an uploaded image. Fault 410 when the server no longer has it."""
        if key not in self.uploads:
            raise Fault(410, "The server no longer has this uploaded image: choose it again.")
        self.uploads.move_to_end(key)
        return self.uploads[key]

    async def close(self):
        if self.net:
            await self.net.close()
