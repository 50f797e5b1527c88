"""One model behind a server that speaks Chat Completions: OpenAI, vLLM, Ollama, llama.cpp, a gateway."""

from __future__ import annotations

import functools
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from autoresearch.errors import PreconditionError
from autoresearch.journal.ledger import Usage
from autoresearch.models.endpoint import Endpoint, EndpointSilent, Patience, Refusal, fields, refusal_of, rows
from autoresearch.models.prices import Prices
from autoresearch.models.served import ADDRESS, OPENAI, Served
from autoresearch.system.extras import install

Message = Mapping[str, str]
"""`role` and `content`."""

AROUND = 2000
"""Bytes that a server may put around what is sent: its chat template, the schema in its own words."""

HIDDEN = "***"
"""What stands in the place of a key that a server has repeated."""

_HALF = re.compile("[\ud800-\udfff]")
"""Half a character of two, which a cut can leave: no file of UTF-8 has it, and no tokenizer takes it."""

BROKEN_OFF = ("error", "abort")
"""Reasons of servers (OpenRouter, vLLM) to end with a part of an answer."""

SHORTEST_KEY = 16
"""A shorter one is no secret but a word like EMPTY, for servers that want any, and may be meant in an answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said to one request."""

    text: str
    finish: str
    """Why it ended, in the server's words: `stop`, `length`, `content_filter`."""
    usage: Usage

    @property
    def cut(self) -> bool:
        """Whether it is not whole because it may not be longer."""
        return self.finish == "length"


class Model(Protocol):
    """A model that can be asked; the tests of other modules have one of their own."""

    served: Served

    def request(
        self, messages: Sequence[Message], max_tokens: int, temperature: float | None, shape: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Return the body of a request. `shape` is the `response_format` that it asks for."""
        ...

    def at_most(self, request: Mapping[str, Any]) -> float | None:
        """Return the most that a request may cost, in US dollars; None when nobody knows."""
        ...

    def send(self, request: Mapping[str, Any], limit_s: float) -> Reply:
        """Send a request and return the reply. Raises as `Endpoint.ask` does."""
        ...


class ChatModel:
    """The package `openai`, against one address."""

    def __init__(self, served: Served, key: str | None, prices: Prices, patience: Patience | None = None) -> None:
        """`key` is the key itself; None for a server that asks for none."""
        login = f"set {served.key}, in the environment or in the file .env" if served.key else "name its key"
        self.served, self.prices = served, prices
        self._key = key
        self._endpoint = Endpoint(served.address, login, patience)

    def request(
        self, messages: Sequence[Message], max_tokens: int, temperature: float | None, shape: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        # OpenAI's later models refuse the old name, and most other servers know no other.
        limit = "max_completion_tokens" if self.served.of_openai else "max_tokens"
        body: dict[str, Any] = {"model": self.served.name, "messages": [dict(m) for m in messages], limit: max_tokens}
        if temperature is not None:
            body["temperature"] = temperature
        if shape is not None:
            body["response_format"] = shape
        return body

    def at_most(self, request: Mapping[str, Any]) -> float | None:
        sent = len(json.dumps(request, ensure_ascii=False).encode("utf-8", "replace")) + AROUND
        output = request.get("max_completion_tokens", request.get("max_tokens", 0))
        return self.prices.at_most(self.served.name, sent, output)

    def send(self, request: Mapping[str, Any], limit_s: float) -> Reply:
        data = self._endpoint.ask(lambda left_s: self._create(request, left_s), self._refusal, limit_s)
        choice = next(iter(rows(fields(data, "choices"))), None)
        if choice is None or not isinstance(fields(choice, "message"), Mapping):
            raise EndpointSilent(f"{self.served.address} answered in another language: there is no message")
        text, finish = fields(choice, "message", "content"), str(fields(choice, "finish_reason") or "")
        if isinstance(text, list):  # a list of parts, of which some are thoughts
            text = "".join(str(part.get("text", "")) for part in rows(text) if part.get("type") == "text")
        if finish in BROKEN_OFF:
            raise EndpointSilent(f"{self.served.address} broke off its answer ({finish})")
        return Reply(
            self._without_key(whole(text)) if isinstance(text, str) else "", finish, self._usage(fields(data, "usage"))
        )

    def _create(self, request: Mapping[str, Any], left_s: float) -> object:
        import openai

        try:
            raw = self._client.chat.completions.with_raw_response.create(**request, timeout=left_s)
            return raw.http_response.json()
        except openai.APITimeoutError:
            raise TimeoutError from None
        except RecursionError:
            raise ValueError("it is nested too deeply") from None

    @functools.cached_property
    def _client(self) -> Any:
        import openai

        return openai.OpenAI(
            api_key=self._key or "none",
            base_url=self.served.address,
            max_retries=0,
            # Every request has a connection of its own: one that was kept open may be closed by the server in the very
            # moment in which it is used again, and nobody could tell whether the request was read and is paid for.
            default_headers={"Connection": "close", **self._headers()},
        )

    def _headers(self) -> dict[str, Any]:
        """Return the key's header, and what keeps those that the package takes from the environment for its own server,
        OpenAI's or the one in OPENAI_BASE_URL, from every other one."""
        import openai

        own = {"Authorization": f"Bearer {self._key or 'none'}"}
        if self.served.of_openai or self.served.address == (os.environ.get(ADDRESS) or OPENAI).rstrip("/"):
            return own if self._key else {}
        lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
        names = [line.partition(":")[0].strip() for line in lines if ":" in line]
        return {**dict.fromkeys([*names, "OpenAI-Organization", "OpenAI-Project"], openai.Omit()), **own}

    def _refusal(self, error: Exception) -> Refusal | None:
        found = refusal(error)
        return without_keys(found, self._key)

    def _without_key(self, text: str) -> str:
        return hidden(text, self._key)

    def _usage(self, used: object) -> Usage:
        read, wrote = _count(fields(used, "prompt_tokens")), _count(fields(used, "completion_tokens"))
        if read is None or wrote is None:
            return Usage(self.served.name, usd=None)
        details = fields(used, "prompt_tokens_details")
        cached, written = (_count(fields(details, key)) or 0 for key in ("cached_tokens", "cache_write_tokens"))
        return self.prices.priced(Usage(self.served.name, read, cached, written, wrote))


def whole(text: str) -> str:
    """Return a text without half of a character of two."""
    return _HALF.sub("\ufffd", text)


def check_installed() -> None:
    """Raise `PreconditionError` where the package that asks models is not installed."""
    import importlib.util

    if importlib.util.find_spec("openai") is None:
        raise PreconditionError("the package openai is not installed", f"install it: {install('agents')}")


def refusal(error: Exception) -> Refusal | None:
    """Return what an exception of the package `openai` means; None for one that is a mistake of ours."""
    import openai

    if isinstance(error, openai.APIStatusError):
        told = fields(error.body, "error") or error.body
        code = " ".join(str(name) for key in ("code", "type") if (name := fields(told, key)))
        headers = {key.lower(): value for key, value in error.response.headers.items()}
        return Refusal(error.status_code, str(fields(told, "message") or error.message), code, headers)
    return refusal_of(error, openai.APIConnectionError, openai.APIError)


def hidden(text: str, *keys: str | None) -> str:
    """Return a text without these keys, for servers that repeat what they were sent."""
    for key in keys:
        text = text.replace(key, HIDDEN) if key and len(key) >= SHORTEST_KEY else text
    return text


def without_keys(found: Refusal | None, *keys: str | None) -> Refusal | None:
    """Return a refusal whose message has none of these keys."""
    return found and replace(found, message=hidden(found.message, *keys))


def _count(value: object) -> int | None:
    """Return a number of tokens; None for what is none."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        return None
    return int(value)
