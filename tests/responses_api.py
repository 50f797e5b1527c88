"""The Responses API, as far as Codex needs it from a stand-in."""

from __future__ import annotations

import json
from collections.abc import Iterator

from standin import Body, Event, Reply, Stage, text_of


def stage(script: Iterator[Reply]) -> Stage:
    return Stage(script, "/v1/responses", _events, _asks_for_summary)


def tool_result(body: Body) -> str:
    """Return what the last tool call answered."""
    found = [item for item in body["input"] if str(item.get("type")).endswith("call_output")]
    return text_of(found[-1]["output"]) if found else ""


def _asks_for_summary(body: Body) -> bool:
    return not body.get("tools") or "CONTEXT CHECKPOINT COMPACTION" in json.dumps(body["input"][-1:])


def _events(reply: Reply, number: int) -> list[Event]:
    items: list[dict[str, object]] = []
    if reply.text:
        content = [{"type": "output_text", "text": reply.text}]
        items.append({"type": "message", "role": "assistant", "id": f"msg_{number}", "content": content})
    if reply.tool == "apply_patch":  # the one tool that is called with text
        items.append({"type": "custom_tool_call", "id": f"ct_{number}", "call_id": f"call_{number}", "name": reply.tool,
                      "input": reply.input["input"]})  # fmt: skip
    elif reply.tool:
        items.append({"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "name": reply.tool,
                      "arguments": json.dumps(reply.input)})  # fmt: skip
    usage = {"input_tokens": reply.context_tokens, "input_tokens_details": None, "output_tokens": 10,
             "output_tokens_details": None, "total_tokens": reply.context_tokens + 10}  # fmt: skip
    response = {"id": f"resp_{number}"}
    told = [{"type": "response.created", "response": response}]
    told += [{"type": "response.output_item.done", "item": item} for item in items]
    told += [{"type": "response.completed", "response": {**response, "usage": usage}}]
    return [(str(event["type"]), event) for event in told]
