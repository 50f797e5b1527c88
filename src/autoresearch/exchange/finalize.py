"""`finalize`: the kept changes as a stack of branches for review, each on the one below it.

They are made of git objects alone: checkout, index, stash and HEAD stay as they are, and nothing is pushed. The files
of the last branch are the incumbent's, without what `ablate` has found to hurt; that stack is no experiment, so it is
measured first. The same session makes the same commits.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

from autoresearch.errors import PreconditionError, UsageError
from autoresearch.exchange import stack_message
from autoresearch.experiments.preflight import FETCH
from autoresearch.journal.experiment import Experiment
from autoresearch.journal.refs import branch_ref, final_branch, final_folder
from autoresearch.journal.session import Session
from autoresearch.journal.study import FINALIZE, Study
from autoresearch.reports import summary
from autoresearch.reports.overview import families_of, task_of
from autoresearch.runs.spec import Tick
from autoresearch.search.families import family_of
from autoresearch.studies.ablate import Entry, undo_all
from autoresearch.studies.confirm import confirm_stack
from autoresearch.system.clock import Clock
from autoresearch.system.git import Git, git_at
from autoresearch.system.git_plumbing import commit_on
from autoresearch.workspace.lock import changing_git, lock
from autoresearch.workspace.session_journal import how_to_begin, load_session
from autoresearch.workspace.workspace import Workspace

By = Literal["keep", "family"]
LeaveOut = Literal["hurts", "unclear", "nothing"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a person has chosen of a stack, by the names of the options."""

    by: By = "keep"
    leave_out: LeaveOut = "hurts"
    name: str | None = None
    seeds: int | None = None
    """How many fresh ones, where the stack is measured."""

    @property
    def command(self) -> str:
        """What makes this stack, as it is typed."""
        words = ["autoresearch", "finalize", "--apply"]
        for option in fields(self):
            value = getattr(self, option.name)
            words += [f"--{option.name.replace('_', '-')}", str(value)] if value != option.default else []
        return shlex.join(words)

    @property
    def all_of_them(self) -> str:
        """What to type where the stack without some changes is none."""
        return f"with every kept change: {replace(self, leave_out='nothing', seeds=None).command}"


@dataclass(frozen=True, slots=True)
class Branch:
    """One branch of the stack."""

    name: str
    experiments: tuple[int, ...]
    subject: str
    gains: tuple[str, ...]
    """What each experiment brought, with its error, as text."""
    files: tuple[str, ...]
    """What changes, relative to the top of the repository."""
    commit: str
    there: bool
    """Whether the branch is there already, at this very commit."""


@dataclass(frozen=True, slots=True)
class Stack:
    """What `finalize` makes, or would make."""

    base: Experiment
    tip: Experiment
    """The incumbent."""
    branches: tuple[Branch, ...]
    left_out: tuple[tuple[int, str], ...]
    """Experiment and why."""
    measured: Study | None
    """Of the stack without them; None where nothing is left out, or while it was not measured."""
    remarks: tuple[str, ...] = ()

    @property
    def without(self) -> tuple[int, ...]:
        return tuple(n for n, _ in self.left_out)

    @property
    def unmeasured(self) -> bool:
        """Whether nobody knows yet what the last branch is worth."""
        return bool(self.left_out) and self.measured is None


def finalize(
    root: Workspace, clock: Clock, chosen: Chosen, *, apply: bool = False, tick: Tick | None = None
) -> tuple[Stack, Session]:
    """Return the stack of branches, and make it with `apply`.

    Raises `PreconditionError` when there is nothing to make a stack of, when a branch of the stack's name is there and
    differs, and when the stack without what was left out is not better than the baseline.
    """
    git, session = git_at(root.root), load_session(root)
    stack = planned(root, git, session, chosen)
    if not apply:
        return stack, session
    _refuse_others(git, session, stack, chosen)
    if stack.unmeasured:
        commit = _without(git, session, stack.without, chosen)
        again, instead = chosen.command, chosen.all_of_them
        _, session = confirm_stack(root, commit, stack.without, chosen.seeds, clock, again, instead, tick=tick)
    with lock(root):
        session = load_session(root)
        stack = planned(root, git, session, chosen)
        _refuse_others(git, session, stack, chosen)
        if stack.measured is not None and not stack.measured.result.get("holds"):
            low, high = stack.measured.result["interval"]
            raise PreconditionError(
                f"the stack without {_list(stack.without)} is not better than the baseline beyond its noise "
                f"(95 % interval {low:+.4g} to {high:+.4g})",
                chosen.all_of_them,
            )
        new = [branch for branch in stack.branches if not branch.there]
        if new:
            with changing_git(root):  # all of them or none
                lines = "".join(f"create {branch_ref(branch.name)} {branch.commit}\n" for branch in new)
                git.run("update-ref", "-m", "autoresearch finalize", "--stdin", input=lines.encode())
    return stack, session


def planned(root: Workspace, git: Git, session: Session, chosen: Chosen) -> Stack:
    """Return the stack; its commits are in the repository then, and no ref names them."""
    folder, by = _folder(git, session, chosen.name), chosen.by
    kept = _kept(git, session)
    base, tip = kept[0], kept[-1]
    left, remarks = _left_out(session, chosen.leave_out)
    out = {n for n, _ in left}
    if out and out >= {e.number for e in kept[1:]}:
        raise PreconditionError("without what does not pay nothing is left of the stack", chosen.all_of_them)
    families = families_of(task_of(root))
    named = {e.number: family_of(e.description, e.asi, families) for e in kept}
    measured = _measured(git, session, [*out], chosen)
    groups = _groups([e for e in kept[1:] if e.number not in out], named if by == "family" else {})
    branches: list[Branch] = []
    members: list[Experiment] = []
    here, below = base.commit or "", set[int]()
    for group in groups:
        last = group is groups[-1]
        members += group
        below |= {e.number for e in group}
        # A kept change alone is there as it was measured; otherwise what is not there yet is taken out of the last one.
        top = tip if last or by == "family" else group[0]
        entries = _entries(git, here, top, [e for e in kept[1:] if e.number not in below and e.number <= top.number])
        numbers = _list([e.number for e in group])
        if isinstance(entries, str):
            assert not last, "`_measured` has left the same out of the same commit"
            remarks.append(f"{numbers} is in one commit with what follows: {entries}")
            continue
        if not entries and not last:
            remarks.append(f"{numbers} changes nothing here")
            members = members[: -len(group)]
            continue
        of = {named[e.number] for e in members}
        subject = stack_message.subject_of(members, of.pop() if len(of) == 1 else "several families")
        ending = _ending(session, tip, measured, sorted(out)) if last else []
        text = stack_message.message_of(session, members, subject, out, ending)
        here = commit_on(git, here, entries, text)
        branch = final_branch(folder, len(branches) + 1, _slug(subject) or f"experiment-{members[-1].number}")
        gains = tuple(stack_message.gain_of(session, e)["step_text"] for e in members)
        there = git.resolve(branch_ref(branch)) == here
        branches.append(
            Branch(branch, tuple(e.number for e in members), subject, gains, tuple(sorted(entries)), here, there)
        )
        members = []
    return Stack(base, tip, tuple(branches), tuple(left), measured, tuple(remarks))


def _groups(kept: Sequence[Experiment], named: Mapping[int, str]) -> list[list[Experiment]]:
    """Return each kept change by itself; or, where families are named, those of each family, by its first one."""
    groups: dict[object, list[Experiment]] = {}
    for e in kept:
        groups.setdefault(named.get(e.number, e.number), []).append(e)
    return [*groups.values()]


def _kept(git: Git, session: Session) -> list[Experiment]:
    """Return the kept experiments of the segment in force, the baseline first, with the full names of their commits."""
    if session.segment.branch is None:
        raise PreconditionError("no session was begun here", f"begin one with: {how_to_begin(session)}")
    kept = [e._replace(commit=git.resolve(e.commit or "")) for e in session.current if e.status == "keep"]
    if len(kept) < 2:
        raise PreconditionError("nothing was kept since the baseline", "there is nothing to make branches of yet")
    gone = [e.number for e in kept if e.commit is None]
    if gone:
        more = f" and {len(gone) - 5} more" if len(gone) > 5 else ""
        raise PreconditionError(
            f"the commits of experiments {_list(gone[:5])}{more} are gone from the repository", FETCH
        )
    return kept


def _left_out(session: Session, what: LeaveOut) -> tuple[list[tuple[int, str]], list[str]]:
    """Return what is left out, each with why, and what to say of an `ablate` that is missing or old."""
    found, incumbent = summary.ablation(session), session.incumbent
    if what == "nothing":
        return [], []
    if found is None or incumbent is None:
        return [], ["which changes pay is not known: autoresearch ablate"]
    if found["incumbent"] != incumbent.number:
        return [], [f"the last ablate was of experiment {found['incumbent']}: autoresearch ablate"]
    verdicts = ("hurts",) if what == "hurts" else ("hurts", "unclear")
    single = [change for change in found["changes"] if len(change["without"]) == 1]
    left = [(c["without"][0], stack_message.ablation_words(session, c["without"][0])) for c in single
            if c["verdict"] in verdicts]  # fmt: skip
    return left, []


def _measured(git: Git, session: Session, without: Sequence[int], chosen: Chosen) -> Study | None:
    """Return the finished study of the stack without these experiments, if there is one."""
    if not without:
        return None
    tree = git.reader.read(f"{_without(git, session, sorted(without), chosen)}^{{tree}}")
    return next(
        (s for s in reversed(session.studies)
         if s.what == FINALIZE and s.outcome == "done" and tree is not None and s.about.get("tree") == tree.name),
        None,
    )  # fmt: skip


def _without(git: Git, session: Session, numbers: Sequence[int], chosen: Chosen) -> str:
    """Return a commit of the incumbent without some kept changes, the same whenever it is made."""
    kept = _kept(git, session)
    tip = kept[-1]
    entries = undo_all(git, tip.commit or "", [e for e in kept if e.number in numbers])
    if isinstance(entries, str):
        what = f"{_list(numbers)} cannot be left out of experiment {tip.number}"
        raise PreconditionError(f"{what}: {entries}", chosen.all_of_them)
    return commit_on(git, tip.commit or "", entries, f"experiment {tip.number} without {_list(numbers)}")


def _entries(git: Git, here: str, e: Experiment, undo: Sequence[Experiment]) -> dict[str, Entry | None] | str:
    """Return what leads from the commit `here` to an experiment without some changes, or what is in the way."""
    commit = e.commit or ""
    undone = undo_all(git, commit, undo)
    if isinstance(undone, str):
        return undone
    paths = sorted({*git.changed(here, commit), *undone})
    there, before = ((git.entries_of(c, paths) if paths else {}) for c in (commit, here))
    wanted = {path: undone[path] if path in undone else there.get(path) for path in paths}
    return {path: entry for path, entry in wanted.items() if entry != before.get(path)}


def _ending(session: Session, tip: Experiment, measured: Study | None, without: Sequence[int]) -> list[str]:
    """Return what the message of the last commit says of the whole stack."""
    if measured is not None:
        return stack_message.stack_words(session, measured.result, measured.split, without)
    return [] if without else stack_message.confirmed_words(session, tip.number)


def _folder(git: Git, session: Session, name: str | None) -> str:
    """Return the name of the stack: the session's, or a given one, which git must know how to spell."""
    folder = name or session.segment.tag or "session"
    if git.process(["check-ref-format", f"{final_folder(folder)}/1"]).returncode:
        raise UsageError(f"{folder!r} cannot be part of a branch name", "use letters, digits, - and _")
    return folder


def _refuse_others(git: Git, session: Session, stack: Stack, chosen: Chosen) -> None:
    """Raise `PreconditionError` when a branch is in the way: one of the stack's name at another commit, or any other
    in its folder."""
    folder = _folder(git, session, chosen.name)
    ours = {branch_ref(branch.name): branch.commit for branch in stack.branches}
    there = git.targets(final_folder(folder))
    # Without its measurement the last commit has another message than it will have: then only its name counts.
    wrong = [ref for ref, commit in there.items() if stack.unmeasured or ours.get(ref) != commit]
    parents = final_folder(folder).split("/")
    wrong += [ref for n in range(3, len(parents)) if git.resolve(ref := "/".join(parents[:n])) and ref not in wrong]
    if wrong:
        what = wrong[0].removeprefix(branch_ref(""))
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        way = _elsewhere(git, session, what, chosen)
        raise PreconditionError(f"the branch {what}{more} exists, and is not of this stack", way)


def _elsewhere(git: Git, session: Session, what: str, chosen: Chosen) -> str:
    """Return how a stack is made all the same where a branch is in its way."""
    if "/" not in what:
        return f"rename it: git branch -m {what} my-{what}"
    tag = session.segment.tag or "session"
    names = (f"{tag}-{n}" for n in range(2, 10_000))
    free = next(name for name in names if not git.targets(final_folder(name)))
    return f"make this one under another name: {replace(chosen, name=free).command}"


def _slug(text: str) -> str:
    """Return a few words of a text in letters, digits and dashes."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-")


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
