"""A session of a capable researcher, with what its journal recorded: fifteen discards, of which one was a gain.

`data/session-18.jsonl` has the values of a night on the pretrain task at tiny. Experiment 18 was better than the
incumbent on each of its five fresh seeds, and was discarded for a noise of bases that were long left.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autoresearch.experiments.evidence import base_noise, gather, pair_gains
from autoresearch.journal.session import Experiment, Session, replay
from autoresearch.reports.comparison import close_calls, difference
from autoresearch.reports.views import beside_incumbent, mean_of_runs
from autoresearch.statistics.decision import next_step
from autoresearch.statistics.rules import Rules
from autoresearch.studies.policy_replay import replayed

DATA = Path(__file__).parents[1] / "data" / "session-18.jsonl"
LINES = [json.loads(line) for line in DATA.read_text("utf-8").splitlines()]
REPLICATED = next(n for n, line in enumerate(LINES) if line.get("type") == "repeat" and line["seed"] == 7
                  and line["experiment"] == 5)  # fmt: skip
GAINS = (0.0107, 0.0216, 0.0231, 0.0305, 0.0232)


def upto(line: int) -> Session:
    return replay(enumerate(LINES[:line], 1))


WHOLE = upto(len(LINES))


def experiment(session: Session, number: int) -> Experiment:
    found = session.find(number)
    assert found is not None
    return found


def test_the_gain_that_each_of_five_pairs_showed_is_kept() -> None:
    assert pair_gains(WHOLE.metric, experiment(WHOLE, 18), experiment(WHOLE, 5)) == pytest.approx(GAINS, abs=1e-4)
    kept = {d.experiment: d.runs for d in replayed(WHOLE, Rules()) if d.verdict == "keep"}
    assert kept.keys() == {1, 4, 5, 18} and kept[18] <= 6
    assert replayed(WHOLE, Rules(night_alpha=0.05))[17].verdict == "keep", "under the budget of a night, too"


def test_its_pairs_as_they_were_made_are_enough_for_a_keep_at_the_old_number_of_them() -> None:
    before = replay(enumerate([line for line in LINES if line.get("run") != 18], 1))
    values = experiment(WHOLE, 18).by_seed
    step = next_step(gather(before, experiment(before, 5), values, now=18), Rules(seeds=5, alpha=0.02))
    assert step.action == "keep" and "5 pairs" in step.reason, step


def test_the_noise_is_that_of_the_present_base_and_says_what_is_borrowed() -> None:
    noise = base_noise(WHOLE, "")
    assert noise.sd is not None and noise.sd < 0.01, "the old bases gave 0.013"
    assert WHOLE.noise.sd == pytest.approx(0.0113, abs=0.003)


def test_a_replicate_of_the_incumbent_alone_moves_no_close_call() -> None:
    """The gain of 15 doubled when a run of the incumbent on a seed of its own came into a mean over different seeds: it
    is over the one fresh run that the incumbent had when 15 was decided, not over the run that chose the incumbent."""
    before, after = upto(REPLICATED), upto(REPLICATED + 1)
    found = [difference(s, experiment(s, 15), experiment(s, 5)) for s in (before, after)]
    assert all(d is not None and d.same_seeds == 0 for d in found)
    (fresh,) = (run.value for run in experiment(before, 5).runs if run.purpose == "verdict")
    values = experiment(before, 15).by_seed
    asked = gather(upto(REPLICATED), experiment(before, 5), values, now=15)
    assert asked.reference == fresh
    assert [d.gain for d in found if d] == pytest.approx([fresh - values[1]] * 2)
    assert difference(before, experiment(before, 5), experiment(before, 1)).same_seeds > 0  # type: ignore[union-attr]


def test_a_close_call_names_the_command_that_can_change_the_verdict() -> None:
    calls = close_calls(upto(REPLICATED), Rules())
    assert calls and calls[0].experiment == 15
    assert calls[0].command is not None and calls[0].command.startswith("autoresearch try --again 15 --pairs ")
    assert calls[0].runs is not None and calls[0].runs < 80


def test_the_mean_of_a_replicated_experiment_is_that_of_the_runs_it_names() -> None:
    """It said `mean over 3 seeds` of a mean that was one run's: that of the runs made after the verdict."""
    session = upto(REPLICATED + 1)
    e = experiment(session, 5)
    mean, count = mean_of_runs(e)
    unbiased = [run.value for run in e.runs if run.purpose != "screening"]
    assert count == len(unbiased) == 2 and mean == pytest.approx(sum(unbiased) / 2)
    (line,) = beside_incumbent(WHOLE, experiment(WHOLE, 18))
    assert "+0.022 ±" in line and "over #5, on 5 seeds that both ran" in line
    (other,) = beside_incumbent(WHOLE, experiment(WHOLE, 15))
    assert "+0.017 ±" in other and "over #5, means over different seeds" in other
