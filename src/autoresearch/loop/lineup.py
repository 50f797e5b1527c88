"""Several candidates at once: proposals that wait are screened in free slots, and decided on one after the other.

Verdicts come in the order of the proposals, each against the incumbent of that moment, so there is one keep for each
incumbent. What waits when a change is kept is applied to the new incumbent and measured afresh, as a new commit with
new runs: what it gained over the old one says nothing about the new one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from autoresearch.escaping import one_line
from autoresearch.experiments.candidate import repeated
from autoresearch.experiments.code_fingerprint import fingerprint, syntax_error
from autoresearch.experiments.decide import SCREENING_SEED
from autoresearch.journal.loop import LoopProposal
from autoresearch.journal.loop_events import proposal_line
from autoresearch.journal.session import Session
from autoresearch.loop.ledger import Accounts
from autoresearch.loop.place import take_off_branch
from autoresearch.runs.spec import RunContext
from autoresearch.studies.ablate import carried
from autoresearch.system.clock import Clock
from autoresearch.system.git import Git
from autoresearch.system.git_plumbing import commit_on, files_of
from autoresearch.workers.choice import pool_of
from autoresearch.workers.pool import Pool
from autoresearch.workspace.editable import mutable_paths
from autoresearch.workspace.lock import changing_git, lock
from autoresearch.workspace.session_journal import append, load_session
from autoresearch.workspace.task_file import load
from autoresearch.workspace.workspace import Workspace


class LineUp:
    """The slots of one `run`, and the proposals that wait for them; without `--workers` there is none."""

    def __init__(self, workspace: Workspace, workers: str, accounts: Accounts, say: Callable[[str], None]) -> None:
        """`workers` is what `--workers` names; raises as `pool_of` does."""
        self.workspace, self.accounts, self.say = workspace, accounts, say
        self.pool: Pool | None = None
        self._begun: tuple[object, ...] = ()
        """What waited, and for which incumbent, when it was begun."""
        self._fits: set[tuple[str | None, str | None]] = set()
        """Incumbent and proposal, as commits, where nothing had to be brought."""
        if workers:
            task = load(workspace.root)
            limit_s = task.run.limit_s
            self.pool = pool_of(workspace, task, workers, lambda spec: accounts.device(limit_s, spec.experiment), None)

    @property
    def width(self) -> int:
        """How many proposals may wait at once."""
        return self.pool.workers.slots if self.pool is not None else 1

    @property
    def asked(self) -> Pool | str:
        """What the runs of an experiment are made with."""
        return self.pool or ""

    def close(self) -> None:
        if self.pool is not None:
            self.pool.close()

    def to_begin(self, session: Session) -> bool:
        """Whether anything waits that was not brought onto this incumbent and begun, as far as slots are free."""
        return self.pool is not None and bool(session.waiting) and _about(session) != self._begun

    def begin(self, context: RunContext, clock: Clock, most: int | None) -> Session:
        """Bring what waits onto the incumbent, and begin the first runs of so many where slots are free, None for all;
        return the session."""
        assert self.pool is not None
        session = load_session(self.workspace)
        for proposal in session.waiting:
            fit = (session.incumbent.commit if session.incumbent is not None else None, proposal.commit)
            if proposal.skips < session.loop.steering.skips or fit in self._fits:
                continue
            if not self.bring(context, session, proposal, clock):
                self._fits.add(fit)
        session = load_session(self.workspace)
        incumbent = session.incumbent
        tip = incumbent and context.git.resolve(incumbent.commit or "")
        tried = {e.commit for e in session.experiments}
        specs = [
            context.spec(p.commit, session.next_number + n, SCREENING_SEED, parent=tip)
            for n, p in enumerate(session.waiting[:most])
            if p.commit is not None and p.commit not in tried and p.skips >= session.loop.steering.skips
        ]
        self.pool.tick = None
        self.pool.behind(specs)
        self._begun = _about(session)
        return session

    def bring(self, context: RunContext, session: Session, proposal: LoopProposal, clock: Clock) -> bool:
        """Apply a proposal to the incumbent where it was made for an earlier one; say so, or why that is impossible.

        Returns whether it was: it has another commit then, or none.
        """
        git, incumbent = context.git, session.incumbent
        commit = git.resolve(proposal.commit or "")
        tip = git.resolve(incumbent.commit or "") if incumbent is not None else None
        if commit is None or tip is None or incumbent is None:
            return False  # whoever measures it says what is wrong
        base = git.parents(commit)[0]
        if base == tip:
            return False
        made = _applied(context, session, proposal, base, commit, tip)
        take_off_branch(context, proposal)
        if made.commit is None:
            self.say(f"    {proposal.agent}, turn {proposal.turn}: refused ({proposal.description}): {made.reason}")
        else:
            self.say(f"    {proposal.agent}, turn {proposal.turn}: applied to experiment {incumbent.number}")
        append(self.workspace, proposal_line(made, clock()))
        return True


def _about(session: Session) -> tuple[object, ...]:
    incumbent = session.incumbent
    commits = tuple(p.commit for p in session.waiting)
    return (commits, incumbent and incumbent.number, session.next_number, session.loop.steering.skips)


def _applied(
    context: RunContext, session: Session, proposal: LoopProposal, base: str, commit: str, tip: str
) -> LoopProposal:
    """Return the proposal with a commit on `tip`, or refused."""
    git, incumbent = context.git, session.incumbent
    assert incumbent is not None

    def refused(why: str) -> LoopProposal:
        reason = f"experiment {incumbent.number} was kept meanwhile, and {why}"
        return replace(proposal, outcome="refused", commit=None, reason=one_line(reason, 400), remarks=())

    files = carried(git, tip, [(base, commit, "it")])
    if isinstance(files, str):
        return refused(f"it cannot be applied to that: {files}")
    if not files:
        return refused("has this change already")
    for path, entry in files.items():
        if entry is not None and entry[0].startswith("100"):
            problem = syntax_error(path, _content(git, entry[1]))
            if problem:
                return refused(f"what came of both does not parse: {problem}")
    with lock(context.workspace), changing_git(context.workspace):
        message = git.text("log", "-1", "--format=%B", commit).strip()
        again = commit_on(git, tip, files, f"{message}\n\non experiment {incumbent.number}\n")
    code = fingerprint(files_of(git, again, mutable_paths(git, context.task)))
    for e in repeated(git, session, context.task, again, code):
        return replace(refused(f"with that it is the code of experiment {e.number}"), fingerprint=code, same=e.number)
    return replace(proposal, commit=again, fingerprint=code)


def _content(git: Git, name: str) -> bytes:
    found = git.reader.read(name)
    return found.content if found is not None else b""
