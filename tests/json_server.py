"""A server on loopback that answers each request with the next of its replies, as a model's API does, or fails to."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
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
    url: str = ""
    ended: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(replies: Sequence[Said]) -> Iterator[Server]:
    """Serve the replies, one a request; a request too many is answered with status 418."""
    server = Server([*replies])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
            server.requests.append(body)
            server.paths.append(self.path)
            said = server.replies.pop(0) if server.replies else Said({"error": {"message": "one too many"}}, 418)
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

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    server.url = f"http://127.0.0.1:{listening.server_address[1]}"
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.ended.set()
        listening.shutdown()
        listening.server_close()
