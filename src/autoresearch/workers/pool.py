"""The engine's side of a back-end: what is waited for, what was begun ahead, and who holds the lease of each run.

The engine asks for one run after another, whatever is made at once: so it decides with several slots as it does with
one. What it will probably ask for next is begun ahead in slots that are free. A run is leased to an attempt; when its
worker is lost, when the machine failed it, or when it does not answer in time, it is leased once more, and only the
attempt that has the lease counts.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace

from autoresearch.errors import AutoresearchError
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import Account, RunSpec, Tick
from autoresearch.workers.base import Attempt, Ended, Workers
from autoresearch.workers.board import Board

ATTEMPTS = 2
"""How often a run is made whose worker is lost; what the code itself does wrong is a result, and made once."""

GRACE_S = 300.0
"""Seconds beyond its limits after which an attempt is given up: snapshots and a start on a busy machine take time."""

WAIT_S = 0.2
"""Seconds between two looks at a skip or a signal while a run is waited for."""

GAP_S = 5.0
"""Two looks that are so much further apart than they should be: the machine or this process stood still, and so may the
workers have, or the engine did something else, and what has ended meanwhile may not have come through yet. The leases
last longer by that."""

RunMeter = Callable[[RunSpec], AbstractContextManager[Account]]
"""Held while an attempt at a run is made, by whoever keeps account of the device."""

Key = tuple[str, int, int, str, str]
"""Commit, experiment, seed, split, folder."""


@dataclass(slots=True)
class _Lease:
    spec: RunSpec
    attempt: str
    """The id of the attempt that has it."""
    begun: float
    until: float
    """By this process's steady clock."""
    number: int
    """Of the attempt; the first is 1."""
    account: Account
    kept: ExitStack
    """Keeps account of its time while it is open."""


class Pool:
    """Runs in the slots of a back-end: the `Slots` of a `RunContext`."""

    def __init__(
        self,
        workers: Workers,
        limit_s: float,
        *,
        meter: RunMeter = lambda spec: nullcontext(Account()),
        tick: Tick | None = None,
        board: Board | None = None,
    ) -> None:
        """`limit_s` is what one run may take; `meter` keeps account of each attempt, `tick` is told how long it takes,
        and `board` shows them."""
        self.workers, self.limit_s, self.meter, self.tick = workers, limit_s, meter, tick
        self.board = board
        self._behind: dict[Key, RunSpec] = {}
        """What is made in slots that nothing else needs, and stays wanted whatever the engine asks for."""
        self._waiting: dict[Key, RunSpec] = {}
        """What is to be begun when a slot is free, in this order."""
        self._tried: dict[Key, int] = {}
        """How many attempts at what waits were lost."""
        self._leased: dict[Key, _Lease] = {}
        self._looked = time.monotonic()
        self._shown: object = None
        self._done: dict[Key, Measurement | AutoresearchError] = {}
        """What has ended and was not asked for yet."""

    def env(self) -> Mapping[str, object]:
        return self.workers.env()

    def spare(self) -> Collection[int]:
        return self.workers.spare()

    def behind(self, specs: Sequence[RunSpec]) -> None:
        """Make these, in this order, in slots that are free, and keep what comes out until it is asked for. What else
        was begun and not asked for is given up."""
        self._behind = {_key(spec): spec for spec in specs}
        self.ahead([])

    def close(self) -> None:
        """Give up everything."""
        self.behind([])

    def ahead(self, specs: Sequence[RunSpec]) -> None:
        wanted = {_key(spec): spec for spec in specs} | self._behind
        self._give_up([key for key in self._leased if key not in wanted])
        self._done = {key: made for key, made in self._done.items() if key in wanted}
        self._tried = {key: tries for key, tries in self._tried.items() if key in wanted}
        begun = self._leased.keys() | self._done
        self._waiting = {key: spec for key, spec in wanted.items() if key not in begun}
        self._fill()

    def measure(self, spec: RunSpec) -> Measurement:
        key = _key(spec)
        if key not in self._leased and key not in self._done:
            self._waiting = {key: spec, **self._waiting}
        while key not in self._done:
            self._fill()
            self._look(key)
        self._behind.pop(key, None)
        made = self._done.pop(key)
        self._fill()
        if isinstance(made, AutoresearchError):
            raise made
        return made

    def drop(self) -> None:
        self.ahead([])

    def _fill(self) -> None:
        """Begin what waits, as far as slots are free."""
        while self._waiting and len(self._leased) < self.workers.slots:
            key = next(iter(self._waiting))
            self._lease(self._waiting.pop(key), self._tried.pop(key, 0) + 1)
        self._show()

    def _show(self) -> None:
        """Let `status` see the slots, when they have changed."""
        leases = [(lease.spec, lease.begun, lease.number) for lease in self._leased.values()]
        shown = (self.workers.slots, leases, len(self._waiting))
        if self.board is not None and shown != self._shown:
            self._shown = shown
            if leases or self._waiting:
                self.board.show(*shown)
            else:
                self.board.remove()

    def _lease(self, spec: RunSpec, number: int) -> None:
        kept = ExitStack()
        account = kept.enter_context(self.meter(spec))
        now = time.monotonic()
        lease = _Lease(spec, uuid.uuid4().hex, now, now + self.limit_s + GRACE_S, number, account, kept)
        self._leased[_key(spec)] = lease
        try:
            self.workers.submit(Attempt(lease.attempt, spec))
        except BaseException:  # also when a signal came while it was started: then it has been
            self._give_up([_key(spec)])
            raise

    def _look(self, key: Key) -> None:
        """Take what has ended, and give up what does not answer; say that a run is waited for."""
        ended = self.workers.poll(WAIT_S)
        now = time.monotonic()
        if now - self._looked > WAIT_S + GAP_S:
            for lease in self._leased.values():
                lease.until += now - max(self._looked, lease.begun)
        self._looked = now
        for each in ended:
            self._take(each)
        for late, lease in [*self._leased.items()]:
            if now > lease.until:
                self.workers.cancel([lease.attempt])
                self._lost(late, f"no answer came in {self.limit_s + GRACE_S:g} s")
        if self.tick is not None and key in self._leased:
            count = len(self._leased)
            self.tick("train" if count == 1 else f"{count} runs at once", now - self._leased[key].begun)

    def _take(self, ended: Ended) -> None:
        """Take in how an attempt has ended, if it has a lease; the late answer of an earlier one counts for nothing."""
        key = next((key for key, lease in self._leased.items() if lease.attempt == ended.id), None)
        if key is None:
            return
        self._leased[key].account.took_s = ended.took_s
        if ended.lost:
            self._lost(key, ended.lost)
        elif ended.measurement is not None and ended.measurement.outcome == "killed":
            self._lost(key, ended.measurement.reason, ended.measurement)
        elif ended.measurement is not None:
            self._end(key, self._apart(ended.measurement, ended.beside))
        else:
            self._end(key, ended.error)

    def _apart(self, made: Measurement, others: int | None) -> Measurement:
        """Leave out of the load that a run has met what the runs in other slots of its machine have made of it, about
        as much each as it has itself: they are no strangers, and held to other cores. Whether they made it slower its
        pace tells."""
        if made.load is None or made.cpu_s is None or not made.seconds:
            return made
        beside = (len(self._leased) - 1 if others is None else others) * made.cpu_s / made.seconds
        return replace(made, load=max(0.0, made.load - beside))

    def _lost(self, key: Key, why: str, made: Measurement | None = None) -> None:
        """Lease a run once more whose attempt was lost, as soon as a slot is free: its own may be lost, too. Or end it
        as killed: then nothing is decided."""
        lease = self._leased[key]
        if lease.number < ATTEMPTS:
            self._close(self._leased.pop(key))
            self._tried[key] = lease.number
            self._waiting = {key: lease.spec, **self._waiting}
            self._fill()
        else:
            self._end(key, made or Measurement("killed", reason=f"the machine failed it {lease.number} times: {why}"))

    def _end(self, key: Key, made: Measurement | AutoresearchError | None) -> None:
        self._close(self._leased.pop(key))
        assert made is not None
        self._done[key] = made

    def _give_up(self, keys: Sequence[Key]) -> None:
        given_up = [self._leased.pop(key) for key in keys]
        try:
            self.workers.cancel([lease.attempt for lease in given_up])
        finally:
            for lease in given_up:
                self._close(lease)

    def _close(self, lease: _Lease) -> None:
        """Take account of an attempt that is over."""
        lease.kept.close()
        if self.board is not None:
            open_s, took_s = time.monotonic() - lease.begun, lease.account.took_s
            self.board.busy_s += open_s if took_s is None else min(open_s, took_s)


def _key(spec: RunSpec) -> Key:
    return (spec.commit, spec.experiment, spec.seed, spec.split, str(spec.folder))
