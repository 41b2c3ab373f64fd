"""The addresses of the server: page, API, pictures, report."""

import asyncio
import io
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from basics.program import EvalError
from pages.search_page import STATIC_TYPES, search_page, static_files
from serving.bodies import Bodies
from serving.collection import Collection, Query, Wish
from serving.faults import Fault
from serving.gate import REPORT_POLICY, Address, Gate
from serving.options import ServeOptions
from serving.projection import project
from serving.run_view import figure_path, run_facts
from serving.served import Served
from serving.work import Workers

TOP_K = 10
LOOK_S = 1.0
KEPT_THUMBS = 4096
PARAMETERS = {"of", "id", "k", "T", "search", "pool"}


def make_app(options: ServeOptions, address: Address, gone: Callable[[EvalError], None]) -> Gate:
    """The ASGI application. EvalError for what cannot be served. gone: called when the cluster is."""
    workers = Workers()
    api = Api(Served(options.place, options.net, workers.run, options.make_engine), workers)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        loading = asyncio.create_task(api.served.net.start()) if api.served.net else None
        watching = asyncio.create_task(watch(api.served, gone)) if options.make_engine else None
        yield
        for task in (loading, watching):
            if task:
                task.cancel()
        await api.served.close()
        workers.close()

    routes = [Route("/", api.page), Route("/static/{name}", api.static), Route("/report", api.report),
              Route("/api/search", api.search, methods=["POST"]), Route("/api/run", api.run),
              Route("/api/health", api.health), Route("/api/random", api.random_row), Route("/api/map", api.map),
              Route("/api/thumb/{row:int}", api.thumb), Route("/api/image/{row:int}", api.image),
              Route("/api/upload/{key}", api.upload), Route("/api/figure/{name}", api.figure)]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={
        Fault: told_fault, HTTPException: told_http, EvalError: told_unable, ClientDisconnect: told_gone,
        Exception: told_bug})
    return Gate(app, address)


async def watch(served: Served, gone: Callable[[EvalError], None]):
    """Look once a second whether the cluster is still there."""
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            await asyncio.to_thread(served.collection.asked.engine.check)
        except EvalError as error:
            gone(error)
            return


def told_fault(_: Request, fault: Fault) -> JSONResponse:
    headers = {"retry-after": str(fault.retry_after)} if fault.retry_after else {}
    if fault.status in (408, 413):   # the rest of the body is not read
        headers["connection"] = "close"
    return JSONResponse({"error": fault.sentence}, fault.status, headers)


def told_http(_: Request, error: HTTPException) -> JSONResponse:
    words = {404: "There is nothing at this address.", 405: "This address takes another method."}
    return JSONResponse({"error": words.get(error.status_code, error.detail)}, error.status_code, error.headers)


def told_gone(_: Request, __: ClientDisconnect) -> Response:
    return Response(status_code=400)


def told_unable(_: Request, error: EvalError) -> JSONResponse:
    """A cluster that cannot answer: the next question may find it again."""
    return JSONResponse({"error": f"{error}."}, 503, {"retry-after": "5"})


def told_bug(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse({"error": "The server met an error of its own; its terminal shows it."}, 500)


class Api:
    """The handlers. Each raises Fault for what a person should know."""

    def __init__(self, served: Served, workers: Workers):
        self.served, self.workers = served, workers
        self.static_files = static_files()
        self.bodies = Bodies()
        self.maps: dict[tuple, asyncio.Task] = {}

    async def page(self, _: Request) -> Response:
        return Response(search_page(), media_type="text/html")

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self.static_files:
            raise HTTPException(404)
        return Response(self.static_files[name], media_type=STATIC_TYPES[name.rpartition(".")[2]],
                        headers={"cache-control": "no-cache"})

    async def search(self, request: Request) -> Response:
        """Ask with the body's image, or with an image that the run or the server has."""
        collection = await self.served.current()
        unknown = set(request.query_params) - PARAMETERS
        if unknown:
            raise Fault(400, f"There is no parameter {sorted(unknown)[0]}: give {', '.join(sorted(PARAMETERS))}.")
        wish = collection.checked(Wish(number(request, "k", TOP_K), number(request, "T", None),
                                       request.query_params.get("search", "both"), number(request, "pool", 1) != 0))
        query = await self._query(request, collection)
        return json_response(await self.workers.run(collection.answer, query, wish))

    async def _query(self, request: Request, collection: Collection) -> Query:
        of = request.query_params.get("of")
        if "id" in request.query_params:
            of = collection.rows_of_ids.get(request.query_params["id"])
            if of is None:
                raise Fault(404, f"No image of this run has the id {request.query_params['id']!r}.")
        if of is None:
            async with self.bodies.of(request) as image:
                return await self._uploaded(collection, image)
        split, _, row = of.rpartition("/")
        if split == "upload":
            return self.served.upload(row)[0].again()
        if not (row.isascii() and row.isdigit()):
            raise Fault(400, f"of = {of}: give a row of the database, train/ROW, test/ROW or upload/KEY.")
        return collection.query_of_row(split or "train", int(row))

    async def _uploaded(self, collection: Collection, image: bytes) -> Query:
        if self.served.net is None:
            raise Fault(501, "This server has no net, so it cannot take new images: ask with an image of the run.")
        if not image:
            raise Fault(400, "No image came: send one as the request's body, or name one with of= or id=.")
        return self.served.keep(collection, image, await self.served.net.embed(image))

    async def run(self, _: Request) -> Response:
        collection = await self.served.current()
        return json_response(run_facts(collection, self.served.net))

    async def health(self, _: Request) -> Response:
        net = self.served.net
        told = {"net": net.state if net else "none", "error": net.error if net else "",
                "waiting": self.workers.waiting + (net.waiting if net else 0)}
        try:
            await self.served.current()
        except Fault as fault:
            return JSONResponse({"status": "unavailable", "error": fault.sentence} | {"net": told["net"]}, fault.status)
        return JSONResponse({"status": "ok"} | told)

    async def random_row(self, request: Request) -> Response:
        collection = await self.served.current()
        split = request.query_params.get("split", "train")
        return JSONResponse({"of": f"{split}/{random.randrange(len(collection.split(split)))}"})

    async def map(self, request: Request) -> Response:
        """Header line of JSON, then rows, points and labels as little-endian arrays (eval/README.md)."""
        collection = await self.served.current()
        key = collection.signature, request.query_params.get("of", "codes")
        if key not in self.maps:
            self.maps = {kept: task for kept, task in self.maps.items() if kept[0] == collection.signature}
            self.maps[key] = asyncio.create_task(self.workers.run(map_bytes, collection, key[1]))
        try:
            return Response(await asyncio.shield(self.maps[key]), media_type="application/octet-stream")
        except Fault:
            self.maps.pop(key, None)
            raise

    async def thumb(self, request: Request) -> Response:
        collection, name, row = await self._row(request)
        if collection.split(name).thumbs is None:
            raise Fault(404, f"The features of {name} hold no thumbs.npy, so there are no small pictures.")
        return picture(thumb_png(collection, name, row))

    async def image(self, request: Request) -> Response:
        _, name, row = await self._row(request)
        if self.served.net is None:
            raise Fault(404, "This server has no process that reads originals.")
        return picture(await self.served.net.original(name, row))

    async def _row(self, request: Request) -> tuple[Collection, str, int]:
        collection = await self.served.current()
        name = request.query_params.get("split", "train")
        return collection, name, collection.row(name, request.path_params["row"])

    async def upload(self, request: Request) -> Response:
        await self.served.current()
        return picture(self.served.upload(request.path_params["key"])[1])

    async def figure(self, request: Request) -> Response:
        collection = await self.served.current()
        path = figure_path(collection.place.evaluation, request.path_params["name"])
        return Response(path.read_bytes(), media_type="image/svg+xml",
                        headers={"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"})

    async def report(self, _: Request) -> Response:
        collection = await self.served.current()
        path = collection.place.evaluation / "report.html"
        if not path.is_file():
            raise Fault(404, "This run has no report: `make evaluate RUN=...` writes it.")
        return Response(path.read_bytes(), media_type="text/html", headers={"content-security-policy": REPORT_POLICY})


def json_response(contents: dict) -> Response:
    """JSON without NaN, which no other reader would take."""
    return Response(json.dumps(contents, allow_nan=False, separators=(",", ":")), media_type="application/json")


def picture(png: bytes) -> Response:
    return Response(png, media_type="image/png", headers={"cache-control": "private, max-age=60"})


def number(request: Request, name: str, otherwise: int | None) -> int | None:
    """An integer of the query string. Fault 400 for anything else."""
    text = request.query_params.get(name)
    if text is None:
        return otherwise
    try:
        return int(text)
    except ValueError:
        raise Fault(400, f"{name} = {text}: give a whole number.") from None


@lru_cache(KEPT_THUMBS)
def thumb_png(collection: Collection, name: str, row: int) -> bytes:
    """PNG of a small picture."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(collection.split(name).thumbs[row])).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def map_bytes(collection: Collection, kind: str) -> bytes:
    """What /api/map answers with: a line of JSON, rows (n,) uint32, points (n, 2) float32, classes (n,) uint16."""
    database = collection.database
    rows, points = project(database, kind)
    labels = database.labels[rows]
    first = labels.argmax(axis=1) if labels.ndim == 2 else labels
    numbers, places = np.unique(first, return_inverse=True)
    head = {"points": len(rows), "of": kind, "images": len(database),
            "classes": [database.class_name(n) for n in numbers]}
    arrays = rows.astype("<u4"), points.astype("<f4"), places.astype("<u2")
    return json.dumps(head).encode() + b"\n" + b"".join(array.tobytes() for array in arrays)
