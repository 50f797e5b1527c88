"""The engine's side of the slots: what is begun ahead, who holds a lease, and which answers count."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

from autoresearch.errors import IntegrityError, MachineError
from autoresearch.journal import file as journal
from autoresearch.journal.events import config_line
from autoresearch.loop.ledger import Accounts
from autoresearch.metrics import Metric
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import Account, RunSpec
from autoresearch.workers import pool as pool_module
from autoresearch.workers.base import Attempt, Ended
from autoresearch.workers.board import Board, workers_view
from autoresearch.workers.messages import answer, read_answer
from autoresearch.workers.pool import Pool
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace


def spec(seed: int, experiment: int = 1) -> RunSpec:
    return RunSpec("c" * 40, experiment, seed, Path("/runs") / str(seed))


class Machines:
    """A back-end whose attempts end when, and as, a test says."""

    def __init__(self, slots: int = 2) -> None:
        self.slots = slots
        self.begun: list[Attempt] = []
        self.cancelled: list[str] = []
        self.gone: list[str] = []
        self.ending: list[list[Ended]] = []
        """What each call of `poll` gives; when there is no more, the oldest attempt ends with its seed as its value."""

    @property
    def working(self) -> list[Attempt]:
        return [each for each in self.begun if each.id not in self.cancelled + self.gone]

    def env(self) -> Mapping[str, object]:
        return {"cpu": "a slot", "cores": 1}

    def spare(self) -> frozenset[int]:
        return frozenset()

    def submit(self, attempt: Attempt) -> None:
        assert len(self.working) < self.slots, "no slot was free"
        self.begun.append(attempt)

    def poll(self, wait_s: float) -> list[Ended]:
        if self.ending:
            ended = self.ending.pop(0)
        else:
            oldest = self.working[0]
            ended = [Ended(oldest.id, Measurement("ok", float(oldest.spec.seed)))]
        self.gone += [each.id for each in ended]
        return ended

    def cancel(self, ids: Collection[str]) -> None:
        self.cancelled += ids


@pytest.fixture
def two() -> Machines:
    return Machines(2)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The steady clock of the pool."""
    clock = Clock()
    monkeypatch.setattr(pool_module.time, "monotonic", lambda: clock.now)
    return clock


def seeds(attempts: list[Attempt]) -> list[int]:
    return [each.spec.seed for each in attempts]


def test_what_is_begun_ahead_fills_the_slots_in_order_and_is_not_made_twice(two: Machines) -> None:
    pool = Pool(two, 60.0)
    pool.ahead([spec(1), spec(2), spec(3)])
    assert seeds(two.begun) == [1, 2]
    assert [pool.measure(spec(seed)).value for seed in (1, 2, 3)] == [1.0, 2.0, 3.0]
    assert seeds(two.begun) == [1, 2, 3] and two.working == []


def test_a_result_that_came_early_is_kept_until_it_is_asked_for(two: Machines) -> None:
    pool = Pool(two, 60.0)
    pool.ahead([spec(1), spec(2)])
    two.ending = [[Ended(two.begun[1].id, Measurement("ok", 22.0))], []]
    assert pool.measure(spec(1)).value == 1.0 and pool.measure(spec(2)).value == 22.0


def test_what_is_not_wanted_any_more_is_ended_and_its_slot_is_free(two: Machines) -> None:
    pool = Pool(two, 60.0)
    pool.ahead([spec(1), spec(2)])
    pool.ahead([spec(2), spec(3)])
    assert two.cancelled == [two.begun[0].id] and seeds(two.working) == [2, 3]
    pool.drop()
    assert two.working == [] and pool.measure(spec(2)).value == 2.0 and seeds(two.begun) == [1, 2, 3, 2]


def test_what_is_made_behind_stays_wanted_and_comes_after_what_is_asked_for(two: Machines) -> None:
    pool = Pool(two, 60.0)
    pool.behind([spec(7), spec(8), spec(9)])
    pool.ahead([spec(1)])
    assert seeds(two.working) == [7, 8], "what was begun is not ended for it"
    pool.drop()
    assert [pool.measure(spec(seed)).value for seed in (1, 8)] == [1.0, 8.0]
    assert seeds(two.begun) == [7, 8, 1, 9], "the one that is asked for is begun before the rest of them"
    assert pool.measure(spec(7)).value == 7.0 and pool.measure(spec(7)).value == 7.0
    assert seeds(two.begun) == [7, 8, 1, 9, 7], "once it was asked for it is not wanted any more"
    pool.behind([spec(8)])
    assert seeds(two.working) == [8]
    pool.close()
    assert two.working == []


def test_what_is_lost_with_its_slot_waits_for_another_one() -> None:
    class Shrinking(Machines):
        def poll(self, wait_s: float) -> list[Ended]:
            if self.slots == 1:
                return super().poll(wait_s)
            self.slots = 1
            self.gone.append(self.begun[0].id)
            return [Ended(self.begun[0].id, lost="its machine is gone")]

    machines = Shrinking(2)
    pool = Pool(machines, 60.0)
    pool.ahead([spec(1), spec(2)])
    assert pool.measure(spec(1)).value == 1.0 and seeds(machines.begun) == [1, 2, 1]
    assert pool.measure(spec(2)).value == 2.0 and len(machines.begun) == 3


def test_a_run_whose_worker_is_lost_is_leased_once_more_and_then_undecided(two: Machines) -> None:
    pool = Pool(two, 60.0)
    pool.ahead([spec(1), spec(2)])
    two.ending = [[Ended(two.begun[0].id, lost="its worker died")]]
    assert pool.measure(spec(1)).value == 1.0 and seeds(two.begun) == [1, 2, 1]

    class Deadly(Machines):
        def poll(self, wait_s: float) -> list[Ended]:
            return [Ended(self.begun[-1].id, lost="its worker died")]

        def submit(self, attempt: Attempt) -> None:
            self.begun.append(attempt)

    deadly = Deadly(1)
    made = Pool(deadly, 60.0).measure(spec(5))
    assert (made.outcome, made.value) == ("killed", None) and "2 times: its worker died" in made.reason
    assert len(deadly.begun) == 2


def test_what_the_machine_has_killed_is_made_again_and_what_the_code_has_done_is_not(two: Machines) -> None:
    pool = Pool(two, 60.0)
    pool.ahead([spec(1), spec(2)])
    killed, crash = (Measurement(outcome, reason="why") for outcome in ("killed", "crash"))
    two.ending = [[Ended(two.begun[0].id, killed), Ended(two.begun[1].id, crash)]]
    assert pool.measure(spec(2)) is crash and pool.measure(spec(1)).value == 1.0
    assert seeds(two.begun) == [1, 2, 1]


def test_only_the_attempt_with_the_lease_counts(clock: Clock) -> None:
    """The first does not answer in time; its answer comes all the same, after the run was leased to another."""

    class Slow(Machines):
        def poll(self, wait_s: float) -> list[Ended]:
            clock.now += pool_module.GAP_S
            return super().poll(wait_s)

    slow = Slow(2)
    pool = Pool(slow, 60.0)
    pool.ahead([spec(1)])
    late = Ended(slow.begun[0].id, Measurement("ok", -99.0))
    slow.ending = [*([[]] * int((60.0 + pool_module.GRACE_S) / pool_module.GAP_S + 1)), [late]]
    assert pool.measure(spec(1)).value == 1.0
    assert slow.cancelled == [late.id] and seeds(slow.begun) == [1, 1]
    slow.ending = [[late]]
    assert pool.measure(spec(1)).value == 1.0, "and a later run of the same is another attempt"


def test_an_answer_that_comes_through_after_the_engine_did_something_else_is_not_late(
    two: Machines, clock: Clock
) -> None:
    """What has ended meanwhile comes one after the other: a pipe holds 64 KiB, and files come home before an answer."""
    pool = Pool(two, 60.0)
    pool.ahead([spec(1), spec(2)])
    first, second = (Ended(each.id, Measurement("ok", 10.0 * each.spec.seed)) for each in two.begun)
    two.ending = [[first], [], [second]]
    clock.now += 60.0 + pool_module.GRACE_S + 1
    assert (pool.measure(spec(1)).value, pool.measure(spec(2)).value) == (10.0, 20.0)
    assert two.cancelled == [] and len(two.begun) == 2


def test_a_machine_that_stood_still_makes_no_lease_run_out(clock: Clock) -> None:
    class Suspended(Machines):
        def poll(self, wait_s: float) -> list[Ended]:
            clock.now += 3600.0
            return super().poll(wait_s)

    suspended = Suspended(1)
    suspended.ending = [[], []]
    assert Pool(suspended, 60.0).measure(spec(1)).value == 1.0
    assert suspended.cancelled == [] and len(suspended.begun) == 1


def test_an_error_of_a_worker_is_raised_where_its_run_is_asked_for(two: Machines) -> None:
    pool = Pool(two, 60.0)
    pool.ahead([spec(1), spec(2)])
    two.ending = [[Ended(two.begun[1].id, error=IntegrityError("changed", "look"))]]
    assert pool.measure(spec(1)).value == 1.0
    with pytest.raises(IntegrityError, match="changed"):
        pool.measure(spec(2))


def test_the_runs_in_other_slots_are_no_strangers_in_the_load_that_a_run_has_met(two: Machines) -> None:
    pool = Pool(two, 60.0)
    pool.ahead([spec(1), spec(2)])
    busy = Measurement("ok", 1.0, seconds=60.0, cpu_s=45.0, load=2.5)
    two.ending = [[Ended(two.begun[0].id, busy)], [Ended(two.begun[1].id, busy)]]
    assert pool.measure(spec(1)).load == 2.5 - 0.75, "one beside it, which took as much"
    assert pool.measure(spec(2)).load == 2.5, "and then none"


def test_every_attempt_has_its_account_and_closes_it_however_it_ends(two: Machines) -> None:
    account: list[str] = []

    @contextlib.contextmanager
    def meter(spec: RunSpec) -> Iterator[Account]:
        account.append("reserve")
        try:
            yield Account()
        finally:
            account.append("settle")

    pool = Pool(two, 60.0, meter=meter)
    pool.ahead([spec(1), spec(2), spec(3)])
    two.ending = [[Ended(two.begun[0].id, lost="its worker died")]]
    pool.measure(spec(1))
    assert account.count("reserve") == len(two.begun) == 4
    pool.drop()
    assert account.count("settle") == account.count("reserve")


def test_a_run_that_ended_while_an_agent_proposed_costs_what_its_worker_took(
    two: Machines, clock: Clock, tmp_path: Path
) -> None:
    workspace, board = Workspace(tmp_path), Board(Workspace(tmp_path))
    workspace.state.mkdir()
    journal.append(workspace.journal, config_line(0, "lab", Metric("ms", "lower"), 1))
    accounts = Accounts(workspace, lambda: 1, lambda: clock.now)
    pool = Pool(two, 60.0, meter=lambda spec: accounts.device(60.0, spec.experiment), board=board)
    pool.behind([spec(1), spec(2)])
    clock.now += 300.0  # of an agent; nobody asks the workers meanwhile
    told = read_answer(two.begun[0].id, answer(two.begun[0].id, Measurement("ok", 1.0), 12.5))
    assert told is not None
    two.ending = [[told], [Ended(two.begun[1].id, lost="its worker died")]]
    assert pool.measure(spec(1)).value == 1.0
    assert load_session(workspace).ledger.cost.device_s == 12.5 + 60.0 and board.busy_s == 12.5
    pool.measure(spec(2))
    assert load_session(workspace).ledger.cost.device_s == 312.5, "what is not known counts as long as it may have been"


def test_an_attempt_that_cannot_be_started_leaves_no_lease_and_no_account(two: Machines) -> None:
    class Full(Machines):
        def submit(self, attempt: Attempt) -> None:
            raise MachineError("no more processes", "see: autoresearch doctor")

    pool = Pool(Full(1), 60.0)
    for _ in range(2):
        with pytest.raises(MachineError, match="no more processes"):
            pool.measure(spec(1))


def test_how_busy_the_slots_are_is_known_from_the_first_moment_on(two: Machines, clock: Clock, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.state.mkdir()
    pool = Pool(two, 60.0, board=Board(workspace))
    pool.ahead([spec(1)])
    clock.now += 0.01
    view = workers_view(workspace)
    assert view is not None and (view["slots"], view["utilisation"], view["leases"][0]["seed"]) == (2, 0.5, 1)
