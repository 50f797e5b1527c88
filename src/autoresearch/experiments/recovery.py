"""Finish what a kill interrupted, from what the journal says. Every command that changes something begins with it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autoresearch.errors import AutoresearchError, IntegrityError, MachineError
from autoresearch.experiments.evidence import gather
from autoresearch.journal.events import RunDetails, run_line, study_end_line
from autoresearch.journal.fields import Event
from autoresearch.journal.refs import branch_ref, mirror_ref, ref_of
from autoresearch.journal.session import Experiment, Session
from autoresearch.journal.study import AA
from autoresearch.runs.isolation import journal_backup
from autoresearch.runs.slot import half_made
from autoresearch.statistics.decision import next_step
from autoresearch.system.clock import Clock
from autoresearch.system.files import read_plain, remove_tree
from autoresearch.system.git import Git, git_at
from autoresearch.workspace.journal_mirror import keep_up, lost_lines, mirror_of, missing_verdict, whole_lines
from autoresearch.workspace.lock import changing_git, check_still_there, in_use
from autoresearch.workspace.orphans import end_run
from autoresearch.workspace.session_journal import append, load_session
from autoresearch.workspace.task_file import rules_of
from autoresearch.workspace.workspace import Workspace

SELFTEST = "selftest"
"""The folder of the A/A session, and the tag of it."""

GIT_LOCKS = ("index.lock", "HEAD.lock", "packed-refs.lock")


@dataclass(frozen=True, slots=True)
class Recovered:
    """The session after the recovery, and what was done, a sentence each."""

    session: Session
    done: tuple[str, ...]
    lost: IntegrityError | None = None
    """That the journal has lost lines which its mirror has: nothing may be measured before they are back."""


def recover(workspace: Workspace, git: Git, now: int) -> Recovered:
    """Bring journal, branch and folders in line; the caller holds the workspace lock.

    An experiment with a `start` and no verdict was interrupted: nothing was decided, so it is recorded as `killed` with
    whatever was measured, and the branch goes back to its parent. A verdict whose git move is missing gets it. Where
    the journal has lost lines, journal and branch stay as they are.
    """
    done: list[str] = []
    free = _end_orphans(workspace, done)
    lab = laboratory(workspace, git)
    if lab is not None:  # it is repaired by the next selftest; only what runs there must not go on
        _end_orphans(lab, done)
    git_was_killed = _unlock(workspace, git, free, done)
    remove_tree(workspace.scratch)
    session = load_session(workspace)
    mirror = mirror_of(git, session)
    content = whole_lines(workspace)
    relation = mirror.relation(git, content) if mirror is not None else None
    if mirror is not None and relation == "shorter":  # behind a line of ours the lost ones could not come back
        return Recovered(session, tuple(done), lost_lines(git, mirror, content, session.segment.tag))
    interrupted = session.unfinished
    if interrupted is not None:
        append(workspace, killed(workspace, session, interrupted, now, "interrupted before its verdict"))
        session = load_session(workspace)
        again = f"autoresearch try --again {interrupted.number}" if interrupted.parent else "autoresearch baseline"
        again = session.loop.again if interrupted.commit in session.loop.commits else again
        done.append(f"experiment {interrupted.number} was interrupted; nothing was decided. Measure it with: {again}")
    ended = end_study(workspace, session, now)
    if ended is not None:
        done.append(ended)
        session = load_session(workspace)
    if interrupted is not None or ended is not None:
        content = whole_lines(workspace)
    if relation == "differs" or missing_verdict(content, mirror):
        done += keep_up(workspace, git, session)
    if session.last is not None:
        done += apply_verdict(workspace, git, session, session.last, after_kill=git_was_killed)
    if git_was_killed:
        done += _take_back_proposal(workspace, git, session)
        # Only now: until here, a kill leaves the same to do again.
        workspace.git_marker.unlink(missing_ok=True)
    return Recovered(session, tuple(done))


def _take_back_proposal(workspace: Workspace, git: Git, session: Session) -> list[str]:
    """Undo what a killed git has done of putting an agent's proposal on the branch; the loop puts it there again."""
    proposed, incumbent, branch = session.proposed, session.incumbent, session.segment.branch
    if proposed is None or incumbent is None or branch is None:
        return []
    if any(e.commit == proposed.commit for e in session.current):
        return []  # it was measured: a verdict, or an interruption, has moved the branch
    commit, tip = git.resolve(proposed.commit or ""), git.resolve(incumbent.commit or "")
    if commit is None or tip is None or git.parents(commit) != [tip] or git.head() not in (commit, tip):
        return []
    with changing_git(workspace):
        if git.head() == tip:  # git moves the branch last; from its commit on, the way back is the one that is known
            git.update_ref(branch_ref(branch), commit, tip)
        left = git.go_back(branch, commit, tip, after_kill=True)
    return [f"kept your later edits of {', '.join(left)}"] if left else []


def laboratory(workspace: Workspace, git: Git) -> Workspace | None:
    """Return the workspace of `selftest` inside this one, if there is one."""
    lab = Workspace(workspace.state / SELFTEST / git.prefix)
    return lab if lab.journal.is_file() else None


def end_study(workspace: Workspace, session: Session, now: int) -> str | None:
    """Write the line after a study that was interrupted; return what to say of it, or None when there is none."""
    study = session.study
    if study is None:
        return None
    runs = sum(map(len, study.runs.values()))
    if study.what == "replicate" and runs:  # its one run is in the journal, only the line after it is not
        append(workspace, study_end_line(study.number, "done", {}, now))
        return None
    append(workspace, study_end_line(study.number, "interrupted", {"runs": runs}, now))
    if study.what == AA:
        return "an A/A candidate was interrupted; the loop makes another one"
    return f"{study.what} was interrupted; {runs} of its runs are kept. Go on with: {study.same_again}"


def apply_verdict(
    workspace: Workspace, git: Git, session: Session, experiment: Experiment, *, after_kill: bool = False
) -> list[str]:
    """Do what git still owes to a verdict: the ref that keeps the commit, and the way back unless it was kept.

    Safe to call again. Returns a sentence for each thing that was done and that a person should know.
    """
    commit, branch = experiment.commit and git.resolve(experiment.commit), session.segment.branch
    if commit is None or branch is None or experiment.started is None:
        return []  # a line that another tool wrote: its git is its own
    ref = ref_of(session, experiment.number)
    kept = git.resolve(ref) == commit
    stays = experiment.status == "keep" or not experiment.parent or git.resolve(branch_ref(branch)) != commit
    if kept and stays:
        return []
    left: list[str] = []
    with changing_git(workspace):
        if not kept:
            git.update_ref(ref, commit)
        if not stays:
            left = git.go_back(branch, commit, experiment.parent or "", after_kill=after_kill)
    if not left:
        return []
    return [f"kept your later edits of {', '.join(left)}; they began from the change that was taken back"]


def killed(workspace: Workspace, session: Session, experiment: Experiment, now: int, reason: str) -> Event:
    """Return the `run` line of an experiment that the machine or a person ended: no decision, no value. The looks at
    what was measured are paid for all the same."""
    values = _measured(workspace, experiment)
    details: RunDetails = {
        "outcome": "killed",
        "reason": reason,
        "values": list(values.values()),
        "seeds": list(values),
        "screened": experiment.parent is not None and len(values) > 1,
        "parent": experiment.parent,
    }
    if alpha := _spent(workspace, session, experiment, values):
        details["alpha"] = alpha
    return run_line(
        experiment.number,
        (experiment.commit or "")[:7],
        None,
        {},
        "crash",
        experiment.description,
        experiment.segment,
        experiment.asi,
        now,
        details=details,
    )


def _spent(workspace: Workspace, session: Session, experiment: Experiment, values: Mapping[int, float]) -> float:
    """Return what the looks at an unfinished experiment have spent. A pair that was complete counts as looked at: a
    kill does not tell whether it came before that or after."""
    rules, incumbent = rules_of(workspace.root), session.incumbent
    if rules is None or incumbent is None or experiment.parent is None or len(values) < 2:
        return 0.0
    evidence = gather(session, incumbent, values, now=experiment.number, hardware=session.hardware)
    return next_step(evidence, replace(rules, seeds=experiment.pairs or rules.seeds)).alpha


@contextlib.contextmanager
def interruptible(root: Workspace, git: Git, number: int, clock: Clock) -> Iterator[None]:
    """Record an experiment as killed when the machine or a person ends it between `start` and verdict.

    Raises `MachineError` then, or `PreconditionError` when the folder is another one by now: nothing is recorded.
    """
    try:
        yield
    except BaseException as error:
        check_still_there(root)  # or what is repaired would be somebody else's
        by_hand = isinstance(error, KeyboardInterrupt)
        reason = str(error) or "interrupted by a signal" if by_hand else f"the machine failed: {error}"
        message = f"experiment {number} was cut short, {reason}; nothing was decided"
        try:
            session = load_session(root)
            experiment = session.unfinished
            if experiment is not None and experiment.number == number:
                append(root, killed(root, session, experiment, clock(), reason))
            session = recover(root, git, clock()).session
            recovered = session.find(number)
        except (OSError, AutoresearchError):
            raise MachineError(message, "when the machine is well again: autoresearch resume") from error
        if recovered is not None and recovered.outcome != "killed":
            message = f"interrupted after the verdict on experiment {number}: {recovered.status}"
            raise MachineError(message, f"see: autoresearch show {number}") from error
        if by_hand or isinstance(error, MachineError | OSError):
            first = recovered is None or recovered.parent is None
            again = "autoresearch baseline" if first else f"autoresearch try --again {number}"
            if recovered is not None and recovered.commit in session.loop.commits:
                again = session.loop.again
            raise MachineError(message, f"measure it with: {again}") from error
        raise


def _measured(workspace: Workspace, experiment: Experiment) -> dict[int, float]:
    """Return the values of the runs that were complete when the experiment was interrupted, the screening run first."""
    values = {}
    disturbed = {(run.seed, run.value) for run in experiment.runs if run.purpose == "disturbed"}
    folder = workspace.run_dir(experiment.number, 0).parent
    for path in folder.glob("*/result.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
            result = json.loads(read_plain(path))
            if not isinstance(result, dict) or result["outcome"] != "ok" or result["value"] is None:
                continue  # a run without a value, or what the command itself has written there
            seed, value = int(result["seed"]), float(result["value"])
            if result["commit"] == experiment.commit and (seed, value) not in disturbed and math.isfinite(value):
                values[seed] = value
    return dict(sorted(values.items()))


def _end_orphans(workspace: Workspace, done: list[str]) -> list[Workspace]:
    """End the processes of the runs whose engine is gone, and return the slots in which none goes on. A loop that lives
    may have runs in others meanwhile."""
    there: set[str] = set()
    with contextlib.suppress(FileNotFoundError), os.scandir(workspace.state) as listing:
        there = {entry.name for entry in listing}
    free = [here for here in workspace.in_slots if not in_use(here)]
    for here in free:
        left = end_run(here) if here.running.name in there else None
        if left is None:
            continue
        about, count = left
        if count:
            done.append(f"ended {count} process{'es' if count > 1 else ''} that the interrupted run left")
        with contextlib.suppress(OSError, KeyError, TypeError, ValueError):
            message = journal_backup.restored(workspace, git_at(workspace.root), about)
            done += [message] if message else []
        remove_tree(here.scratch)
        here.running.unlink(missing_ok=True)
    return free


def _unlock(workspace: Workspace, git: Git, free: Sequence[Workspace], done: list[str]) -> bool:
    """Remove the locks of a git command of ours that was killed, and return whether one may have been. In `free` slots
    nothing is measured.

    The marker is there exactly while the engine changes the repository; a lock without it, or older, is somebody
    else's. A git that outlived its engine, at work in the repository or on a snapshot, is waited for.
    """
    marker = workspace.git_marker
    if not marker.exists() and not any(half_made(here.slot) for here in free):
        return False
    for _ in range(50):
        if not _git_at_work(git):
            break
        time.sleep(0.1)
    else:
        return False
    if not marker.exists():
        return False
    session = load_session(workspace)
    refs = [branch_ref(session.segment.branch or ""), ref_of(session, session.next_number - 1),
            mirror_ref(session.segment.tag)]  # fmt: skip
    for name in (*GIT_LOCKS, *(f"{ref}.lock" for ref in refs)):
        lock = git.path_of(name)
        with contextlib.suppress(OSError):
            if lock.exists() and lock.stat().st_mtime >= marker.stat().st_mtime:
                lock.unlink()
                done.append(f"removed {name}, left by a git command that was killed")
    return True


def _git_at_work(git: Git) -> bool:
    import psutil

    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            if process.info["name"] != "git" or not Path(process.cwd()).is_relative_to(git.top):
                continue
            if os.getpid() not in {each.pid for each in process.parents()}:  # ours only waits for questions
                return True
    return False
