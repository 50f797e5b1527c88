"""A server on loopback that answers as a model's API does, or fails to: with the next of its replies, or as it is told
by a function."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Said:
    """One answer."""

    body: object = field(default_factory=dict)
    """Sent as JSON; bytes are sent as they are."""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    how: str = "whole"
    """`whole`; `silent`: never; `broken`: the connection ends in the middle."""


@dataclass
class Server:
    replies: list[Said]
    requests: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    """The header `authorization` of each request."""
    headers: list[dict[str, str]] = field(default_factory=list)
    """All of each request, names in lower case."""
    url: str = ""
    ended: threading.Event = field(default_factory=threading.Event)


Answer = Callable[[dict[str, Any]], Said]
"""Body of a request -> what it is answered with. Called by many threads at the same time; it may wait."""


@contextmanager
def serving(replies: Sequence[Said] | Answer) -> Iterator[Server]:
    """Serve the replies, one a request; a request too many is answered with status 418. Or serve by a function."""
    answer = replies if callable(replies) else None
    server = Server([] if callable(replies) else [*replies])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            sent = self.rfile.read(length)
            if len(sent) < length:
                return  # the client was killed before it had said what it wants
            body = json.loads(sent or b"{}")
            server.requests.append(body)
            server.paths.append(self.path)
            server.keys.append(self.headers.get("authorization") or "")
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            too_many = Said({"error": {"message": "one too many"}}, 418)
            said = answer(body) if answer else server.replies.pop(0) if server.replies else too_many
            if said.how == "silent":
                server.ended.wait()
                return
            content = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
            self.send_response(said.status)
            for name, value in (("content-type", "application/json"), *said.headers):
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            if said.how == "broken":
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            self.wfile.write(content)

    class Listening(ThreadingHTTPServer):
        request_queue_size = 64

        def handle_error(self, *given: Any) -> None:
            if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that was killed
                super().handle_error(*given)

    listening = Listening(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    server.url = f"http://127.0.0.1:{listening.server_address[1]}"
    threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.ended.set()
        listening.shutdown()
        listening.server_close()
