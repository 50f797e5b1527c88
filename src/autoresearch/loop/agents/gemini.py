"""Gemini CLI as an agent: one process for a proposal, with the tools that read and edit its folder and no others."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NoReturn

from autoresearch.escaping import one_line
from autoresearch.journal.ledger import Usage
from autoresearch.loop.agents import client
from autoresearch.loop.agents.answer import edit_of, object_in
from autoresearch.loop.agents.base import NOTHING, AgentGone, AgentResting, Brief, Edit, ProposalFailed
from autoresearch.loop.prompt import prompt
from autoresearch.models.prices import Prices

HOW = """Read the files that you need and make the change with the tools `replace` or `write_file`. Then answer with one
JSON object and nothing else: {"description": "...", "hypothesis": "...", "family": "..."}"""

TURNS = 40

SETTINGS = {
    "tools": {"core": ["read_file", "glob", "grep_search", "list_directory", "replace", "write_file"]},
    "mcp": {"allowed": ["none"]},
    "skills": {"enabled": False},
    "hooksConfig": {"enabled": False},
    "experimental": {"enableAgents": False},
    "security": {"folderTrust": {"enabled": False}},
    "general": {"enableAutoUpdate": False, "checkpointing": {"enabled": False}, "maxAttempts": 3},
    "model": {"maxSessionTurns": TURNS},
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
}
"""Those of the system, which go before a person's and a folder's own."""

_WAIT = re.compile(r"(?:retry in|resets? (?:after|in)) ((?:[\d.]+ ?[a-z]+ ?)+)", re.IGNORECASE)

LOGIN = "log in: gemini, then choose how; or set GEMINI_API_KEY"

NO_LOGIN, BAD_INPUT, TOO_MANY_TURNS = 41, 42, 53
"""Exit codes of the program; errors of the server are codes of HTTP."""


class Gemini:
    """The program `gemini`, without a person, extensions, MCP servers, hooks or a shell."""

    name = "gemini"

    def __init__(self, model: str = "", now: Callable[[], float] = time.time) -> None:
        self.model = model
        """As `gemini -m` takes it; empty for the program's own choice."""
        self._now = now

    def ready(self) -> str | None:
        return client.missing("gemini", "Gemini CLI", "@google/gemini-cli")

    def cost_usd(self, brief: Brief) -> float | None:
        """Return None: the program has no limit of dollars, and does not say beforehand what it will read."""
        return None

    def propose(self, brief: Brief) -> Edit:
        program = client.program("gemini")
        if program is None:
            raise AgentGone("Gemini CLI is not installed", self.ready() or "")
        words = [
            program, "-o", "json", "--approval-mode", "auto_edit", "--skip-trust", "-e", "none",
            "--allowed-mcp-server-names", "none", *(("-m", self.model) if self.model else ()),
        ]  # fmt: skip
        env = {"GEMINI_CLI_SYSTEM_SETTINGS_PATH": "{scratch}/settings.json", "GEMINI_CLI_NO_RELAUNCH": "1"}
        files = {"settings.json": json.dumps(SETTINGS)}
        answered = client.run(words, prompt(brief, HOW, code=False).text, brief, files, env)
        result = _last_object(answered.out, "response") or _last_object(answered.err, "error")
        if result is None:
            why = answered.trouble or f"it ended without an answer: {answered.complaint()}"
            raise ProposalFailed(f"Gemini CLI: {why}", _unknown(self.model))
        usage = self._usage(result, brief)
        if isinstance(result.get("error"), dict):
            self._fail(result["error"], answered, usage)
        return edit_of(object_in(str(result.get("response"))), usage)

    def _usage(self, result: Mapping[str, Any], brief: Brief) -> Usage:
        """Return the tokens of all models that were asked; under the name of the one that read most."""
        models = _table(_table(result, "stats"), "models")
        prices, parts = Prices(brief.task.prices, "google"), []
        for name in models:
            tokens = {key: int(client.number(v)) for key, v in _table(_table(models, name), "tokens").items()}
            output = tokens.get("candidates", 0) + tokens.get("thoughts", 0)
            used = Usage(str(name), tokens.get("prompt", 0), tokens.get("cached", 0), 0, output)
            parts.append(prices.priced(used))
        if not parts:  # an error comes without statistics, also after some requests; these come before the first
            code = int(client.number(_table(result, "error").get("code")))
            return NOTHING if code in (NO_LOGIN, BAD_INPUT, 401, 403, 404) else _unknown(self.model)
        dollars = [part.usd for part in parts if part.usd is not None]
        return Usage(
            max(parts, key=lambda part: part.input).model,
            sum(part.input for part in parts),
            sum(part.cached for part in parts),
            0,
            sum(part.output for part in parts),
            sum(dollars) if len(dollars) == len(parts) else None,
        )

    def _fail(self, error: Mapping[str, Any], answered: client.Answered, usage: Usage) -> NoReturn:
        """Raise what an error that the program reports means to the driver."""
        code, said = int(client.number(error.get("code"))), str(error.get("message", ""))
        inner = _last_object(said, "error") or {}
        told = str(_table(inner, "error").get("message", said))
        message = f"Gemini CLI: {one_line(told, 200)}"
        if code == 429 or "quota" in told.lower():
            wait = _WAIT.search(answered.err + told)
            seconds = client.seconds_in(wait[1]) if wait else None
            reset = None if seconds is None else self._now() + seconds
            raise AgentResting(message, client.rests_until(self._now(), reset), usage)
        if code in (NO_LOGIN, 401, 403) or "API key" in told:
            raise AgentGone(message, LOGIN, usage)
        if code == 404 or "not found for API version" in told:
            raise AgentGone(message, "name a model that there is: --agent gemini:MODEL", usage)
        if code in (503, 529) or "fetch failed" in told or "ECONN" in told:
            raise AgentResting(message, self._now() + client.OVERLOAD_S, usage)
        if code == TOO_MANY_TURNS:
            raise ProposalFailed(f"Gemini CLI: no answer in {TURNS} turns", usage)
        raise ProposalFailed(message, usage)


def _unknown(model: str) -> Usage:
    """Return the usage of requests that nobody has counted."""
    return replace(NOTHING, model=model, usd=None)


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = data.get(key)
    return found if isinstance(found, dict) else {}


def _last_object(text: str, key: str) -> dict[str, Any] | None:
    """Return the last JSON object in a text that has a key, whatever was printed around it; None without one."""
    decoder = json.JSONDecoder()
    for start in [match.start() for match in re.finditer(r"^\{|\{(?=\")", text, re.MULTILINE)][::-1][:200]:
        try:
            found = decoder.raw_decode(text, start)[0]
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and key in found:
            return found
    return None
