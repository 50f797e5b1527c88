"""The time of a session: what a run takes, what is left, and that the last minutes are kept for `confirm`."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from lab import INIT, Lab, Maker, Repo

from autoresearch.experiments.pace import confirming, duration_words, run_seconds
from autoresearch.experiments.stop import still_to_do, stop_reason
from autoresearch.journal.session import Session, replay
from autoresearch.reports.time_left import running_words, time_view, time_words
from autoresearch.system import clock
from autoresearch.workspace.task_file import Stop, load

BEGUN = 1_000_000
HALF_AN_HOUR = Stop(max_hours=0.5)


def experiment(number: int, start: int, end: int, status: str, values: list[float], parent: str | None) -> list[Any]:
    """An experiment that lasted from `start` to `end`, in seconds since the session began."""
    return [
        {"type": "start", "experiment": number, "commit": f"c{number}", "parent": parent, "seed": 1,
         "description": "x", "asi": {}, "fingerprint": f"f{number}", "timestamp": BEGUN + start},
        {"run": number, "commit": f"c{number}", "parent": parent, "status": status, "metric": values[-1],
         "values": values, "seeds": [*range(1, len(values) + 1)], "screened": parent is not None and len(values) > 1,
         "description": "x", "timestamp": BEGUN + end},
    ]  # fmt: skip


def session(*more: Any, gain: bool = True) -> Session:
    """Runs of 30 s: a baseline of three, a discard of one, and with `gain` a keep of two between the incumbent's."""
    events = [{"type": "config", "metricName": "ms", "bestDirection": "lower", "tag": "t", "segment": 0}]
    events += experiment(1, 0, 90, "keep", [99.0, 100.0, 101.0], None)
    events += experiment(2, 100, 130, "discard", [103.0], "c1")
    events += experiment(3, 200, 290, "keep", [90.0, 91.0], "c1") if gain else []
    return replay(enumerate([*events, *more], 1))


def test_a_run_takes_what_the_experiments_took_whose_runs_were_all_their_own() -> None:
    assert run_seconds(session()) == 30
    assert run_seconds(replay([])) is None


def test_the_last_minutes_are_kept_for_the_confirmation_of_a_gain() -> None:
    now = session()
    owed = confirming(now, 0.5)
    assert owed is not None and (owed.seeds, owed.seconds) == (3, 180), "a tenth of the time, two runs for each seed"
    end = BEGUN + 1800
    assert stop_reason(HALF_AN_HOUR, now, end - 211) is None
    assert stop_reason(HALF_AN_HOUR, now, end - 209) == "3 min are left of 30 min, and confirm takes about 3 min"
    assert still_to_do(HALF_AN_HOUR, now, end - 209) == "autoresearch confirm --seeds 3"
    assert still_to_do(HALF_AN_HOUR, now, end - 211) is None
    assert stop_reason(Stop(max_hours=0.5, time_for_confirm=False), now, end - 209) is None


def test_nothing_is_kept_without_a_gain_nor_for_one_that_was_confirmed() -> None:
    end = BEGUN + 1800
    assert stop_reason(HALF_AN_HOUR, session(gain=False), end - 209) is None
    study = {"type": "study", "study": 1, "what": "confirm", "about": {"baseline": 1, "best": 3, "seeds": [9]},
             "split": "search", "timestamp": BEGUN + 400}  # fmt: skip
    begun = session(study)
    assert stop_reason(HALF_AN_HOUR, begun, end - 209) is not None, "it was not ended"
    done = session(study, {"type": "study_end", "study": 1, "outcome": "done", "result": {}, "timestamp": BEGUN + 500})
    assert stop_reason(HALF_AN_HOUR, done, end - 209) is None
    assert stop_reason(HALF_AN_HOUR, done, end - 29) == "29 s are left of 30 min, and a run takes about 30 s"


def test_many_runs_fit_so_the_confirmation_has_all_its_seeds_and_few_still_two() -> None:
    assert [owed.seeds for hours in (8, 0.01) if (owed := confirming(session(), hours))] == [7, 2]


def test_what_is_left_is_told_in_words() -> None:
    view = time_view(HALF_AN_HOUR, session(), BEGUN + 600)
    assert view is not None and view["left_s"] == 1200
    assert time_words(view) == "20 min left of 30 min; a run takes about 30 s, confirm about 3 min"
    assert time_view(Stop(), session(), BEGUN + 600) is None
    assert [duration_words(s) for s in (27, 119, 120, 7199, 7200)] == ["27 s", "119 s", "2 min", "120 min", "2.0 h"]


def test_init_takes_the_minutes_that_a_session_may_last(repo: Repo) -> None:
    assert repo.call(*INIT, "--minutes", "90", "--goal", "below 50 ms").code == 0
    assert load(repo.root).stop.max_hours == 1.5
    assert repo.call("status", "--json").json["time"] is None, "it has not begun"
    assert repo.call(*INIT, "--minutes", "0").code == 2


@pytest.mark.parametrize("turn", [None, {}, {"what": 3, "run": 1}, {"run": 1}, {"what": "x", "run": "1"}, "x", [1],
                                  {"what": "x", "run": 1, "most": 2, "run_s": "long"},
                                  {"what": "x", "run": 1, "no": 2}])  # fmt: skip
def test_what_a_run_says_of_itself_is_not_trusted_to_be_readable(turn: Any) -> None:
    assert running_words({"experiment": 4, "seed": 2, "since": 0, "turn": turn}, 9.0) == "experiment 4, seed 2"


def test_a_run_that_takes_longer_than_all_that_were_expected_says_so_and_not_that_it_is_about_to_end() -> None:
    turn = {"what": "experiment 4: seed 1", "run": 1, "most": 3, "run_s": 2.0}
    running = {"experiment": 4, "seed": 1, "since": 100, "turn": turn}
    assert running_words(running, 104.0) == "experiment 4: seed 1, run 1 of at most 3, at most 2 s left"
    told = running_words(running, 137.0)
    assert told == "experiment 4: seed 1, run 1 of at most 3, 37 s so far, where a run took 2 s"


@pytest.mark.slow
def test_every_command_says_the_same_when_only_the_confirmation_is_left(
    make_lab: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab: Lab = make_lab(stop={"max_hours": 2})
    begun = lab.session.current[0].started
    assert begun is not None
    minutes = itertools.count()
    monkeypatch.setattr(clock, "wall_clock", lambda: begun + 60 * next(minutes))
    assert lab.call("status").out.count("left of 2.0 h") == 1
    lab.prints(50)
    kept = lab.call("try", "-m", "a gain")
    assert "KEEP" in kept.out and "time   " in kept.out and "confirm about" in kept.out
    lab.prints(97)
    assert lab.call("try", "-m", "a discard of one run").code == 0
    owed = confirming(lab.session, 2)
    assert owed is not None
    at = begun + 7200 - round(owed.seconds)
    monkeypatch.setattr(clock, "wall_clock", lambda: at)
    lab.prints(40)
    before = lab.events()
    refused = lab.call("try", "-m", "too late", "--json")
    assert refused.code == 6 and "confirm takes about" in refused.json["error"]["message"]
    assert refused.json["error"]["fix"] == f"take the honest number now: {owed.command}"
    assert lab.call("next").code == 6 and lab.events() == before
    assert {lab.call(word, "--json").json["next"] for word in ("status", "resume")} == {owed.command}
    lab.git("checkout", "-q", "--", "src")
    done = lab.call(*owed.command.split()[1:])
    assert done.code == 0, done
    lab.prints(40)
    assert lab.call("try", "-m", "now there is time again").code == 0


def begun(split: str, outcome: str, *, number: int = 1, seeds: list[int], **runs: dict[int, float]) -> list[Any]:
    """Return the lines of a `confirm` of the best, with the runs of each commit that it has made."""
    about = {"baseline": 1, "best": 3, "seeds": seeds}
    first = {"type": "study", "study": number, "what": "confirm", "about": about, "split": split,
             "again": f"autoresearch confirm --seeds {len(seeds)}", "timestamp": BEGUN + 400}  # fmt: skip
    made = [
        {"type": "study_run", "study": number, "commit": commit, "seed": seed, "value": value, "timestamp": BEGUN}
        for commit, values in runs.items()
        for seed, value in values.items()
    ]
    end = {"type": "study_end", "study": number, "outcome": outcome, "result": {}, "timestamp": BEGUN + 500}
    return [first, *made, end]


def test_what_is_owed_goes_on_with_a_confirmation_that_was_interrupted_and_asks_for_no_other_read() -> None:
    cut = begun("locked", "interrupted", seeds=[7, 8, 9, 10, 11], c1={7: 100.0, 8: 101.0}, c3={7: 90.0})
    owed = confirming(session(*cut), 0.5)
    assert owed is not None and owed.command == "autoresearch confirm --seeds 5"
    assert owed.seconds == 30 * (10 - 3), "what is left of it"


def test_where_the_reads_of_the_locked_split_are_spent_the_search_split_is_owed() -> None:
    same = begun("locked", "failed", seeds=[7, 8], c1={7: 100.0, 8: 100.0}, c3={7: 90.0, 8: 90.0})
    owed = confirming(session(*same), 0.5)
    assert owed is not None and owed.command == "autoresearch confirm --seeds 3 --split search"
    apart = begun("locked", "failed", seeds=[7, 8], c1={7: 100.0, 8: 101.0}, c3={7: 90.0, 8: 92.0})
    owed = confirming(session(*apart), 0.01)
    assert owed is not None and owed.command == "autoresearch confirm --seeds 3", "two tell too little of a second read"
