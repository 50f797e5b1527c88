"""What is drawn: thinned without losing a peak, with every experiment in its place."""

from __future__ import annotations

from random import Random

import pytest
from sessions import session

from autoresearch.journal.session import replay
from autoresearch.reports import figures, views


def test_a_thinned_line_keeps_its_peaks_its_ends_and_its_gaps() -> None:
    rng = Random(1)
    y: list[float | None] = [rng.random() for _ in range(50_000)]
    y[31_007], y[17], y[40_000:41_000] = 9.0, -9.0, [None] * 1000
    x, thin = figures.thinned(range(50_000), y, 1500)
    assert len(x) <= 1500 + 2 and x == sorted(x)
    values = [value for value in thin if value is not None]
    assert max(values) == 9.0 and min(values) == -9.0
    gap = [place for place, value in zip(x, thin, strict=True) if value is None]
    assert gap and all(40_000 <= place < 41_000 for place in gap)
    assert figures.thinned([1, 2], [0.5, None], 1500) == ([1, 2], [0.5, None])


def test_every_experiment_is_in_the_figure_and_one_without_a_value_is_none() -> None:
    s = session(("keep", 90.0, "a"), ("crash", None, "b"), ("discard", 95.0, "c"), ("checks_failed", None, "d"))
    figure = figures.progress(s)
    assert figure["x"] == [1, 2, 3, 4, 5] and figure["numbers"] is None
    assert figure["y"] == [100.0, 90.0, None, 95.0, None] and figure["marks"] == "kkfdf"
    assert figure["best"] == [[1, 100.0], [2, 90.0]] and figure["band"] == [89.0, 91.0]
    low, high = figure["limits"]
    assert low < 89 and high > 100


def test_the_band_is_the_noise_that_status_names() -> None:
    config = {"type": "config", "metricName": "m", "bestDirection": "lower"}
    quiet = {"run": 1, "commit": "a", "metric": 100.0, "status": "keep", "values": [99.0, 100.0, 101.0]}
    loud = {"run": 2, "commit": "b", "parent": "a", "metric": 90.0, "status": "keep", "values": [80.0, 90.0, 100.0]}
    s = replay(enumerate([config, quiet, loud], 1))
    low, high = figures.noise_band(s)
    sd = (high - low) / 2
    assert views.noise_words(s).startswith(f"{sd:.2g} per run") and sd != pytest.approx(s.noise.sd)


def test_small_values_are_not_flattened_and_zero_and_negatives_are_drawn() -> None:
    s = session(("keep", 0.0, "zero"), ("keep", -0.0031, "less"), ("discard", -0.003, "near"))
    figure = figures.progress(s)
    assert figure["y"][1:] == [0.0, -0.0031, -0.003]
    assert figure["best"][-1] == [3, -0.0031]


def test_a_session_without_times_has_no_figure_of_them_and_no_bars_are_no_figure() -> None:
    assert figures.duration(session(("keep", 90.0, "a"))) is None
    assert figures.bars("failures", []) is None


def test_speed_is_told_only_where_a_task_reports_steps() -> None:
    assert figures.speed_points(session(("keep", 90.0, "a"))) == []


@pytest.mark.parametrize("seconds", [3, 300, 30_000])
def test_time_is_drawn_in_a_unit_of_its_size(seconds: int) -> None:
    from autoresearch.journal.session import replay

    config = {"type": "config", "metricName": "ms", "bestDirection": "lower"}
    events = [config]
    for n in (1, 2, 3):
        events.append({"type": "start", "experiment": n, "commit": f"c{n}", "timestamp": n * seconds})
        events.append({"run": n, "commit": f"c{n}", "status": "keep", "metric": 1.0,
                       "timestamp": n * seconds + seconds // 3})  # fmt: skip
    figure = figures.duration(replay(enumerate(events, 1)))
    assert figure is not None
    scale = {"seconds": 1, "minutes": 60, "hours": 3600}[figure["label"]]
    passed, measuring = (line["y"] for line in figure["lines"])
    assert passed[-1] * scale == pytest.approx(2 * seconds + seconds // 3, rel=1e-5)
    assert measuring[-1] * scale == pytest.approx(3 * (seconds // 3), rel=1e-5)


def test_numbers_that_six_decimals_do_not_reach_are_shown_by_their_digits() -> None:
    config = {"type": "config", "metricName": "seconds", "bestDirection": "lower"}
    runs = {"run": 1, "commit": "a", "metric": 1.3e-7, "status": "keep", "values": [1.28e-7, 1.3e-7, 1.32e-7]}
    s = replay(enumerate([config, runs], 1))
    assert views.number(s, 1.3157e-7) == "1.316e-07" and views.number(s, -4e-9, signed=True) == "-4e-09"
    assert "1.3e-07" in views.number(s, s.baseline.reference if s.baseline else None)


def test_the_best_so_far_never_gets_worse_and_ends_at_the_best() -> None:
    config = {"type": "config", "metricName": "m", "bestDirection": "lower"}
    kept = [{"run": n, "commit": str(n), "metric": value, "status": "keep", "values": [value], "seeds": [1],
             "parent": None if n == 1 else "1"} for n, value in ((1, 10.0), (2, 9.5), (3, 9.0))]  # fmt: skip
    later = [{"type": "repeat", "experiment": n, "seed": 7, "value": value} for n, value in ((2, 8.9), (3, 10.2))]
    s = replay(enumerate([config, *kept, *later], 1))
    steps = figures.best_so_far(s, figures.finished(s))
    assert steps == [(1, 10.0), (2, pytest.approx(9.2))] and s.best is not None and s.best.number == 2
