"""Agents by name: each is found at a dotted path, which is imported only then."""

from __future__ import annotations

from collections.abc import Sequence

from autoresearch.errors import AutoresearchError, UsageError
from autoresearch.loop.agents.base import Agent
from autoresearch.system.named_class import class_at, why_not

AGENTS = {
    "sampler": "autoresearch.loop.agents.sampler:Sampler",
    "claude": "autoresearch.loop.agents.claude_code:ClaudeCode",
    "codex": "autoresearch.loop.agents.codex:Codex",
    "gemini": "autoresearch.loop.agents.gemini:Gemini",
    "anthropic": "autoresearch.loop.agents.anthropic:Anthropic",
    "openai": "autoresearch.loop.agents.openai:OpenAI",
    "hybrid": "autoresearch.loop.agents.hybrid:Hybrid",
    "replay": "autoresearch.loop.agents.replay:Replay",
}
"""Name -> "module:Class"; any other such path can be given instead of a name. What follows a name behind a colon is
given to the class: `replay:edits.jsonl`."""


def agents_of(names: str) -> list[Agent]:
    """Return the agents of a list like `claude,sampler`; raise `UsageError` for one that there is not."""
    listed = [name.strip() for name in names.split(",") if name.strip()]
    if not listed:
        raise UsageError("no agent is named", f"choose from: {', '.join(AGENTS)}")
    agents = [agent_of(name) for name in listed]
    twice = {agent.name for agent in agents if [a.name for a in agents].count(agent.name) > 1}
    if twice:
        raise UsageError(f"the agent {min(twice)} is named twice", "name each agent once")
    return agents


def agent_of(name: str) -> Agent:
    """Return the agent of a name of `AGENTS`, with or without an argument, or at a path "module:Class"."""
    short, _, argument = name.partition(":")
    path = AGENTS.get(short, name)
    arguments: Sequence[str] = (argument,) if short in AGENTS and argument else ()
    try:
        kind = class_at(path)
    except Exception as error:  # whatever a person's own module raises while it is imported
        fix = f"choose from: {', '.join(AGENTS)}, or give module:Class"
        raise UsageError(f"there is no agent {name!r}{why_not(path, error)}", fix) from None
    try:
        agent: Agent = kind(*arguments)
        lacks = [part for part in ("name", "ready", "cost_usd", "propose") if not hasattr(agent, part)]
        if lacks:
            raise TypeError(f"it has no {lacks[0]}")
    except AutoresearchError:
        raise
    except Exception as error:  # whatever a person's own class raises while it is made
        fix = "see what agents there are: autoresearch run --help"
        why = str(error) if isinstance(error, TypeError) else f"{type(error).__name__}: {error}"
        raise UsageError(f"the agent {name!r} cannot be made so: {why}", fix) from None
    return agent
