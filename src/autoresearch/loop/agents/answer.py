"""What every agent answers beside its edit: one line of description, why it should help, and its family."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from autoresearch.escaping import one_line
from autoresearch.journal.ledger import Usage
from autoresearch.loop.agents.base import Edit, ProposalFailed

_TEXT = {"type": "string"}
SAID = {"description": _TEXT, "hypothesis": _TEXT, "family": _TEXT}


def schema(**more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of an answer, with these fields beside the three; strict, so all are required."""
    fields = {**SAID, **more}
    return {"type": "object", "properties": fields, "required": [*fields], "additionalProperties": False}


CHANGES = {
    "edits": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"path": _TEXT, "old": _TEXT, "new": _TEXT},
            "required": ["path", "old", "new"],
            "additionalProperties": False,
        },
    },
    "files": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"path": _TEXT, "content": _TEXT},
            "required": ["path", "content"],
            "additionalProperties": False,
        },
    },
}  # fmt: skip
"""Field -> schema of the two ways to give an edit in the answer itself."""


def edit_of(answer: object, usage: Usage) -> Edit:
    """Return what an answer says of its edit; raise `ProposalFailed` when it is not one."""
    if not isinstance(answer, Mapping):
        raise ProposalFailed("the agent's answer is no JSON object", usage)
    description = answer.get("description")
    if not isinstance(description, str) or not description.strip():
        raise ProposalFailed("the agent's answer has no description", usage)
    asi = {
        key: one_line(text, 500)
        for key in ("hypothesis", "family")
        if isinstance(text := answer.get(key), str) and text.strip()
    }
    return Edit(one_line(description, 300), asi, usage)


def object_in(text: str) -> Any:
    """Return the last JSON object in a text that has a description, whatever stands around it; None without one."""
    found = None
    for candidate in _objects(text):
        if "description" in candidate:
            found = candidate
    return found


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a text that are in no other, at most a thousand tries at one."""
    decoder, at = json.JSONDecoder(), text.find("{")
    for _ in range(1000):
        if at < 0:
            return
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
            continue
        if isinstance(value, dict):
            yield value
        at = text.find("{", end)
