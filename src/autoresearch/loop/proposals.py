"""One proposal: where it starts, what the agent is told, and how its edit becomes a commit on top of the incumbent."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autoresearch.escaping import one_line
from autoresearch.journal.session import Experiment, Session
from autoresearch.loop.agents.base import PROPOSAL_S, Brief
from autoresearch.loop.scratch import Scratch
from autoresearch.search import ideas as backlog
from autoresearch.search import strategies
from autoresearch.search.families import Families, family_of
from autoresearch.search.history import yields
from autoresearch.search.strategies import Proposal
from autoresearch.system.git import Git
from autoresearch.system.git_plumbing import changed_between
from autoresearch.workspace.notes import section
from autoresearch.workspace.task_file import TaskFile, within
from autoresearch.workspace.workspace import Workspace

IDEAS = 5
MESSAGES = 5
"""Of what a person has said, the last ones: an agent remembers nothing, so each is told again."""

FORCED = 2
"""Proposals in a row of code that was known already, from which on another family of changes is asked for."""

REPLACED = 3
"""The same, from which on another agent has the turn."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a turn starts and what it is to try."""

    turn: int
    experiment: int
    """The number that its experiment will have."""
    parent: Experiment
    proposal: Proposal
    incumbent: int
    """What the edit will be on top of, unless something is kept meanwhile."""


def plan(session: Session, strategy: str, families: Families) -> Plan:
    """Return what the strategy asks for, as a person steers it; raise as `strategies.propose` and `parent_of` do."""
    steering = session.loop.steering
    proposed = strategies.propose(session, strategy, families)
    allowed = tuple(family for family in proposed.families if family not in steering.banned)
    proposed = replace(proposed, families=allowed)
    if steering.asked:
        proposed = replace(proposed, families=(steering.asked,), reason=f"{proposed.reason}; a person asks for it")
    elif session.loop.repeated >= FORCED:
        proposed = _elsewhere(session, proposed, families)
    parent = strategies.parent_of(session, proposed)
    number, best = session.next_number + len(session.waiting), session.incumbent or parent
    return Plan(session.loop.next_turn, number, parent, proposed, best.number)


def _elsewhere(session: Session, proposed: Proposal, families: Families) -> Proposal:
    """Return a proposal of other families than those of the proposals that were known code."""
    known = session.loop.repeats
    stuck = {family_of(p.description, p.asi, families) for p in known} | {*session.loop.steering.banned}
    tried = {y.family: y.tried for y in yields(session, families)}
    others = sorted((f for f in families if f not in stuck), key=lambda f: tried.get(f, 0))[:4]
    reason = f"the last {len(known)} proposals were code that is known already; another family of changes"
    return replace(proposed, mode="diversify", families=tuple(others), reason=reason)


def brief_of(
    workspace: Workspace, session: Session, task: TaskFile, scratch: Scratch, plan: Plan, *,
    repair: str = "", seed: int = 0, limit_s: float = PROPOSAL_S, limit_usd: float | None = None,
) -> Brief:  # fmt: skip
    """Return what an agent is told of its turn."""
    steering, proposal = session.loop.steering, plan.proposal
    families = backlog.families_of(workspace)
    ideas = strategies.fitting(proposal, backlog.read(workspace, families), IDEAS)
    dice = random.Random(f"{session.segment.tag}:{session.segment.number}:{plan.turn}:{bool(repair)}:{seed}")
    return Brief(
        folder=scratch.folder,
        session=session,
        task=task,
        parent=plan.parent.number,
        mode=proposal.mode,
        reason=proposal.reason,
        families=proposal.families,
        banned=steering.banned,
        goal=steering.goal or " ".join(section(workspace, "Goal", 400)),
        messages=tuple(message.text for message in session.mailbox.messages[-MESSAGES:]),
        ideas=tuple(one_line(idea.text, 300) for idea in ideas),
        repair=repair,
        seed=dice.getrandbits(32),
        limit_s=limit_s,
        limit_usd=limit_usd,
    )


def graft(git: Git, tree: str, roots: Sequence[str], onto: str, index: str) -> str:
    """Return the tree of commit `onto` with what `tree` has under `roots` in the place of its own.

    Submodules stay those of `onto`: only their own repositories can change them. `index` is a file to work with.
    """
    made, between = git.reader.read(f"{tree}^{{tree}}"), changed_between(git, onto, tree)
    # An edit of the incumbent differs from it under `roots` alone: then its tree is the answer, and nothing is written.
    if made is not None and between is not None and all(_is_edit(change, tuple(roots)) for change in between):
        return made.name
    env = {"GIT_INDEX_FILE": index}
    git.run("read-tree", onto, env=env)
    listed = git.run("ls-tree", "-r", "-z", "--full-tree", tree, "--", *roots).stdout.split(b"\0")
    ours = git.run("ls-files", "-s", "-z", "--", *roots, env=env).stdout.split(b"\0")
    old = [entry.partition(b"\t")[2] for entry in ours if entry and not entry.startswith(b"160000 ")]
    new = [entry for entry in listed if entry and not entry.startswith(b"160000 ")]
    git.run("update-index", "--force-remove", "-z", "--stdin", input=b"".join(e + b"\0" for e in old), env=env)
    git.run("update-index", "--replace", "-z", "--index-info", input=b"".join(e + b"\0" for e in new), env=env)
    return git.run("write-tree", env=env).stdout.decode().strip()


def _is_edit(change: tuple[str, str | None, str | None], roots: tuple[str, ...]) -> bool:
    """Whether a change of (path, old mode, new mode) is one under `roots` and of no submodule."""
    path, *modes = change
    return within(path, roots) and not any(mode is not None and mode.startswith("16") for mode in modes)


def plain_asi(asi: Mapping[str, Any]) -> dict[str, str]:
    """Return side information as an agent may give it: a bounded number of bounded texts."""
    listed = [*asi.items()][:20] if isinstance(asi, Mapping) else []
    return {one_line(str(key), 60): one_line(str(value), 1000) for key, value in listed}
