"""What an agent is to the loop: it gets a brief and a folder, edits the folder, and says what the edit is.

A proposal is one fresh process or request. An agent remembers nothing, measures nothing and touches no git: what it
may know is in the brief, and the driver takes the mutable files from the folder when it returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from autoresearch.errors import AutoresearchError
from autoresearch.journal.ledger import Usage
from autoresearch.journal.session import Session
from autoresearch.workspace.task_file import TaskFile

NOTHING = Usage()

PROPOSAL_S = 900.0
"""Seconds that one proposal may take, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Brief:
    """What one proposal is made from."""

    folder: Path
    """All files of the parent's commit, the agent's to edit; thrown away afterwards. It is no git repository."""
    session: Session
    task: TaskFile
    parent: int
    """The experiment whose files are in the folder."""
    mode: str
    """What the strategy asks for: `improve`, `explore`, `diversify`, `near_miss`, `smaller`."""
    reason: str
    families: tuple[str, ...] = ()
    """Families of changes to choose from; empty when any will do."""
    banned: tuple[str, ...] = ()
    """Families that a person has ruled out."""
    goal: str = ""
    """What a person wants, in their words."""
    messages: tuple[str, ...] = ()
    """What a person has said since."""
    ideas: tuple[str, ...] = ()
    """Of the backlog, the fitting ones first."""
    repair: str = ""
    """Why the edit that is in the folder was refused before it was measured; empty for a first proposal."""
    seed: int = 0
    """For whatever the agent draws at random: the same journal gives the same proposal."""
    limit_s: float = PROPOSAL_S
    """Seconds after which the proposal must have ended, children included."""
    limit_usd: float | None = None
    """What the proposal may cost; None without a cap."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What an agent says of the edit that it left in the folder."""

    description: str
    """One line, as for `try -m`."""
    asi: Mapping[str, str] = field(default_factory=dict)
    """Side information: `hypothesis`, `family` and the like."""
    usage: Usage = NOTHING


class Agent(Protocol):
    """Proposes edits. Found by name, or at a path "module:Class"; its constructor takes no argument it must have.

    One with an attribute `strategy` is asked by that of `search.strategies`, unless a person names another.
    """

    name: str

    def ready(self) -> str | None:
        """Return why this agent cannot work here (a program or key that is missing), with what to type; None if it
        can. Costs nothing and asks nobody."""
        ...

    def cost_usd(self, brief: Brief) -> float | None:
        """Return the most that the proposal can cost, which the ledger reserves before it; None when unknown."""
        ...

    def propose(self, brief: Brief) -> Edit:
        """Edit the mutable files in `brief.folder` and say what was done.

        Raises `ProposalFailed` when there is no usable edit, `AgentResting` when the agent may work again later,
        `AgentGone` when a person must do something first.
        """
        ...


class ProposalFailed(AutoresearchError):
    """No usable edit came: a malformed answer, a hang, a refusal, an error of the server."""

    kind = "proposal"

    def __init__(self, message: str, usage: Usage = NOTHING, asi: Mapping[str, str] | None = None) -> None:
        super().__init__(message, "see: autoresearch log")
        self.usage = usage
        self.asi = asi or {}
        """What is noted of the turn all the same."""


class AgentResting(AutoresearchError):
    """A usage limit or an overload: the agent may work again at `until`, seconds since 1970."""

    kind = "resting"

    def __init__(self, message: str, until: float, usage: Usage = NOTHING) -> None:
        super().__init__(message, "wait, or name another agent after a comma: --agent claude,sampler")
        self.until = until
        self.usage = usage


class AgentGone(AutoresearchError):
    """The login has ended, a spending limit is reached, the program is missing: a person must do something."""

    kind = "agent"

    def __init__(self, message: str, fix: str, usage: Usage = NOTHING) -> None:
        super().__init__(message, fix)
        self.usage = usage
