"""The one place where the loop spends: it reserves in the journal before, and settles after."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from autoresearch.journal.ledger import Usage
from autoresearch.journal.loop_events import reserve_line, settle_line
from autoresearch.journal.session import Session
from autoresearch.runs.spec import Account
from autoresearch.system.clock import Clock, steady_clock
from autoresearch.workspace.session_journal import append, load_session
from autoresearch.workspace.workspace import Workspace


class Accounts:
    """Keeps account of a workspace's loop. What is reserved and never settled counts whole, after a kill too."""

    def __init__(self, workspace: Workspace, clock: Clock, steady: Callable[[], float] = steady_clock) -> None:
        self.workspace, self.clock, self.steady = workspace, clock, steady
        self.experiment = 0
        """What runs are made for now."""

    def reserve(self, experiment: int, *, agent: str = "", usd: float | None = 0.0, device_s: float = 0.0) -> str:
        """Write down the most that something may cost, and return the name of that entry."""
        id = f"r{len(load_session(self.workspace).ledger.entries) + 1}"
        line = reserve_line(id, experiment, self.clock(), agent=agent, usd=usd, device_s=device_s)
        append(self.workspace, line)
        return id

    def settle(self, id: str, usage: Usage, device_s: float = 0.0) -> None:
        """Write down what it did cost."""
        append(self.workspace, settle_line(id, usage, round(device_s, 3), self.clock()))

    @contextlib.contextmanager
    def device(self, limit_s: float, experiment: int | None = None) -> Iterator[Account]:
        """Keep account of one run, however it ends: a `Meter`. It is made for `experiment`, or what is measured now."""
        id = self.reserve(self.experiment if experiment is None else experiment, device_s=limit_s)
        began, account = self.steady(), Account()
        try:
            yield account
        finally:
            open_s = self.steady() - began
            self.settle(id, Usage(), open_s if account.took_s is None else min(open_s, account.took_s))


def dollars_left(session: Session, max_session: float | None, max_run: float | None) -> float | None:
    """Return what the caps of the session and of this run of the loop leave, in US dollars; None without a cap."""
    left = []
    if max_session is not None:
        left.append(max_session - session.ledger.cost.usd)
    if max_run is not None:
        spent = session.ledger.since(session.loop.run.entries if session.loop.run else 0)
        left.append(max_run - spent.usd)
    return max(0.0, min(left)) if left else None
