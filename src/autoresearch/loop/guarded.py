"""What may end an agent's work or a run from outside: a limit of time, a signal, a person who says skip."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

from autoresearch.errors import AutoresearchError
from autoresearch.journal.ledger import Usage
from autoresearch.loop.agents.base import ProposalFailed
from autoresearch.runs.spec import Skipped, Tick
from autoresearch.system.process import signals_interrupt as interrupts
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

__all__ = ["Skipped", "at_most", "interrupts", "watch_for_skip"]

GRACE_S = 30.0
"""An agent ends its own work at its limit; only one that does not is ended here."""

LOOK_S = 0.5
"""Seconds between two looks at the journal while a run is made."""


def watch_for_skip(workspace: Workspace, known: int, tick: Tick | None) -> Tick:
    """Return what to call while a run is made: it raises `Skipped` once `skip` was said more than `known` times."""
    looked, check = 0.0, _skip_check(workspace, known)

    def watch(phase: str, seconds: float) -> None:
        nonlocal looked
        if tick is not None:
            tick(phase, seconds)
        if time.monotonic() - looked >= LOOK_S:
            looked = time.monotonic()
            check()

    return watch


def _skip_check(workspace: Workspace, known: int) -> Callable[[], None]:
    """Return what raises `Skipped` when `skip` was said more than `known` times. It reads a journal that has changed:
    to say so adds a line."""
    seen: tuple[int, int, int] | None = None

    def check() -> None:
        nonlocal seen
        with contextlib.suppress(AutoresearchError, OSError):  # a journal that a run has damaged is put back later
            about = workspace.journal.stat()
            state = (about.st_ino, about.st_size, about.st_mtime_ns)
            if state == seen:
                return
            if load_session(workspace).loop.steering.skips > known:
                raise Skipped("a person said: skip")
            seen = state

    return check


@contextlib.contextmanager
def at_most(limit_s: float, workspace: Workspace, known: int) -> Iterator[None]:
    """Raise `ProposalFailed` in what has not ended so many seconds, and some, after it began, and `Skipped` once `skip`
    was said more than `known` times; what it has spent is not known then, and counts as reserved."""
    whole = limit_s + GRACE_S
    until, step, check = time.monotonic() + whole, min(LOOK_S, whole), _skip_check(workspace, known)

    def look(_number: int, _frame: FrameType | None) -> None:
        try:
            if time.monotonic() >= until:
                raise ProposalFailed(f"no answer came in {limit_s:g} s", Usage(usd=None))
            check()
        except BaseException:
            signal.setitimer(signal.ITIMER_REAL, 0)  # another one would come while the agent's processes are ended
            raise

    try:
        before = signal.signal(signal.SIGALRM, look)
    except ValueError:  # not in the main thread, where no signal arrives
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, step, step)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
