"""The sampler on two turns of three, a model on the third: numbers are cheap to search, ideas are not.

The turns follow from the journal alone. When one of the two has stopped finding while the other finds, the other has
all turns, and while the model is at a limit or cannot work, the sampler has them. The model sees what the sampler
would do.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from autoresearch.errors import AutoresearchError
from autoresearch.escaping import one_line
from autoresearch.journal.ledger import Usage
from autoresearch.journal.session import Session
from autoresearch.loop.agents.base import NOTHING, Agent, AgentGone, AgentResting, Brief, Edit, ProposalFailed
from autoresearch.loop.registry import agent_of
from autoresearch.search.history import candidates

SAMPLER = "sampler"
MODELS = ("claude", "codex", "gemini", "anthropic", "openai")
"""Who has the third turn when nobody is named: the first that is ready."""

EVERY = 3
"""One turn in so many is the model's."""

LOOK_BACK = 12
"""Measured experiments without a keep after which one of the two has stopped finding."""

BY = "proposed_by"
"""Key of the side information that says which of the two proposed an experiment; `agent` is `hybrid` then."""

Finder = Callable[[str], Agent]
"""Returns the agent of a name, as the registry does."""


class Hybrid:
    """Two agents that take turns; `hybrid:claude` or `hybrid:anthropic:MODEL` names the second."""

    name = "hybrid"

    def __init__(self, model: str = "", find: Finder | None = None, now: Callable[[], float] = time.time) -> None:
        self._find = find or agent_of
        self._named = model
        self._now = now
        self._sampler = self._find(SAMPLER)
        self._model: Agent | None = None
        self._back = 0.0
        """When the model may be asked again, since 1970; infinity when a person must do something first."""
        self._why = ""
        """Why it may not be asked until then."""

    def ready(self) -> str | None:
        """Return why neither works here, or why the one that was named does not; else None."""
        if self._named:
            return self._find(self._named).ready()
        reasons = {name: self._find(name).ready() for name in MODELS}
        if None in reasons.values():
            return None
        return "hybrid needs an agent beside the sampler: " + "; ".join(str(why) for why in reasons.values())

    def cost_usd(self, brief: Brief) -> float | None:
        """Return what the model costs, on the sampler's turns too, for it has the turn when the sampler fails; 0 where
        it cannot be asked."""
        return self._partner().cost_usd(brief) if self._can_ask(brief) else 0.0

    def propose(self, brief: Brief) -> Edit:
        if self._turn(brief) == SAMPLER:
            try:
                return self._sampled(brief, NOTHING)
            except ProposalFailed:  # nothing to turn, or a repair, which it cannot make
                if not self._can_ask(brief):
                    raise
        before, model = _mutable(brief), self._partner()
        try:
            edit = model.propose(self._with_sampler(brief))
        except (AgentResting, AgentGone, ProposalFailed) as error:
            self._why, spent = str(error), error.usage
            if not isinstance(error, ProposalFailed):
                self._back = error.until if isinstance(error, AgentResting) else float("inf")
            if brief.repair:
                raise ProposalFailed(error.message, spent) from None
        else:
            return replace(edit, asi={**edit.asi, BY: edit.asi.get(BY, model.name)})
        _restore(brief, before)
        return self._sampled(brief, spent)

    def _turn(self, brief: Brief) -> str:
        """Return whose turn it is: `sampler`, or the model's name."""
        session, model = brief.session, self._partner().name
        if not self._can_ask(brief):
            return SAMPLER
        for idle, other in ((model, SAMPLER), (SAMPLER, model)):
            if stopped(session, idle) and finds(session, other):
                return other
        return model if session.loop.next_turn % EVERY == 0 else SAMPLER

    def _can_ask(self, brief: Brief) -> bool:
        """Whether the model can work now, and what is left of the dollars covers it; a cost that is unknown it never
        does."""
        cost = self._partner().cost_usd(brief) if brief.limit_usd is not None else 0.0
        payable = brief.limit_usd is None or (cost is not None and cost <= brief.limit_usd)
        return payable and self._now() >= self._back

    def _partner(self) -> Agent:
        if self._model is None:
            named = (self._find(name) for name in ((self._named,) if self._named else MODELS))
            self._model = next((agent for agent in named if self._named or agent.ready() is None), None)
        if self._model is None:
            raise AgentGone(self.ready() or "no agent is there", "name one: --agent hybrid:NAME")
        return self._model

    def _sampled(self, brief: Brief, spent: Usage) -> Edit:
        """Return the sampler's proposal; `spent` is what the model has cost before it gave its turn away."""
        try:
            edit = self._sampler.propose(brief)
        except ProposalFailed as error:
            raise ProposalFailed(error.message, spent) from None
        except AgentGone as error:
            raise AgentGone(error.message, error.fix, spent) from None
        asi = {**edit.asi, BY: SAMPLER}
        if spent != NOTHING or self._now() < self._back:
            asi["instead_of"] = one_line(f"{self._partner().name}: {self._why}", 300)
        return Edit(edit.description, asi, spent if spent != NOTHING else edit.usage)

    def _with_sampler(self, brief: Brief) -> Brief:
        """Return the brief with the sampler's proposal among the ideas, made in a copy of the mutable files."""
        # Beside the folder: the sampler looks for the workspace that it is in.
        with tempfile.TemporaryDirectory(prefix="sampled-", dir=brief.folder.parent) as name:
            for path in brief.task.files.mutable:
                source, target = brief.folder / path, Path(name) / path
                target.parent.mkdir(parents=True, exist_ok=True)
                if source.is_dir():
                    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
                elif source.is_file():
                    shutil.copy2(source, target)
            try:
                sampled = self._sampler.propose(replace(brief, folder=Path(name), repair=""))
            except AutoresearchError:  # nothing to turn, which is the model's chance
                return brief
        idea = f"the sampler, which turns single numbers, would try now: {sampled.description}"
        return replace(brief, ideas=(idea, *brief.ideas))


def finds(session: Session, agent: str) -> bool:
    """Whether one of an agent's last twelve experiments in this segment was kept."""
    return "keep" in _last(session, agent)


def stopped(session: Session, agent: str) -> bool:
    """Whether an agent has had twelve experiments in this segment, and none of the last twelve was kept."""
    return len(_last(session, agent)) == LOOK_BACK and not finds(session, agent)


def _last(session: Session, agent: str) -> Sequence[str | None]:
    return [e.status for e in candidates(session) if e.asi.get(BY, e.asi.get("agent")) == agent][-LOOK_BACK:]


def _mutable(brief: Brief) -> Mapping[Path, bytes]:
    """Return path -> content of the mutable files, to put them back after an agent that failed half-way."""
    found: dict[Path, bytes] = {}
    for path in brief.task.files.mutable:
        top = brief.folder / path
        files = [top] if top.is_file() else top.rglob("*")
        found.update({file: file.read_bytes() for file in files if file.is_file() and not file.is_symlink()})
    return found


def _restore(brief: Brief, before: Mapping[Path, bytes]) -> None:
    for file in set(_mutable(brief)) - set(before):
        file.unlink()
    for file, content in before.items():
        if file.is_symlink():
            file.unlink()
        if not file.is_file() or file.read_bytes() != content:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
