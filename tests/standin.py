"""A scripted stand-in of a model's API on loopback, for real coding agents to talk to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
Event = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Reply:
    """One answer of the model: text, at most one tool call, and how full it says the context is."""

    text: str = ""
    tool: str = ""
    input: dict[str, Any] = field(default_factory=dict)
    context_tokens: int = 1000
    status: int = 200
    """Another one is a refusal; then `input` is the body, and neither text nor tool are told."""
    headers: tuple[tuple[str, str], ...] = ()


OK = Reply()


@dataclass
class Stage:
    """A script, and every request that the client made, in order."""

    script: Iterator[Reply]
    path: str
    """Where the client asks the model: the end of the path."""
    encode: Callable[[Reply, int], list[Event]]
    """Turns a reply, with its number, into the events of a stream."""
    asks_for_summary: Callable[[Body], bool]
    requests: list[Body] = field(default_factory=list)
    summaries: list[Body] = field(default_factory=list)
    """Requests that asked for a summary of the conversation: compactions."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def reply(self, body: Body) -> tuple[Reply, int]:
        """Return what is answered to a request, and its number."""
        with self.lock:
            number = len(self.requests) + len(self.summaries) + 1
            if self.asks_for_summary(body):
                self.summaries.append(body)
                return Reply("<summary>Experiments were done.</summary>"), number
            self.requests.append(body)
            return next(self.script, Reply("There is nothing left in the script.")), number


def text_of(content: object) -> str:
    """Return the text of a message's content, whatever its shape."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(text_of(part) for part in content)
    if isinstance(content, dict):
        return text_of(content.get("text") or content.get("content") or content.get("output") or "")
    return ""


@contextmanager
def served(stage: Stage) -> Iterator[Stage]:
    """Serve a stage on a free port of loopback; its address is in `stage.url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._send(b"", "text/plain")

        def do_GET(self) -> None:
            self._send(b"{}", "application/json")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
            if not self.path.split("?")[0].endswith(stage.path):
                self._send(b'{"input_tokens": 1000}', "application/json")
                return
            reply, number = stage.reply(body)
            if reply.status != 200:
                self._send(json.dumps(reply.input).encode(), "application/json", reply)
                return
            events = stage.encode(reply, number)
            told = "".join(
                (f"event: {kind}\n" if kind else "") + f"data: {json.dumps(data)}\n\n" for kind, data in events
            )
            self._send(told.encode(), "text/event-stream", reply)

        def _send(self, content: bytes, kind: str, reply: Reply = OK) -> None:
            self.send_response(reply.status)
            for name, value in (("content-type", kind), *reply.headers):
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stage.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield stage
    finally:
        server.shutdown()
        server.server_close()
