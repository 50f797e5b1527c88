"""A model of Anthropic by its API as an agent: one request for a proposal, two when the edit did not fit."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from autoresearch.journal.ledger import Usage
from autoresearch.loop.agents import api
from autoresearch.loop.agents.base import Brief, Edit
from autoresearch.loop.agents.client import number
from autoresearch.loop.prompt import Prompt, prompt
from autoresearch.models.chat import without_keys
from autoresearch.models.endpoint import Endpoint, Patience, Refusal, fields, refusal_of, rows
from autoresearch.models.prices import Prices
from autoresearch.system.extras import install

USUAL = "claude-sonnet-5"
"""The model where none is named."""

LOGIN = "set ANTHROPIC_API_KEY to a key of console.anthropic.com"

KEEP = {"type": "ephemeral"}
"""Marks the end of what the cache shall hold: for five minutes, from its last use on."""


class Anthropic:
    """The package `anthropic`; ANTHROPIC_BASE_URL names another server than Anthropic's own."""

    name = "anthropic"

    def __init__(self, model: str = "", patience: Patience | None = None) -> None:
        self.model = api.model_of(model, USUAL)
        self._endpoint = Endpoint("Anthropic", LOGIN, patience)

    def ready(self) -> str | None:
        if importlib.util.find_spec("anthropic") is None:
            return f"the package anthropic is not installed: {install('agents')}"
        if not (os.environ.get("ANTHROPIC_API_KEY") or os.environ.get("ANTHROPIC_AUTH_TOKEN")):
            return f"there is no key for Anthropic: {LOGIN}"
        return None

    def cost_usd(self, brief: Brief) -> float | None:
        return self._bill(brief, self._prompt(brief)).at_most()

    def propose(self, brief: Brief) -> Edit:
        api.check_ready(self.ready())
        told = self._prompt(brief)
        bill = self._bill(brief, told)
        return api.converse(brief, _Messages(self._endpoint, self.model, told, brief, bill.prices), bill)

    def _prompt(self, brief: Brief) -> Prompt:
        return prompt(brief, api.how(brief), code=True)

    def _bill(self, brief: Brief, told: Prompt) -> api.Bill:
        sent = api.sent_by(told, api.tools(brief))
        return api.Bill(self.model, Prices(brief.task.prices, "anthropic"), sent, brief.limit_usd)


class _Messages:
    """One conversation over the Messages API."""

    def __init__(self, endpoint: Endpoint, model: str, told: Prompt, brief: Brief, prices: Prices) -> None:
        self._endpoint, self._model, self._prices = endpoint, model, prices
        self._rules = [{"type": "text", "text": told.rules, "cache_control": KEEP}]
        code = {"type": "text", "text": told.code, "cache_control": KEEP}
        self._messages: list[dict[str, Any]] = [
            {"role": "user", "content": [code, {"type": "text", "text": told.request}]}
        ]
        self._tools = [
            {"name": name, "description": about, "input_schema": schema, "strict": True}
            for name, (about, schema) in api.tools(brief).items()
        ]
        self._call = ""
        """The id of the last tool call."""

    def ask(self, complaint: str, output: int, limit_s: float) -> api.Answer:
        if complaint:
            result = {"type": "tool_result", "tool_use_id": self._call, "content": complaint, "is_error": True}
            said = result if self._call else {"type": "text", "text": complaint}
            self._messages.append({"role": "user", "content": [said]})
        data = self._endpoint.ask(lambda left_s: self._send(output, left_s), _refusal, limit_s)
        content = rows(fields(data, "content"))
        self._messages.append({"role": "assistant", "content": content})
        call = next((block for block in content if block.get("type") == "tool_use"), None)
        self._call = str(fields(call, "id") or "")
        cut = {"max_tokens": f"it is longer than {output} tokens", "refusal": "the model refuses to answer"}
        return api.Answer(
            fields(call, "input"),
            "".join(str(block.get("text")) for block in content if block.get("type") == "text"),
            self._usage(fields(data, "usage")),
            cut.get(str(fields(data, "stop_reason")), ""),
        )

    def _usage(self, used: object) -> Usage:
        if not isinstance(used, dict):
            return Usage(self._model, usd=None)
        keys = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
        fresh, cached, written, output = (int(number(used.get(key))) for key in keys)
        return self._prices.priced(Usage(self._model, fresh + cached + written, cached, written, output))

    def _send(self, output: int, left_s: float) -> object:
        import anthropic

        client: Any = anthropic.Anthropic(max_retries=0, timeout=left_s)
        with client:
            try:
                raw = client.messages.with_raw_response.create(
                    model=self._model,
                    max_tokens=output,
                    system=self._rules,
                    messages=self._messages,
                    tools=self._tools,
                    tool_choice={"type": "any", "disable_parallel_tool_use": True},
                )
            except anthropic.APITimeoutError:
                raise TimeoutError from None
            return raw.http_response.json()


def _refusal(error: Exception) -> Refusal | None:
    """Return what an exception of the package means; None for one that is a mistake of ours."""
    import anthropic

    if isinstance(error, anthropic.APIStatusError):
        told = fields(error.body, "error") or error.body
        said, code = fields(told, "message") or error.message, fields(told, "type") or ""
        headers = {key.lower(): value for key, value in error.response.headers.items()}
        keys = (os.environ.get("ANTHROPIC_API_KEY"), os.environ.get("ANTHROPIC_AUTH_TOKEN"))
        return without_keys(Refusal(error.status_code, str(said), str(code), headers), *keys)
    return refusal_of(error, anthropic.APIConnectionError, anthropic.APIError)
