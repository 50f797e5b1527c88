"""The model of the compressed night: a server on loopback that answers as Anthropic's does, or fails as drawn."""

from __future__ import annotations

import contextlib
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWERS = ("better", "worse", "crash", "refused edit", "malformed answer", "429 with a reset time", "529", "hang",
           "broken connection", "login ended", "spending limit")  # fmt: skip
"""What it can do with a request; the first two are no faults."""

USED = {"input_tokens": 8000, "output_tokens": 400, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
USD = (8000 * 3.0 + 400 * 15.0) / 1e6
"""What one answer costs."""


class Model:
    """Answers each request with what is drawn, and writes down what it did."""

    def __init__(self, faults: list[str], every: float, rng: random.Random) -> None:
        self.faults, self.every, self.rng = faults, every, rng
        self.done: Counter[str] = Counter()
        self.served = 0
        """Answers that were sent whole and cost something."""
        self.owed = 0.0
        self.ended = threading.Event()

    def draw(self) -> str:
        self.owed += 1 / self.every
        if self.faults and self.owed >= 1:
            self.owed -= 1
            return self.faults.pop()
        return "better" if self.rng.random() < 0.5 else "worse"

    def answer(self, request: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        """Return status, headers and body; a body of None is no answer, of bytes one that breaks off."""
        kind = self.draw()
        self.done[kind] += 1
        if kind == "429 with a reset time":
            return 429, {"retry-after": str(self.rng.choice([20, 120, 600]))}, error("rate_limit_error", "slow down")
        if kind == "529":
            return 529, {}, error("overloaded_error", "overloaded")
        if kind == "login ended":
            return 401, {}, error("authentication_error", "invalid x-api-key")
        if kind == "spending limit":
            return 400, {}, error("invalid_request_error", "Your credit balance is too low")
        if kind == "hang":
            return 0, {}, None
        self.served += 1
        if kind == "broken connection":
            return 200, {}, json.dumps(message([])).encode()
        if kind == "malformed answer":
            return 200, {}, message([{"type": "text", "text": '{"description": "cut off'}])
        return 200, {}, message([tool(self.edit(kind, json.dumps(request)))])

    def edit(self, kind: str, told: str) -> dict[str, Any]:
        values = {name: float(value) for name, value in re.findall(r"\\n([A-F]) = ([-\d.e]+)", told)}
        best = {"A": 0.7, "B": 0.2, "C": 71.0, "D": 0.09, "E": -4.0, "F": 0.98}
        name = self.rng.choice(sorted(best))
        old = values.get(name, 1.0)
        toward = old + (best[name] - old) * self.rng.uniform(0.3, 0.9)
        new = {"better": toward, "worse": old - (best[name] - old) * self.rng.uniform(0.2, 0.5) - 0.01}.get(
            kind, toward
        )
        text = "1 / 0" if kind == "crash" else f"{new:.5g}"
        spelled = next(iter(re.findall(rf"\\n({name} = [-\d.e]+)", told)), f"{name} = 1.0")
        wrong = "this text is nowhere" if kind == "refused edit" else spelled
        edits = [{"path": "knobs.py", "old": wrong, "new": f"{name} = {text}"}]
        return {"description": f"{name} {kind}", "hypothesis": "it is a number", "family": "size", "edits": edits}


def error(kind: str, text: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": text}}


def tool(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{time.monotonic_ns()}", "name": "propose", "input": arguments}


def message(content: list[dict[str, Any]]) -> dict[str, Any]:
    stop = "tool_use" if content and content[0]["type"] == "tool_use" else "end_turn"
    return {"id": "m", "type": "message", "role": "assistant", "model": "stand-in", "content": content,
            "stop_reason": stop, "stop_sequence": None, "usage": USED}  # fmt: skip


@contextlib.contextmanager
def serving(model: Model) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            status, headers, body = model.answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            if body is None:
                model.ended.wait()
                return
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            with contextlib.suppress(OSError):  # the loop was killed meanwhile
                self.send_response(status)
                for name, value in {"content-type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                if isinstance(body, bytes):
                    self.wfile.write(content[: len(content) // 2])
                    self.close_connection = True
                    self.connection.shutdown(2)
                    return
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        model.ended.set()
        server.shutdown()
        server.server_close()
