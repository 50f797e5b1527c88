from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from autoresearch.experiments.code_fingerprint import fingerprint
from autoresearch.journal.loop import LoopProposal
from autoresearch.journal.loop_events import proposal_line
from autoresearch.journal.session import Session, replay
from autoresearch.search.measured import Version, measured_points, relative_losses, tried_values
from autoresearch.search.sampler import AT_ONCE, HALF_BOX, SMALLER_EVERY, Change, half_box, propose
from autoresearch.search.space import read_space, values_of

SOURCE = """\
RATE = 0.02  # [0.002, 0.2] log
ROWS = 8  # [2, 64] pow2
SHARE = 0.5  # [0.1, 0.9]
KIND = "a"  # {"a", "b", "c"}
EPS = 0.1  # fixed
print(RATE, ROWS, SHARE, KIND)
"""
NAMES = frozenset({"RATE", "ROWS", "SHARE", "KIND"})


class Told:
    """A session as its journal tells it, with the files of its experiments."""

    def __init__(self, source: str = SOURCE) -> None:
        self.events: list[dict[str, Any]] = [
            {"type": "config", "metricName": "ms", "bestDirection": "lower", "tag": "t", "segment": 0}
        ]
        self.sources: dict[int, str] = {}
        self.incumbent = ""
        self.tell(source, 100.0, status="keep", values=[100.0, 101.0, 102.0], seeds=[1, 2, 3])

    def tell(self, source: str, value: float | None = None, status: str = "discard", **more: Any) -> int:
        number = len(self.sources) + 1
        self.sources[number] = source
        event = {"run": number, "commit": f"c{number}", "parent": self.incumbent, "status": status, "metric": value,
                 "outcome": "ok", "fingerprint": fingerprint({"train.py": source.encode()})}  # fmt: skip
        self.events.append({**event, **more})
        self.incumbent = f"c{number}" if status == "keep" else self.incumbent
        return number

    @property
    def session(self) -> Session:
        return replay(enumerate(self.events, 1))

    def propose_line(self, outcome: str, source: str) -> None:
        """Tell of an agent's proposal: `made`, which waits as the next experiment, or `skipped`."""
        commit = f"c{len(self.sources) + 1}" if outcome == "made" else None
        if commit is not None:
            self.sources[len(self.sources) + 1] = source
        code = fingerprint({"train.py": source.encode()})
        turn = self.session.loop.next_turn
        made = LoopProposal(turn, 1, "a", 1, "improve", outcome, commit=commit, fingerprint=code)
        self.events.append(proposal_line(made, turn))

    def source_of(self, version: Version) -> Mapping[str, bytes]:
        return {"train.py": self.sources[int((version.commit or "")[1:])].encode()}

    @property
    def here(self) -> dict[str, bytes]:
        return {"train.py": self.sources[int(self.incumbent[1:])].encode()}

    def propose(self, seed: int = 0, **more: Any) -> Change | None:
        return propose(self.session, self.here, self.source_of, {}, seed, **more)


def new_source(change: Change | None) -> str:
    assert change is not None
    return change.files["train.py"].decode()


def with_values(**values: object) -> str:
    source = SOURCE
    for name, value in values.items():
        old = {"RATE": "0.02", "ROWS": "8", "SHARE": "0.5", "KIND": '"a"', "EPS": "0.1"}[name]
        source = source.replace(f"{name} = {old}", f"{name} = {value!r}")
    return source


def test_the_same_journal_and_seed_propose_the_same_and_another_seed_does_not() -> None:
    told = Told()
    for rate in (0.01, 0.03, 0.05, 0.07, 0.09, 0.11, 0.013):
        told.tell(with_values(RATE=rate), 100 + 100 * abs(rate - 0.04))
    first = told.propose(3)
    assert first is not None and first.estimated
    assert told.propose(3) == first
    assert len({new_source(told.propose(seed)) for seed in range(4)}) > 1
    told.tell(with_values(RATE=0.0123), 103.0)
    assert told.propose(3) != first


def test_a_proposal_changes_few_constants_by_steps_that_can_be_seen(capfd: pytest.CaptureFixture[str]) -> None:
    told = Told()
    for seed in range(30):
        change = told.propose(seed)
        assert change is not None
        assert 1 <= len(change.steps) <= AT_ONCE
        assert change.description.count(" -> ") == len(change.steps)
        values = values_of(change.files["train.py"], NAMES, {})
        for step in change.steps:
            assert values[step.knob.name] == step.value
            assert 0.03 <= step.length <= HALF_BOX + 0.01 or step.knob.choices
        rate, rows = values["RATE"], values["ROWS"]
        assert 0.02 * 0.24 < float(rate) < 0.02 * 4.1 and rows in (2, 4, 8, 16, 32)
    assert capfd.readouterr() == ("", "")  # nothing of the library's log


def test_no_code_is_proposed_twice_and_the_proposals_of_few_choices_end() -> None:
    told = Told('A = 1  # {1, 2, 4}\nB = True  # {True, False}\nC = "x"  # {"x", "y"}\nD = 0.0\nprint(A, B, C, D)\n')
    seen = {fingerprint(told.here)}
    while (change := told.propose()) is not None:
        code = fingerprint({"train.py": change.files["train.py"]})
        assert code not in seen
        seen.add(code)
        told.tell(new_source(change), 105.0)
    assert len(seen) == 3 * 2 * 2


def test_what_a_machine_failed_may_be_proposed_again() -> None:
    told = Told("A = 1  # {1, 2}\nprint(A)\n")
    told.tell("A = 2\nprint(A)\n", None, "crash", outcome="killed")
    assert new_source(told.propose()).startswith("A = 2")
    told.tell("A = 2  # other words\nprint(A)\n", None, "crash", outcome="oom")
    assert told.propose() is None


def test_an_experiment_that_is_running_is_not_proposed() -> None:
    told = Told("A = 1  # {1, 2}\nprint(A)\n")
    source = "A = 2  # {1, 2}\nprint(A)\n"
    told.sources[2] = source
    code = fingerprint({"train.py": source.encode()})
    told.events.append({"type": "start", "experiment": 2, "commit": "c2", "parent": "c1", "fingerprint": code})
    [_, running] = measured_points(told.session, read_space(told.here, {}), told.here, told.source_of, {})
    assert (running.point, running.state) == ((2,), "running")
    assert told.propose() is None


def test_what_a_person_has_skipped_is_not_proposed_again() -> None:
    told = Told()
    skipped = new_source(told.propose(first=("ROWS",)))
    told.propose_line("skipped", skipped)
    assert new_source(told.propose(first=("ROWS",))) != skipped
    told = Told("A = 1  # {1, 2}\nprint(A)\n")
    told.propose_line("skipped", "A = 2  # {1, 2}\nprint(A)\n")
    assert told.propose() is None


def test_what_waits_to_be_measured_is_a_point_that_runs_and_its_constant_is_not_tried_again() -> None:
    told = Told()
    for rows in ("16", "4"):
        told.propose_line("made", with_values(ROWS=int(rows)))
    points = measured_points(told.session, read_space(told.here, {}), told.here, told.source_of, {})
    assert [(m.experiment, m.point[1], m.state) for m in points] == [
        (1, 8, "valued"), (2, 16, "running"), (3, 4, "running")]  # fmt: skip
    change = told.propose(first=("ROWS", "RATE"))
    assert change is not None and change.opening and [step.knob.name for step in change.steps] == ["RATE"]
    few = Told("A = 1  # {1, 2}\nprint(A)\n")
    few.propose_line("made", "A = 2  # {1, 2}\nprint(A)\n")
    assert few.propose() is None
    start = {"type": "start", "experiment": 2, "commit": "c2", "parent": "c1"}
    few.events.append(start)
    points = measured_points(few.session, read_space(few.here, {}), few.here, few.source_of, {})
    assert [(m.experiment, m.state) for m in points] == [(1, "valued"), (2, "running")], "begun, and told once"


def test_constants_that_are_not_allowed_stay_and_one_that_is_wanted_changes() -> None:
    told = Told()
    for seed in range(10):
        change = told.propose(
            seed, allowed=lambda knob: knob.name in ("ROWS", "KIND"), wanted=lambda knob: knob.name != "KIND"
        )
        assert change is not None and "ROWS" in {step.knob.name for step in change.steps} <= {"ROWS", "KIND"}
    assert told.propose(wanted=lambda _: False) is None
    assert told.propose(allowed=lambda _: False) is None
    assert Told("A = 1\n").propose() is None


def test_only_experiments_with_the_same_program_around_the_constants_count() -> None:
    told = Told()
    told.tell(with_values(RATE=0.03), 99.0)
    told.tell(with_values(RATE=0.03) + "print('more')\n", 90.0)  # another program
    told.tell(with_values(EPS=0.2), 90.0)  # a constant that is not tuned
    told.tell('"""A docstring."""\n' + with_values(ROWS=16).replace("[2, 64] pow2", "other words"), 98.0)
    told.tell(with_values(KIND="c"), None, "crash", outcome="timeout")
    told.tell(with_values(KIND="b"), None, "crash", outcome="killed")
    told.tell(with_values(SHARE=0.7), None, "crash", outcome="tampered")
    points = measured_points(told.session, read_space(told.here, {}), told.here, told.source_of, {})
    assert [(m.experiment, m.state, m.loss) for m in points] == [
        (1, "valued", 0.0),
        (2, "valued", -2.0),  # the baseline's mean is 101
        (5, "valued", -3.0),
        (6, "failed", None),
    ]
    assert points[2].point == (0.02, 16, 0.5, "a")


def test_values_are_compared_with_the_incumbent_of_their_time_in_pairs_of_seeds() -> None:
    told = Told()
    assert relative_losses(told.session) == {1: 0.0}
    told.tell(with_values(RATE=0.03), 101.5, values=[101.0, 102.0], seeds=[2, 3])  # pairs: 0 and 0
    kept = told.tell(with_values(RATE=0.04), 99.0, "keep", values=[98.0, 100.0], seeds=[1, 2])  # -2 and -1
    told.tell(with_values(RATE=0.05), 98.0, values=[98.0], seeds=[9])  # no pair: against the mean
    losses = relative_losses(told.session)
    assert losses == {1: 0.0, 2: 0.0, 3: -1.5, 4: -2.5}
    # A later run of the kept one on a new seed, which no choice has flattered, says more than those that it won by.
    told.events[kept]["screened"] = True
    told.events.append({"type": "repeat", "experiment": kept, "seed": 3, "value": 102.0})
    assert relative_losses(told.session)[3] == 0.0


def test_a_value_of_other_hardware_is_compared_with_what_was_measured_there() -> None:
    told = Told()
    here, there = {"cpu": "here", "cores": 2}, {"cpu": "there", "cores": 2}
    told.events[1]["env"] = here
    told.tell(with_values(RATE=0.03), 50.0, values=[50.0], seeds=[1], env=there)  # nothing to compare it with
    told.tell(with_values(RATE=0.04), 98.0, values=[98.0], seeds=[1], env=here)
    assert relative_losses(told.session) == {1: 0.0, 3: -2.0}
    told.events.append({"type": "repeat", "experiment": 1, "seed": 1, "value": 51.0, "env": there})
    assert relative_losses(told.session) == {1: 0.0, 2: -1.0, 3: -2.0}


def test_the_box_is_halved_without_a_keep_and_whole_again_after_one() -> None:
    told = Told()
    sizes = []
    for count in range(3 * SMALLER_EVERY + 1):
        points = measured_points(told.session, read_space(told.here, {}), told.here, told.source_of, {})
        sizes.append(half_box(told.session, points))
        told.tell(with_values(RATE=0.02 + 0.001 * (count + 1)), 105.0)
    assert [size for size, _ in itertools.groupby(sizes)] == [HALF_BOX, HALF_BOX / 2, HALF_BOX / 4, HALF_BOX]
    told.tell(with_values(RATE=0.0199), 95.0, "keep")
    points = measured_points(told.session, read_space(told.here, {}), told.here, told.source_of, {})
    assert half_box(told.session, points) == HALF_BOX


def test_it_goes_where_values_were_better_and_not_where_runs_failed() -> None:
    told = Told()
    for rate in (0.006, 0.008, 0.011, 0.014, 0.017, 0.024, 0.028, 0.032, 0.036):
        told.tell(with_values(RATE=rate), 100 + 300 * (rate - 0.02))  # the lower the better
    for rate in (0.045, 0.05, 0.055, 0.06):
        told.tell(with_values(RATE=rate), None, "crash", outcome="crash")
    rates = []
    for seed in range(24):
        change = told.propose(seed, allowed=lambda knob: knob.name == "RATE")
        assert change is not None
        rates.append(float(change.steps[0].value))
    assert sum(rate < 0.02 for rate in rates) > 16
    assert sum(rate > 0.04 for rate in rates) < 4


def test_what_was_tried_of_a_knob_is_told_with_its_best_step() -> None:
    told = Told()
    told.tell(with_values(RATE=0.03), 99.0)
    told.tell(with_values(RATE=0.04, ROWS=16), 97.0, "keep")
    told.tell(with_values(RATE=0.04, ROWS=32), 99.0)
    space = read_space(told.here, {})
    rate, rows, share, _ = tried_values(
        told.session, space, measured_points(told.session, space, told.here, told.source_of, {})
    )
    assert (rate.times, rate.best, rate.gain) == (2, 0.04, 4.0)
    assert (rows.times, rows.best, rows.gain) == (2, 16, 4.0)
    assert (share.times, share.best, share.gain) == (0, None, None)


def test_the_constants_that_a_task_names_first_are_moved_alone_and_both_ways_before_any_draw() -> None:
    told, first = Told(), ("ROWS", "RATE", "KIND", "GONE")
    seen: list[dict[str, object]] = []
    for number in range(4):
        change = told.propose(number, first=first)
        assert change is not None and change.opening and len(change.steps) == 1
        seen.append({step.knob.name: step.value for step in change.steps})
        told.tell(new_source(change), 120.0)
    assert sorted(str(each["ROWS"]) for each in seen[:2]) == ["16", "4"]
    rates = sorted(float(str(each["RATE"])) for each in seen[2:])
    assert 0.004 < rates[0] < 0.02 < rates[1] < 0.09
    # KIND has no order, so no step; GONE is no constant: now it draws.
    after = told.propose(9, first=first)
    assert after is not None and not after.opening


def test_the_opening_goes_on_in_the_direction_that_was_kept_and_not_back() -> None:
    told = Told()
    told.tell(with_values(ROWS=16), 90.0, status="keep", values=[90.0, 91.0], seeds=[1, 2])
    on = told.propose(first=("ROWS",))
    assert on is not None and [(step.knob.name, step.value) for step in on.steps] == [("ROWS", 32)]
    told.tell(new_source(on), 120.0)
    after = told.propose(first=("ROWS",))
    assert after is not None and not after.opening


def test_the_opening_leaves_out_what_may_not_change() -> None:
    change = Told().propose(first=("ROWS", "RATE"), allowed=lambda knob: knob.name != "ROWS")
    assert change is not None and [step.knob.name for step in change.steps] == ["RATE"]


def test_a_step_ends_at_the_edge_of_its_range_and_there_is_none_beyond() -> None:
    told = Told(SOURCE.replace("ROWS = 8", "ROWS = 64").replace("SHARE = 0.5", "SHARE = 0.9"))
    told_steps = [told.propose(seed, first=("ROWS", "SHARE")) for seed in range(4)]
    assert {str(change.steps[0]) for change in told_steps if change is not None} == {"ROWS 64 -> 32"}
    told.tell(new_source(told_steps[0]), 120.0)
    change = told.propose(first=("ROWS", "SHARE"))
    assert change is not None and change.steps[0].knob.name == "SHARE" and float(change.steps[0].value) < 0.9
