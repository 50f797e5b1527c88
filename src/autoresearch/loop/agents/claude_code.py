"""Claude Code as an agent: one process for a proposal, which may read and edit in its folder and nothing else."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NoReturn

from autoresearch.escaping import one_line
from autoresearch.journal.ledger import Usage
from autoresearch.loop.agents import client
from autoresearch.loop.agents.answer import edit_of, object_in, schema
from autoresearch.loop.agents.base import NOTHING, AgentGone, AgentResting, Brief, Edit, ProposalFailed
from autoresearch.loop.prompt import prompt
from autoresearch.models.endpoint import Refusal

TURNS = 40
"""Requests to the model in one proposal; an edit of one file takes five or so."""

MOST_USD = 2.0
"""What one proposal may cost where dollars are limited: else a single one could reserve all that is left."""

RETRIES = "4"
"""How often the program asks again; its own ten take three minutes where there is no network."""

TOOLS = "Read,Edit,Write,Grep,Glob"

HOW = """Read the files that you need with the tools Read, Grep and Glob, and make the change with Edit or Write. Then
answer with the structured output."""

_NO_NETWORK = re.compile(r"connection|connect|network|fetch failed|timed? ?out|ENOTFOUND|ECONN", re.IGNORECASE)


class ClaudeCode:
    """The program `claude`, without a person, its settings, MCP servers, skills, or a shell."""

    name = "claude"

    def __init__(self, model: str = "", now: Callable[[], float] = time.time) -> None:
        self.model = model
        """As `claude --model` takes it; empty for the program's own choice."""
        self._now = now

    def ready(self) -> str | None:
        return client.missing("claude", "Claude Code", "@anthropic-ai/claude-code")

    def cost_usd(self, brief: Brief) -> float | None:
        """Return the limit that the program is given; None where dollars are not limited, and nothing is known.

        The program looks at its limit between two requests, so that the last one may go beyond it.
        """
        return None if brief.limit_usd is None else min(brief.limit_usd, MOST_USD)

    def propose(self, brief: Brief) -> Edit:
        program = client.program("claude")
        if program is None:
            raise AgentGone("Claude Code is not installed", self.ready() or "")
        limit_usd = self.cost_usd(brief)
        words = [
            program, "-p", "--output-format", "stream-json", "--verbose", "--no-session-persistence",
            "--setting-sources=", "--strict-mcp-config", "--disable-slash-commands",
            "--permission-mode", "dontAsk", "--tools", TOOLS, "--allowedTools", "Edit(./**)",
            "--max-turns", str(TURNS), "--json-schema", json.dumps(schema()),
            *(("--max-budget-usd", f"{limit_usd:.4f}") if limit_usd is not None else ()),
            *(("--model", self.model) if self.model else ()),
        ]  # fmt: skip
        env = {
            "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": os.environ.get("CLAUDE_CODE_MAX_RETRIES", RETRIES),
        }
        answered = client.run(words, prompt(brief, HOW, code=False).text, brief, {}, env)
        lines = [*answered.lines()]
        result = next((line for line in reversed(lines) if line.get("type") == "result"), None)
        if result is None:
            why = answered.trouble or f"it ended without a result: {answered.complaint()}"
            raise ProposalFailed(f"Claude Code: {why}", _so_far(lines))
        usage = _usage(result)
        # A program that was ended at its limit may still have said a result: then it did its work.
        if result.get("is_error") or result.get("subtype") != "success":
            self._fail(result, lines, usage)
        answer = result.get("structured_output") or object_in(str(result.get("result")))
        return edit_of(answer, usage)

    def _fail(self, result: Mapping[str, Any], lines: list[dict[str, Any]], usage: Usage) -> NoReturn:
        """Raise what an error that the program reports means to the driver."""
        kind = next((str(line["error"]) for line in reversed(lines) if line.get("error")), "")
        status = result.get("api_error_status")
        said = one_line(str(result.get("result") or result.get("errors") or result.get("subtype")), 200)
        message = f"Claude Code: {said}"
        refusal = Refusal(status if isinstance(status, int) else None, said)
        if str(result.get("subtype")).startswith("error_max_budget"):
            raise ProposalFailed(f"Claude Code: the proposal reached its limit of dollars ({said})", usage)
        if refusal.spent or kind == "billing_error":
            raise AgentGone(message, "add credit or raise the limit with Anthropic, or name another agent", usage)
        if status == 429 or kind == "rate_limit":
            raise AgentResting(message, client.rests_until(self._now(), _reset(lines)), usage)
        if refusal.no_login or kind == "authentication_failed":
            raise AgentGone(message, "log in: claude, then /login; or set ANTHROPIC_API_KEY", usage)
        if status == 404 or kind == "model_not_found":
            raise AgentGone(message, "name a model that this account may use: --agent claude:MODEL", usage)
        if status in (503, 529) or (status is None and kind and _NO_NETWORK.search(said)):
            raise AgentResting(message, self._now() + client.OVERLOAD_S, usage)
        raise ProposalFailed(message, usage)


def _reset(lines: list[dict[str, Any]]) -> float | None:
    """Return when the usage limit that was hit ends, since 1970; None when the program did not say.

    Of several windows those that are full count, and the last of them to be reset.
    """
    info = next((i for line in reversed(lines) if isinstance(i := line.get("rate_limit_info"), dict)), {})
    windows = info.get("unifiedWindows")
    listed = [*windows.values()] if isinstance(windows, dict) else windows if isinstance(windows, list) else []
    full = [w for w in listed if isinstance(w, dict) and client.number(w.get("utilization")) >= 1]
    times = [client.number(w.get("resetsAt")) for w in full]
    if not any(times) and info.get("status") == "rejected":
        times = [client.number(info.get("resetsAt"))]
    return max(times) if any(times) else None


def _usage(result: Mapping[str, Any]) -> Usage:
    """Return what the result says of all models that were asked; under the name of the one that cost most."""
    told = result.get("modelUsage")
    listed = told.items() if isinstance(told, dict) else ()
    models = {str(name): used for name, used in listed if isinstance(used, dict)}
    cost = client.number(result["total_cost_usd"]) if "total_cost_usd" in result else None
    if not models:
        used = result.get("usage")
        return replace(_tokens(used if isinstance(used, dict) else {}), usd=cost)
    name = max(models, key=lambda m: client.number(models[m].get("costUSD")))
    read = {key: int(sum(client.number(used.get(key)) for used in models.values())) for key in (
        "inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens", "outputTokens")}  # fmt: skip
    cached, written = read["cacheReadInputTokens"], read["cacheCreationInputTokens"]
    return Usage(name, read["inputTokens"] + cached + written, cached, written, read["outputTokens"], cost)


def _tokens(used: Mapping[str, Any], model: str = "") -> Usage:
    cached, written = (int(client.number(used.get(f"cache_{kind}_input_tokens"))) for kind in ("read", "creation"))
    fresh, output = (int(client.number(used.get(f"{way}_tokens"))) for way in ("input", "output"))
    return Usage(model, fresh + cached + written, cached, written, output)


def _so_far(lines: list[dict[str, Any]]) -> Usage:
    """Return what the requests of a proposal without a result used; its dollars are unknown unless there was none."""
    told = (line.get("message") for line in lines if line.get("type") == "assistant")
    messages = {str(m.get("id")): m for m in told if isinstance(m, dict) and isinstance(m.get("usage"), dict)}
    asked = [_tokens(m["usage"], str(m.get("model", ""))) for m in messages.values()]
    if not lines:
        return NOTHING
    return Usage(
        asked[-1].model if asked else "",
        sum(u.input for u in asked),
        sum(u.cached for u in asked),
        sum(u.cache_written for u in asked),
        sum(u.output for u in asked),
        None,
    )
