"""`selftest`: how often the policy keeps a change that changes nothing, measured in a session of such changes."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoresearch.errors import AutoresearchError, IntegrityError, MachineError, PreconditionError
from autoresearch.experiments.attempt import attempt
from autoresearch.experiments.baseline import baseline
from autoresearch.experiments.recovery import SELFTEST, laboratory, recover
from autoresearch.journal.refs import branch_ref
from autoresearch.journal.session import Session
from autoresearch.runs.spec import Tick
from autoresearch.statistics.rates import interval_of
from autoresearch.system.clock import Clock
from autoresearch.system.files import remove_tree, write_atomic
from autoresearch.system.git import Git
from autoresearch.system.git_plumbing import commit_on
from autoresearch.workspace import init, task_file
from autoresearch.workspace.editable import check_immutable
from autoresearch.workspace.init_options import InitOptions
from autoresearch.workspace.lock import changing_git, lock
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import HELPERS, Workspace


@dataclass(frozen=True, slots=True)
class Rate:
    """How often a policy kept a change that is none."""

    policy: str
    experiments: int
    kept: int
    runs: int
    """All runs of the laboratory, its baseline included."""

    @property
    def interval(self) -> tuple[float, float]:
        """The exact interval of the rate, from 0 to 1."""
        return interval_of(self.kept, self.experiments)

    def as_view(self) -> dict[str, Any]:
        return {"policy": self.policy, "experiments": self.experiments, "false_keeps": self.kept, "runs": self.runs,
                "rate": self.kept / self.experiments if self.experiments else None,
                "interval": list(self.interval) if self.experiments else None}  # fmt: skip


def selftest(
    root: Workspace,
    experiments: int,
    clock: Clock,
    *,
    fresh: bool = False,
    tick: Tick | None = None,
    workers: str = "",
) -> tuple[Rate, Session]:
    """Bring the A/A session of this workspace to `experiments` changes that change nothing; return what was kept.

    The session lies in a workspace of its own, at the incumbent's commit (the branch's, before a baseline), and goes on
    where an earlier call stopped. `workers` names the slots that make the runs. The journal, the branch and the files
    of `root` are not touched.
    """
    again = f"autoresearch selftest -n {experiments}" + (f" --workers {workers}" if workers else "")
    with lock(root):
        outer = Git(root.root)
        session = recover(root, outer, clock()).session
        lab = None if fresh else laboratory(root, outer)
        if fresh:
            remove_tree(root.state / SELFTEST)
        if lab is None:
            lab = _make(root, outer, session, clock())
        elif (lab.root / task_file.NAME).read_text("utf-8") != _without_stops(_task_of(outer, session)):
            raise PreconditionError(
                f"the laboratory has {_decided(load_session(lab))} changes under another {task_file.NAME}",
                f"begin it anew with this one: {again} --fresh",
            )
        check_immutable(lab, load_session(lab), task_file.load(lab.root))
        if load_session(lab).baseline is None:
            with _of_the_laboratory(lab, again):
                baseline(lab, None, clock, tick=tick, workers=workers)
        while (done := _decided(load_session(lab))) < experiments:
            git = Git(lab.root)
            with lock(lab):
                now = recover(lab, git, clock()).session
            incumbent = now.incumbent
            assert incumbent is not None and now.segment.branch is not None
            if git.head() == git.resolve(incumbent.commit or ""):
                with changing_git(lab):  # an empty commit: index and files need not move
                    commit = commit_on(git, git.head() or "", {}, f"nothing, number {now.next_number}")
                    git.update_ref(branch_ref(now.segment.branch), commit)
            with _of_the_laboratory(lab, again):
                attempt(lab, "", {}, clock, same=True, tick=tick, workers=workers)
            if _decided(load_session(lab)) == done:
                failed = load_session(lab).last
                why = f"{failed.outcome}: {failed.reason}" if failed else "no verdict"
                raise PreconditionError(f"a run of the unchanged code failed ({why})", "correct that first")
        ended = load_session(lab)
        return rate(ended, task_file.load(lab.root).keep.policy), ended


@contextlib.contextmanager
def _of_the_laboratory(lab: Workspace, again: str) -> Iterator[None]:
    """Say what to type here where the engine says what to type in the laboratory: what it has is not thrown away."""
    try:
        yield
    except MachineError as error:
        raise MachineError(f"the laboratory was cut short: {error.message}", f"go on with: {again}") from error
    except AutoresearchError as error:
        anew = " --fresh" if isinstance(error, IntegrityError) or not _decided(load_session(lab)) else ""
        raise PreconditionError(f"in the laboratory: {error.message}", f"correct that, then: {again}{anew}") from error


def rate(session: Session, policy: str) -> Rate:
    """Return how often the policy of a session of no changes kept one."""
    kept = sum(e.status == "keep" for e in session.current if e.parent)
    runs = sum(len(e.runs) for e in session.current)
    return Rate(policy, _decided(session), kept, runs)


def _decided(session: Session) -> int:
    return sum(e.status in ("keep", "discard") for e in session.current if e.parent)


def _commit(git: Git, session: Session) -> str:
    """Return the commit whose code a laboratory has."""
    return (session.incumbent.commit if session.incumbent else git.head()) or "HEAD"


def _task_of(git: Git, session: Session) -> str:
    """Return the task file of that commit, which is the one that a new laboratory would have."""
    found = git.reader.read(f"{_commit(git, session)}:{git.prefix}{task_file.NAME}")
    return found.content.decode("utf-8", "replace").replace("\r\n", "\n") if found is not None else ""


def _make(root: Workspace, git: Git, session: Session, now: int) -> Workspace:
    """Make the laboratory: a repository of its own with the incumbent's files, and a session in it."""
    task = task_file.load(root.root)
    building = root.state / f"{SELFTEST}.new"
    remove_tree(building)
    git.export(_commit(git, session), building)
    folder = building / git.prefix
    text = (folder / task_file.NAME).read_text(encoding="utf-8")
    write_atomic(folder / task_file.NAME, _without_stops(text))
    for name in HELPERS:
        if (root.root / name).is_file():
            shutil.copy2(root.root / name, folder / name)
    init.new_repository(building)
    inner = Git(folder)
    inner.commit([os.fspath(p.relative_to(building)) for p in building.rglob("*") if _is_ours(p, building)], "selftest")
    for path in task.files.link:
        if (root.root / path).exists() and not (folder / path).exists():
            (folder / path).unlink(missing_ok=True)  # a link of the commit's that leads to nothing there
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).symlink_to(root.root / path)
    init.init(folder, InitOptions("command", tag=SELFTEST), now)
    building.rename(root.state / SELFTEST)
    made = laboratory(root, git)
    assert made is not None
    return made


def _is_ours(path: Path, top: Path) -> bool:
    inside = path.relative_to(top).parts
    return (path.is_file() or path.is_symlink()) and inside[0] != ".git" and path.name not in HELPERS


def _without_stops(text: str) -> str:
    """Return the task without its stop conditions: they are the session's, not the laboratory's."""
    import tomlkit

    document: Any = tomlkit.parse(text)
    document.pop("stop", None)
    return tomlkit.dumps(document)
