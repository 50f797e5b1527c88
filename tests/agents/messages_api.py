"""A scripted stand-in of the Messages API on loopback, for the real client to talk to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Block = dict[str, Any]
Script = Iterator["Reply"]


@dataclass(frozen=True)
class Reply:
    """One answer of the model: text, at most one tool call, and how full it says the context is."""

    text: str = ""
    tool: str = ""
    input: dict[str, Any] = field(default_factory=dict)
    context_tokens: int = 1000


@dataclass
class Stage:
    """Serves one script; every request of the client is kept in `requests` in order."""

    script: Iterator[Reply]
    requests: list[dict[str, Any]] = field(default_factory=list)
    summaries: list[dict[str, Any]] = field(default_factory=list)
    """Requests that asked for a summary of the conversation: compactions."""
    others: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def answer(self, body: dict[str, Any]) -> Reply:
        text = json.dumps(body.get("messages", [])[-1:])
        if not body.get("tools") or "summary of the conversation" in text:
            self.summaries.append(body)
            return Reply("<summary>The session was compacted.</summary>")
        self.requests.append(body)
        return next(self.script, Reply("There is nothing left in the script."))

    def results(self) -> list[str]:
        """Return what the tools answered in the latest request, as text."""
        return tool_results(self.requests[-1]) if self.requests else []


def tool_results(body: dict[str, Any]) -> list[str]:
    """Return the texts of the tool results in the last message that has any."""
    for message in reversed(body["messages"]):
        content = message["content"]
        found = [part for part in content if isinstance(part, dict) and part.get("type") == "tool_result"]
        if found:
            return [text_of(part.get("content")) for part in found]
    return []


def text_of(content: object) -> str:
    """Return the text of a message's content, whatever its shape."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(text_of(part) for part in content)
    if isinstance(content, dict):
        return text_of(content.get("text") or content.get("content") or "")
    return ""


def events(reply: Reply, number: int) -> list[tuple[str, dict[str, Any]]]:
    """Return the stream of server-sent events that carries a reply."""
    usage = {"input_tokens": reply.context_tokens, "output_tokens": 1,
             "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}  # fmt: skip
    message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": "stand-in", "content": [],
               "stop_reason": None, "stop_sequence": None, "usage": usage}  # fmt: skip
    out: list[tuple[str, dict[str, Any]]] = [("message_start", {"type": "message_start", "message": message})]
    blocks: list[tuple[dict[str, Any], dict[str, Any]]] = []
    if reply.text:
        blocks.append(({"type": "text", "text": ""}, {"type": "text_delta", "text": reply.text}))
    if reply.tool:
        start = {"type": "tool_use", "id": f"toolu_{number}", "name": reply.tool, "input": {}}
        blocks.append((start, {"type": "input_json_delta", "partial_json": json.dumps(reply.input)}))
    for index, (start, delta) in enumerate(blocks):
        out.append(("content_block_start", {"type": "content_block_start", "index": index, "content_block": start}))
        out.append(("content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}))
        out.append(("content_block_stop", {"type": "content_block_stop", "index": index}))
    ended = {"stop_reason": "tool_use" if reply.tool else "end_turn", "stop_sequence": None}
    out.append(("message_delta", {"type": "message_delta", "delta": ended, "usage": {**usage, "output_tokens": 20}}))
    return [*out, ("message_stop", {"type": "message_stop"})]


def serve(stage: Stage) -> ThreadingHTTPServer:
    """Serve a stage on a free port of loopback and return the server; its address goes to `stage.url`."""

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
            path = self.path.split("?")[0]
            if path != "/v1/messages":
                stage.others.append(path)
                self._send(b'{"input_tokens": 1000}', "application/json")
                return
            with stage.lock:
                number = len(stage.requests) + len(stage.summaries) + 1
                stream = events(stage.answer(body), number)
            told = "".join(f"event: {kind}\ndata: {json.dumps(data)}\n\n" for kind, data in stream)
            self._send(told.encode(), "text/event-stream")

        def _send(self, content: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stage.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


Step = Callable[[Stage], Reply]
