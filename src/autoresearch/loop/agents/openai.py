"""A model of OpenAI, or of a server that speaks its language (vLLM, Ollama, a gateway), by its API as an agent.

OpenAI itself is asked by the Responses API, others by Chat Completions, which all of them have.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from autoresearch.journal.ledger import Usage
from autoresearch.loop.agents import api
from autoresearch.loop.agents.base import Brief, Edit
from autoresearch.loop.agents.client import number
from autoresearch.loop.prompt import Prompt, prompt
from autoresearch.models.chat import refusal, without_keys
from autoresearch.models.endpoint import Endpoint, Patience, Refusal, fields, rows
from autoresearch.models.prices import Prices
from autoresearch.system.extras import install

USUAL = "gpt-5.5"
"""The model of OpenAI where none is named; at another server one must be."""

ADDRESS = "OPENAI_BASE_URL"

LOGIN = "set OPENAI_API_KEY to a key of platform.openai.com, or OPENAI_BASE_URL to a server of yours"


class OpenAI:
    """The package `openai`; OPENAI_BASE_URL names another server than OpenAI's own."""

    name = "openai"

    def __init__(self, model: str = "", patience: Patience | None = None, responses: bool | None = None) -> None:
        """`responses` is whether to use the Responses API; None is by the address."""
        self._url = os.environ.get(ADDRESS, "")
        ours = not self._url or (urlsplit(self._url).hostname or "").endswith(("openai.com", "openai.azure.com"))
        self._responses = ours if responses is None else responses
        self.model = api.model_of(model, USUAL if self._responses else "")
        self._elsewhere = "" if self._responses else self._url
        self._endpoint = Endpoint(self._elsewhere or "OpenAI", LOGIN, patience)

    def ready(self) -> str | None:
        if importlib.util.find_spec("openai") is None:
            return f"the package openai is not installed: {install('agents')}"
        if not self._elsewhere and not os.environ.get("OPENAI_API_KEY"):
            return f"there is no key for OpenAI: {LOGIN}"
        if not self.model:
            return f"no model is named for {self._url}: --agent openai:MODEL, or set {api.MODEL}"
        return None

    def cost_usd(self, brief: Brief) -> float | None:
        return self._bill(brief, self._prompt(brief)).at_most()

    def propose(self, brief: Brief) -> Edit:
        api.check_ready(self.ready())
        told = self._prompt(brief)
        bill = self._bill(brief, told)
        kind = _Responses if self._responses else _Completions
        return api.converse(brief, kind(self._endpoint, self.model, told, brief, bill.prices), bill)

    def _prompt(self, brief: Brief) -> Prompt:
        return prompt(brief, api.how(brief), code=True)

    def _bill(self, brief: Brief, told: Prompt) -> api.Bill:
        seller, url = (None, self._elsewhere) if self._elsewhere else ("openai", None)
        sent = api.sent_by(told, api.tools(brief))
        return api.Bill(self.model, Prices(brief.task.prices, seller, url), sent, brief.limit_usd)


class _Asked:
    """What both conversations share."""

    def __init__(self, endpoint: Endpoint, model: str, told: Prompt, brief: Brief, prices: Prices) -> None:
        self._endpoint, self._model, self._told, self._prices = endpoint, model, told, prices
        self._offered = api.tools(brief)
        self._tag = brief.session.segment.tag or brief.task.task.name

    def _get(self, resource: str, request: Mapping[str, Any], limit_s: float) -> object:
        """Return the answer to a request as plain objects."""
        return self._endpoint.ask(lambda left_s: _send(resource, request, left_s), _refusal, limit_s)

    def _usage(self, used: object, read: str, wrote: str) -> Usage:
        """Return the usage of an answer, whose counts are `read` and `wrote`."""
        if not isinstance(used, dict):
            return Usage(self._model, usd=None)
        details = fields(used, f"{read}_details")
        cached, written = (int(number(fields(details, key))) for key in ("cached_tokens", "cache_write_tokens"))
        usage = Usage(self._model, int(number(used.get(read))), cached, written, int(number(used.get(wrote))))
        return self._prices.priced(usage)


class _Responses(_Asked):
    """One conversation over the Responses API; nothing of it is stored there."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._input: list[Any] = [
            {"role": "user", "content": part} for part in (self._told.code, self._told.request) if part
        ]
        self._call = ""

    def ask(self, complaint: str, output: int, limit_s: float) -> api.Answer:
        if complaint:
            result = {"type": "function_call_output", "call_id": self._call, "output": complaint}
            self._input.append(result if self._call else {"role": "user", "content": complaint})
        request = {
            "model": self._model,
            "instructions": self._told.rules,
            "input": self._input,
            "tools": [
                {"type": "function", "name": name, "description": about, "parameters": schema, "strict": True}
                for name, (about, schema) in self._offered.items()
            ],
            "tool_choice": "required",
            "parallel_tool_calls": False,
            "max_output_tokens": output,
            "store": False,
            "include": ["reasoning.encrypted_content"],
            "prompt_cache_key": self._tag,
        }
        data = self._get("responses", request, limit_s)
        items = rows(fields(data, "output"))
        self._input += items
        call = next((item for item in items if item.get("type") == "function_call"), None)
        self._call = str(fields(call, "call_id") or "")
        parts = [part for item in items for part in rows(item.get("content"))]
        cut = ""
        if fields(data, "status") == "incomplete":
            why = fields(data, "incomplete_details", "reason")
            cut = f"it is longer than {output} tokens" if why == "max_output_tokens" else str(why)
        elif any(part.get("type") == "refusal" for part in parts):
            cut = "the model refuses to answer"
        return api.Answer(
            _arguments(fields(call, "arguments")),
            "".join(str(part.get("text")) for part in parts if part.get("type") == "output_text"),
            self._usage(fields(data, "usage"), "input_tokens", "output_tokens"),
            cut,
        )


def _refusal(error: Exception) -> Refusal | None:
    return without_keys(refusal(error), os.environ.get("OPENAI_API_KEY"))


class _Completions(_Asked):
    """One conversation over Chat Completions."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        asked = "\n\n".join(part for part in (self._told.code, self._told.request) if part)
        self._messages: list[Any] = [
            {"role": "system", "content": self._told.rules}, {"role": "user", "content": asked}
        ]  # fmt: skip
        self._call = ""

    def ask(self, complaint: str, output: int, limit_s: float) -> api.Answer:
        if complaint:
            result = {"role": "tool", "tool_call_id": self._call, "content": complaint}
            self._messages.append(result if self._call else {"role": "user", "content": complaint})
        request = {
            "model": self._model,
            "messages": self._messages,
            "tools": [
                {"type": "function", "function": {"name": name, "description": about, "parameters": schema}}
                for name, (about, schema) in self._offered.items()
            ],
            "tool_choice": "required",
            "max_tokens": output,
        }
        data = self._get("chat.completions", request, limit_s)
        choice = next(iter(rows(fields(data, "choices"))), None)
        call = next(iter(rows(fields(choice, "message", "tool_calls"))), None)
        self._call = str(fields(call, "id") or "")
        text = str(fields(choice, "message", "content") or "")
        said: dict[str, Any] = {"role": "assistant", "content": text}
        self._messages.append({**said, "tool_calls": [call]} if self._call else said)
        reason = str(fields(choice, "finish_reason"))
        cut = {"length": f"it is longer than {output} tokens", "content_filter": "the server refuses it"}
        return api.Answer(
            _arguments(fields(call, "function", "arguments")),
            text,
            self._usage(fields(data, "usage"), "prompt_tokens", "completion_tokens"),
            cut.get(reason, ""),
        )


def _arguments(given: object) -> Any:
    """Return the arguments of a tool call; None when they are no JSON."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except (ValueError, RecursionError):
        return None


def _send(resource: str, request: Mapping[str, Any], left_s: float) -> object:
    import openai

    # A server of one's own asks for no key, and the package for one.
    key = os.environ.get("OPENAI_API_KEY") or "none"
    client: Any = openai.OpenAI(api_key=key, max_retries=0, timeout=left_s)
    with client:
        place: Any = client
        for name in resource.split("."):
            place = getattr(place, name)
        try:
            return place.with_raw_response.create(**request).http_response.json()
        except openai.APITimeoutError:
            raise TimeoutError from None
