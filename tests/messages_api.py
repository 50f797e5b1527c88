"""The Messages API, as far as Claude Code needs it from a stand-in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from standin import Body, Event, Reply, Stage, text_of


def stage(script: Iterator[Reply]) -> Stage:
    return Stage(script, "/v1/messages", _events, _asks_for_summary)


def tool_results(body: Body) -> list[str]:
    """Return the texts of the tool results in the last message that has any."""
    for message in reversed(body["messages"]):
        content = message["content"]
        found = [part for part in content if isinstance(part, dict) and part.get("type") == "tool_result"]
        if found:
            return [text_of(part.get("content")) for part in found]
    return []


def _asks_for_summary(body: Body) -> bool:
    return not body.get("tools") or "summary of the conversation" in json.dumps(body.get("messages", [])[-1:])


def _events(reply: Reply, number: int) -> list[Event]:
    usage = {"input_tokens": reply.context_tokens, "output_tokens": 1,
             "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}  # fmt: skip
    message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": "stand-in", "content": [],
               "stop_reason": None, "stop_sequence": None, "usage": usage}  # fmt: skip
    out: list[Event] = [("message_start", {"type": "message_start", "message": message})]
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
