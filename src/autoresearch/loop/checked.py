"""An agent's answer: read as data, checked before it costs a run, and made a commit on top of the incumbent."""

from __future__ import annotations

import math
from typing import Any

from autoresearch.escaping import one_line
from autoresearch.experiments.attempt import commit_message
from autoresearch.experiments.candidate import entries, repeated, same_to_a_run
from autoresearch.experiments.code_fingerprint import fingerprint
from autoresearch.journal.ledger import Usage
from autoresearch.journal.session import Session
from autoresearch.loop.agents.base import Edit
from autoresearch.loop.proposals import graft, plain_asi
from autoresearch.loop.scratch import Refused, Scratch
from autoresearch.loop.validate import problem
from autoresearch.runs.spec import RunContext
from autoresearch.search.families import family_of
from autoresearch.search.ideas import families_of
from autoresearch.system.git_plumbing import commit_tree, files_of


def answer_of(edit: Edit) -> dict[str, Any]:
    """Return side information and usage of an edit as plain data, whatever the agent has put there."""
    usage = edit.usage
    counts = {name: _count(getattr(usage, name)) for name in ("input", "cached", "cache_written", "output")}
    dollars = usage.usd
    known = isinstance(dollars, int | float) and math.isfinite(dollars) and dollars >= 0
    return {
        "asi": plain_asi(edit.asi),
        "usage": {
            "model": str(usage.model),
            **counts,
            "usd": dollars if known else None,
        },
    }


def usage_of(answer: dict[str, Any]) -> Usage:
    """Return the usage that `answer_of` has written."""
    return Usage(**answer["usage"])


def _count(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0


class Checked:
    """The check of one answer; what it has found stays in its fields, also when the answer is refused."""

    def __init__(self, context: RunContext, session: Session, scratch: Scratch, answer: dict[str, Any]) -> None:
        self.context, self.session, self.scratch, self.answer = context, session, scratch, answer
        self.fingerprint: str | None = None
        """Of the proposed code, once it could be read."""
        self.same: int | None = None
        """The experiment that had the same code; 0 for an earlier proposal."""
        self.remarks: tuple[str, ...] = ()

    def commit(self) -> str:
        """Return a new commit of the edit on top of the incumbent that was there when it was asked for; raise `Refused`
        with what is wrong with it."""
        git, task, scratch, session = self.context.git, self.context.task, self.scratch, self.session
        description, asi = self.answer["description"], self.answer["asi"]
        parent = session.find(self.answer["parent"])
        onto = session.find(self.answer.get("incumbent", 0)) or session.incumbent
        assert parent is not None and onto is not None and parent.commit and onto.commit
        taken = scratch.taken()
        self.remarks = taken.remarks
        if not taken.changed:
            more = f" ({'; '.join(taken.remarks)})" if taken.remarks else ""
            self.same = parent.number
            raise Refused(f"nothing has changed in {', '.join(task.files.mutable)}{more}")
        if not description:
            raise Refused("it does not say what it changes: one line is needed")
        made = scratch.tree(taken.changed)
        tree = graft(git, made, scratch.roots, onto.commit, str(scratch.home / "index.commit"))
        before, after = files_of(git, parent.commit, scratch.roots), files_of(git, tree, scratch.roots)
        self.fingerprint = fingerprint(after)
        self._refuse_known(self.fingerprint, tree)
        family = family_of(description, asi, families_of(self.context.workspace))
        if family in session.loop.steering.banned:
            raise Refused(f"it is of the family {family}, which a person has ruled out")
        wrong = problem(before, after, self.context.workspace, task, scratch.top)
        if wrong is not None:
            raise Refused(wrong)
        self.same = None
        return commit_tree(git, tree, onto.commit, commit_message(description, asi))

    def _refuse_known(self, code: str, tree: str) -> None:
        """Refuse a tree whose code was measured, or waits to be; tell whether it was refused before."""
        git, task = self.context.git, self.context.task
        for e in repeated(git, self.session, task, tree, code):
            self.same = e.number
            raise Refused(
                f"this is the code of experiment {e.number} ({e.status}: {e.description}); change something else"
            )
        for p in self.session.waiting_or_skipped(code):
            if p.outcome == "skipped":  # with other comments it is wanted no more
                self.same = 0
                raise Refused(f"this code was skipped ({one_line(p.reason, 120)}); change something else")
            if same_to_a_run(task, entries(git, task, tree), entries(git, task, p.commit)):
                self.same = 0
                raise Refused(f"this code waits to be measured already ({p.description}); change something else")
        if any(p.fingerprint == code and p.commit is None for p in self.session.loop.proposals):
            self.same = 0  # it is judged anew: a person may have changed what it was refused for
