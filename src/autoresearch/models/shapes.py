"""Answers with a schema: how a server is asked for one, and how it is read from what came back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from autoresearch.models.params import Shape

S = TypeVar("S", bound="Shaped")

_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)\n\s*```", re.S)


class Shaped(BaseModel):
    """The root of the schemas; strict servers want every field required and no other allowed."""

    model_config = ConfigDict(extra="forbid")


def asked_for(kind: type[Shaped], shape: Shape) -> tuple[Mapping[str, Any] | None, str]:
    """Return the `response_format` of a request for such an answer, and what its text must say of the schema."""
    schema = kind.model_json_schema()
    if shape == "json_schema":
        return {"type": shape, "json_schema": {"name": kind.__name__.lower(), "schema": schema, "strict": True}}, ""
    words = f"\n\nAnswer with one JSON object and nothing else. Its JSON schema: {json.dumps(schema)}"
    return ({"type": shape} if shape == "json_object" else None), words


def read(text: str, kind: type[S]) -> S | None:
    """Return the answer in a text: the whole of it, what is fenced in it, or from its first to its last brace; or None.

    Models that are only asked in words like to say something before.
    """
    fenced = _FENCED.search(text)
    for candidate in (text, fenced[1] if fenced else "", text[text.find("{") : text.rfind("}") + 1]):
        try:
            return kind.model_validate_json(candidate)
        except ValidationError:
            continue
    return None
