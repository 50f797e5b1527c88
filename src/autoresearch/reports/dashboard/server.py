"""The server of the page: FastAPI on a port of the loopback interface. It answers GET and HEAD, and writes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from autoresearch.errors import AutoresearchError, PreconditionError, UsageError
from autoresearch.reports.dashboard.door import Door
from autoresearch.reports.dashboard.journal_tail import position_of
from autoresearch.reports.dashboard.source import Source
from autoresearch.reports.dashboard.stream import ALIVE_S, LOOK_S, Watch
from autoresearch.reports.overview import harmless
from autoresearch.reports.report import static
from autoresearch.reports.views import View
from autoresearch.system.extras import install
from autoresearch.workspace.session_journal import carry
from autoresearch.workspace.workspace import find

SCRIPTS = {"chart.js": "text/javascript", "sections.js": "text/javascript", "page.js": "text/javascript",
           "style.css": "text/css"}  # fmt: skip
MOST_STREAMS = 32
"""Browsers that are told of events at once."""

SHELL = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>autoresearch</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/static/style.css">
<script src="/static/chart.js" defer></script>
<script src="/static/sections.js" defer></script>
<script src="/static/page.js" defer></script>
</head>
<body>
<a class="skip" href="#main">to the content</a>
<nav id="nav" aria-label="Where you are"></nav>
<main id="main" tabindex="-1"><p class="faint">reading the journal …</p></main>
<noscript><p>This page is drawn by its script. <code>autoresearch status</code> and <code>autoresearch report</code> need none.</p></noscript>
</body>
</html>
"""  # noqa: E501


def sources(folders: Sequence[Path]) -> list[Source]:
    """Return the workspaces that the folders are in, each once. Raises `NoSession` for one that is in none."""
    roots = dict.fromkeys(find(folder).root for folder in folders)
    carry(len(roots))
    return [Source(find(root)) for root in roots]


@dataclass
class Streams:
    """The browsers that are told of events."""

    open: set[object] = field(default_factory=set)
    ending: Callable[[], bool] = lambda: False
    """Whether the server ends, which waits for them."""


def application(shown: Sequence[Source], streams: Streams) -> Any:
    """Return the routes. Raises `PreconditionError` when the extra is not installed."""
    try:
        from fastapi import FastAPI, Header, Query, Response
        from fastapi.responses import StreamingResponse
    except ImportError:
        raise PreconditionError("FastAPI is not installed", f"install it with: {install('dashboard')}") from None
    import orjson

    by_id = {source.id: source for source in shown}
    files = {name: static(name).encode() for name in SCRIPTS}
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)  # their pages load scripts from elsewhere

    def get(path: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        return app.api_route(path, methods=["GET", "HEAD"], response_model=None)

    def answer(id: str, made: Callable[[Source], View]) -> Response:
        if id not in by_id:
            return plain({"error": {"kind": "usage", "message": "there is no such workspace", "fix": "see: /"}}, 404)
        try:
            return plain(made(by_id[id]))
        except UsageError as error:
            return plain({"error": error.as_dict()}, 404)
        except AutoresearchError as error:
            return plain({"error": error.as_dict()}, 409)

    def plain(view: View, status: int = 200) -> Response:
        return Response(orjson.dumps(harmless(view)), status, media_type="application/json")

    @get("/static/{name}")
    def file(name: str) -> Response:
        if name not in files:
            return Response(status_code=404)
        return Response(files[name], media_type=SCRIPTS[name])

    @get("/index.json")
    def index() -> Response:
        return plain({"workspaces": [front(source) for source in shown]})

    @get("/w/{id}/experiments.json")
    def experiments(
        id: str, status: str = "", family: str = "", q: str = "", first: int = -200,
        limit: int = Query(200, ge=1, le=1000),
    ) -> Response:  # fmt: skip
        return answer(id, lambda source: source.experiments(status, family, q, first, limit))

    @get("/w/{id}/experiments/{n}.json")
    def experiment(id: str, n: int) -> Response:
        return answer(id, lambda source: source.experiment(n))

    @get("/w/{id}/curve.json")
    def curve(id: str, n: str, key: str = "", by: str = "") -> Response:
        return answer(id, lambda source: source.curve(_numbers(n), key or None, by or None))

    @get("/w/{id}/compare.json")
    def compare(id: str, n: str = "") -> Response:
        return answer(id, lambda source: source.compare(_numbers(n)))

    @get("/w/{id}/policy.json")
    def policy(id: str, name: Literal["confirm", "greedy"] = "greedy") -> Response:
        return answer(id, lambda source: source.policy(name))

    @get("/w/{id}/running.json")
    def running(id: str) -> Response:
        return answer(id, lambda source: source.running())

    @app.get("/w/{id}/events", response_model=None)
    async def events(id: str, last_event_id: str = Header(""), begin: str = Query("", alias="from")) -> Response:
        if id not in by_id:
            return Response(status_code=404)
        if len(streams.open) >= MOST_STREAMS:
            return Response(status_code=503)
        watch = Watch(by_id[id].workspace, position_of(last_event_id or begin))
        return StreamingResponse(_told(watch, streams), media_type="text/event-stream")

    @get("/w/{id}.json")
    def overview(id: str, since: str = "") -> Response:
        return answer(id, lambda source: source.overview(position_of(since)))

    @get("/")
    @get("/w/{id}")
    @get("/w/{id}/compare")
    @get("/w/{id}/policy")
    @get("/w/{id}/experiments/{n}")
    def page() -> Response:
        return Response(SHELL, media_type="text/html")

    return app


def front(source: Source) -> View:
    """Return a workspace as a line of the first page; one that cannot be read says why."""
    about: View = {"id": source.id, "folder": source.workspace.root.name}
    try:
        view = source.overview()
    except AutoresearchError as error:
        return {**about, "error": str(error)}
    return {**about, **{key: view[key] for key in ("name", "headline", "state")}}


async def _told(watch: Watch, streams: Streams) -> AsyncIterator[str]:
    """Give events as they happen, until the browser is gone."""
    me = object()
    streams.open.add(me)
    try:
        said = 0.0
        while not streams.ending():
            happened = await asyncio.to_thread(watch.look)
            now = time.monotonic()
            if not happened and now - said > ALIVE_S:
                happened = ["event: alive\ndata: {}\n\n"]
            for event in happened:
                yield event
                said = now
            await asyncio.sleep(LOOK_S)
    finally:
        streams.open.discard(me)


def _numbers(words: str) -> list[int]:
    try:
        return [int(word) for word in words.split(",") if word][:64]
    except ValueError:
        raise UsageError(f"{words[:40]!r} is no list of experiments", "write it like this: ?n=4,9") from None


def listen(port: int) -> socket.socket:
    """Return a socket on the loopback interface; port 0 takes a free one. Raises `PreconditionError` if it is taken."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", port))
        sock.listen(128)  # from now on, whoever connects waits and is not refused
    except OSError as error:
        sock.close()
        raise PreconditionError(f"port {port}: {error.strerror}", "choose another, or none: --port 0") from None
    return sock


def prepare(folders: Sequence[Path], port: int) -> tuple[str, Callable[[], None]]:
    """Return the URL of the page, and what serves it until a signal ends that."""
    streams = Streams()
    app = application(sources(folders), streams)  # before the port: what is wrong with a folder is said first
    import uvicorn

    sock = listen(port)
    taken, token = sock.getsockname()[1], secrets.token_urlsafe(24)
    door = Door(app, taken, token)
    config = uvicorn.Config(
        door, log_level="warning", access_log=False, server_header=False, date_header=False, proxy_headers=False,
        lifespan="off", ws="none", timeout_graceful_shutdown=3,
    )  # fmt: skip
    server = uvicorn.Server(config)
    streams.ending = lambda: server.should_exit

    def serve() -> None:
        with contextlib.suppress(KeyboardInterrupt):  # it ends so, and not otherwise
            server.run(sockets=[sock])

    return f"http://127.0.0.1:{taken}/?token={token}", serve
