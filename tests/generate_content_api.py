"""The Gemini API, as far as Gemini CLI needs it from a stand-in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from standin import Body, Event, Reply, Stage


def stage(script: Iterator[Reply]) -> Stage:
    return Stage(script, ":streamGenerateContent", _events, lambda _body: False)


def tool_results(body: Body) -> list[str]:
    """Return what the tools answered in the last message that has an answer."""
    for content in reversed(body["contents"]):
        found = [part["functionResponse"]["response"] for part in content["parts"] if "functionResponse" in part]
        if found:
            return [json.dumps(response) for response in found]
    return []


def _events(reply: Reply, _number: int) -> list[Event]:
    parts: list[dict[str, Any]] = []
    if reply.text:
        parts.append({"text": reply.text})
    if reply.tool:
        parts.append({"functionCall": {"name": reply.tool, "args": reply.input}})
    usage = {"promptTokenCount": reply.context_tokens, "candidatesTokenCount": 10,
             "totalTokenCount": reply.context_tokens + 10}  # fmt: skip
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
    return [("", {"candidates": [candidate], "usageMetadata": usage})]
