from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from autoresearch.errors import IntegrityError
from autoresearch.journal.session import Run, Session, replay

CONFIG = {"type": "config", "schema": 1, "segment": 0, "name": "n", "metricName": "val_bpb", "bestDirection": "lower"}


def config(**more: Any) -> dict[str, Any]:
    return {**CONFIG, **more}


def start(number: int, **more: Any) -> dict[str, Any]:
    return {"type": "start", "experiment": number, "commit": f"{number:040x}", "parent": f"{number - 1:040x}", **more}


def run(number: int, metric: float | None, status: str = "keep", **more: Any) -> dict[str, Any]:
    return {"run": number, "commit": f"{number:07x}", "metric": metric, "metrics": {}, "status": status, **more}


def repeat(number: int, seed: int, value: float) -> dict[str, Any]:
    return {"type": "repeat", "experiment": number, "seed": seed, "value": value}


def fold(*events: dict[str, Any]) -> Session:
    return replay(enumerate(events, 1))


def refused(*events: dict[str, Any]) -> str:
    with pytest.raises(IntegrityError) as error:
        fold(*events)
    assert error.value.fix
    return error.value.message


def test_an_empty_journal_is_an_empty_session() -> None:
    session = fold()
    assert (session.baseline, session.incumbent, session.best, session.last, session.unfinished) == (None,) * 5
    assert (session.next_number, session.gain, session.confidence, session.failures_in_a_row) == (1, None, None, 0)
    assert session.noise.sd is None and session.current == ()


def test_start_and_run_make_one_experiment() -> None:
    session = fold(
        config(metricUnit="bpb", branch="autoresearch/t", tag="t", sha256={"prepare.py": "00"}, timestamp=90),
        start(1, description="base", asi={"hypothesis": "h", "kept": 1}, fingerprint="f", timestamp=100),
        run(1, 0.99, timestamp=400, asi={"hypothesis": "h2"}, metrics={"peak_vram_mb": 45060}, manifest="m"),
    )
    assert session.segment.sha256 == {"prepare.py": "00"} and session.segment.branch == "autoresearch/t"
    assert session.metric.unit == "bpb"
    (e,) = session.experiments
    assert (e.commit, e.parent, e.description) == (f"{1:040x}", f"{0:040x}", "base")
    assert (e.status, e.outcome, e.metric, e.values) == ("keep", "ok", 0.99, (0.99,))
    assert e.asi == {"hypothesis": "h2", "kept": 1} and e.metrics == {"peak_vram_mb": 45060}
    assert (e.started, e.finished, e.fingerprint, e.manifest) == (100, 400, "f", "m")
    assert session.baseline is e and session.incumbent is e and session.best is e
    assert session.next_number == 2 and session.gain == 0.0


def test_a_start_without_a_run_is_unfinished_and_has_no_verdict() -> None:
    session = fold(config(), start(1), run(1, 1.0), start(2))
    assert session.unfinished is session.last and session.unfinished is not None
    assert (session.unfinished.number, session.unfinished.status, session.unfinished.metric) == (2, None, None)
    assert session.next_number == 3
    assert session.counts == {"keep": 1, "discard": 0, "crash": 0, "checks_failed": 0}


def test_a_run_without_a_start_is_as_good_as_any_other() -> None:
    session = fold(config(), run(1, 1.0), run(2, 0.9, description="by hand", segment=0))
    assert session.best is not None
    assert (session.best.number, session.best.description, session.best.commit) == (2, "by hand", "0000002")
    assert session.gain == pytest.approx(0.1)


def test_lines_of_other_tools_are_passed_over() -> None:
    foreign = [{}, {"type": "hook", "run": 1}, {"type": None}, {"type": 5}, {"event": "x"}]
    assert fold(config(), *foreign, run(1, 1.0), {"type": "run_started", "run": 2}) == fold(config(), run(1, 1.0))


def test_a_journal_of_another_tool_without_segments_schema_or_whole_seconds_is_read() -> None:
    session = fold(
        {"type": "config", "name": "n", "metricName": "ms", "metricUnit": "ms", "bestDirection": "higher"},
        {"run": 1, "commit": "abc", "metric": 5, "metrics": {"a": None}, "status": "keep", "timestamp": 1790000000123},
        {"run": 2, "commit": None, "metric": 7, "status": "keep", "confidence": None, "segment": None, "asi": None},
    )
    assert session.best is not None and session.best.metric == 7.0 and session.best.segment == 0
    assert session.experiments[0].finished == 1790000000 and session.experiments[0].metrics == {}


def test_segments_have_their_own_metric_baseline_and_numbers() -> None:
    session = fold(
        config(), run(1, 1.0), run(2, 0.5),
        config(segment=1, metricName="acc", bestDirection="higher"), run(3, 10.0), run(2, 20.0), run(4, 5.0, "discard"),
    )  # fmt: skip
    assert session.metric.name == "acc"
    assert [e.number for e in session.current] == [3, 2, 4]
    assert session.baseline is not None and session.baseline.number == 3
    assert session.best is not None and session.best.metric == 20.0
    assert session.next_number == 5 and len(session.experiments) == 5
    found = session.find(2)
    assert found is not None and found.segment == 1


def test_a_segment_without_a_number_is_numbered_by_its_place() -> None:
    plain = {"type": "config", "metricName": "m"}
    session = fold(plain, run(1, 1.0), plain, run(1, 2.0))
    assert [s.number for s in session.segments] == [0, 1]
    assert [e.metric for e in session.current] == [2.0]


def test_notes_go_to_the_latest_experiment_of_that_number_and_add_up() -> None:
    note = {"type": "note", "experiment": 1, "asi": {"result": "r"}}
    session = fold(config(), start(1, asi={"a": 1}), note, run(1, 1.0), {**note, "asi": {"b": 2, "a": 3}})
    assert session.experiments[0].asi == {"a": 3, "result": "r", "b": 2}
    assert "experiment 2" in refused(config(), run(1, 1.0), {**note, "experiment": 2})


def test_repeats_count_before_and_after_the_verdict() -> None:
    session = fold(
        config(),
        start(1),
        repeat(1, 5, 1.2),
        run(1, 1.0, values=[1.0], seeds=[1]),
        repeat(1, 6, 1.4),
        repeat(1, 6, 1.4),
    )
    (e,) = session.experiments
    assert e.by_seed == {1: 1.0, 5: 1.2, 6: 1.4}
    assert e.metric == 1.0 and e.reference == pytest.approx(1.2)
    assert session.noise.dof == 2 and session.noise.sd == pytest.approx(0.2)
    assert "experiment 7" in refused(config(), repeat(7, 1, 1.0))


def test_the_screening_value_is_left_out_of_mean_and_noise() -> None:
    screened = run(2, 1.0, values=[0.1, 0.9, 1.1], seeds=[1, 2, 3], screened=True)
    session = fold(config(), run(1, 2.0), screened)
    e = session.experiments[1]
    assert e.noise_runs == (0.9, 1.1) and e.reference == 1.0
    assert e.by_seed == {1: 0.1, 2: 0.9, 3: 1.1}
    assert session.noise.dof == 1
    alone = fold(config(), run(1, 2.0), run(2, 0.1, "discard", values=[0.1], seeds=[1], screened=True)).experiments[1]
    assert alone.noise_runs == (0.1,)


def test_a_run_says_why_it_was_made_on_what_and_when() -> None:
    here, there = {"gpu": "a card"}, {"cpu": "a chip", "cores": 2}
    session = fold(
        config(),
        run(1, 1.0, values=[0.7, 1.0], seeds=[1, 4], screened=True, env=here),
        run(2, 2.0, "discard", values=[2.0]),
        {**repeat(1, 5, 1.2), "env": there},
        repeat(1, 4, 1.1),
        {**repeat(1, 6, 1.3), "env": here},
    )
    first, second = session.experiments
    assert first.runs == (
        Run(1, 0.7, "screening", "a card", 1),
        Run(4, 1.0, "verdict", "a card", 1),
        Run(5, 1.2, "repeat", "a chip, 2 cores", 2),
        Run(4, 1.1, "replica", "a card", 2),
        Run(6, 1.3, "repeat", "a card", 2),
    )
    assert second.runs == (Run(None, 2.0, "verdict", "", 2),)
    assert (first.values, first.seeds, first.screened, first.repeats) == ((0.7, 1.0), (1, 4), True, {6: 1.3})
    assert (first.noise_runs, first.comparison_runs, first.measured_at) == ((1.0, 1.3), {6: 1.3}, 2)
    away = first.on("a chip, 2 cores")
    assert (away.values, away.screened, away.by_seed, away.reference) == ((), False, {5: 1.2}, 1.2)
    assert first.on("another").reference is None


def test_a_journal_of_a_newer_version_says_what_to_do() -> None:
    with pytest.raises(IntegrityError) as error:
        fold(config(), config(schema=2))
    assert error.value.message == "autoresearch.jsonl line 2: schema 2 is newer than 1, which this program knows"
    assert error.value.command == "autoresearch --version" and "install a newer autoresearch" in error.value.fix


def test_each_run_has_what_it_reported_of_the_metrics_that_a_guard_compares() -> None:
    beside = {"acc": [0.5, None, 0.7], "mb": [1.0]}
    session = fold(
        config(),
        run(1, 1.0, values=[0.9, 1.0, 1.1], seeds=[1, 4, 5], screened=True, metrics={"acc": 0.5}, guards=beside),
        {**repeat(1, 6, 1.2), "guards": {"acc": 0.8}},
        repeat(1, 7, 1.3),
        run(2, 1.0, values=[1.0, 1.1], seeds=[1, 2], metrics={"acc": 0.4}),
    )
    first, without = session.experiments
    assert [r.guarded for r in first.runs] == [{"acc": 0.5, "mb": 1.0}, {}, {"acc": 0.7}, {"acc": 0.8}, {}]
    assert first.guarded("acc", "verdict", "repeat") == {5: 0.7, 6: 0.8}
    assert first.guarded("mb", "verdict") == {} and first.guarded("mb", "screening") == {1: 1.0}
    # A journal that has it for the first run alone, as all had before: that one counts, where it is asked for.
    assert without.guarded("acc", "verdict") == {1: 0.4} and without.guarded("acc", "repeat") == {}
    for wrong in ({"acc": 3}, {"acc": ["x"]}, [], {"acc": [float("nan")]}):
        assert "guards" in refused(config(), run(1, 1.0, guards=wrong)) or "acc" in refused(
            config(), run(1, 1.0, guards=wrong)
        )


def test_an_experiment_cannot_be_changed() -> None:
    (e,) = fold(config(), run(1, 1.0)).experiments
    for name in ("metric", "runs", "status"):
        with pytest.raises(AttributeError):
            setattr(e, name, None)
    assert e.with_run(Run(3, 1.0, "repeat", "", 1)).runs[1:] and len(e.runs) == 1


def test_a_reference_is_the_mean_of_the_runs_and_never_the_best_one() -> None:
    session = fold(config(), run(1, 1.0, values=[1.0], seeds=[1]), repeat(1, 2, 0.0), repeat(1, 3, 2.0))
    assert session.experiments[0].reference == pytest.approx(1.0)


def test_the_incumbent_is_the_last_keep_and_the_best_is_by_reference() -> None:
    session = fold(config(), run(1, 1.0), run(2, 0.8), run(3, 0.9), run(4, 0.1, "discard"), run(5, None, "crash"))
    assert session.incumbent is not None and session.incumbent.number == 3
    assert session.best is not None and session.best.number == 2
    again = fold(config(), run(1, 1.0), run(2, 0.8), run(3, 0.9), repeat(2, 9, 1.2))
    assert again.best is not None and again.best.number == 3
    tie = fold(config(bestDirection="higher"), run(1, 1.0), run(2, 1.0)).best
    assert tie is not None and tie.number == 1


def test_a_crash_has_no_value_anywhere() -> None:
    session = fold(config(), run(1, 1.0), run(2, None, "crash", outcome="oom"), run(3, None, "checks_failed"))
    assert [e.metric for e in session.experiments] == [1.0, None, None]
    assert [e.values for e in session.experiments] == [(1.0,), (), ()]
    assert session.experiments[1].reference is None and session.experiments[1].outcome == "oom"
    assert session.counts == {"keep": 1, "discard": 0, "crash": 1, "checks_failed": 1}
    assert session.noise.sd is None


def test_failures_in_a_row_end_at_a_success_and_pass_over_the_machine_s() -> None:
    events = [config(), run(1, 1.0), run(2, None, "crash"), run(3, 1.1, "discard"), run(4, None, "checks_failed")]
    events += [run(5, None, "crash", outcome="killed"), run(6, None, "crash"), start(7)]
    assert fold(*events).failures_in_a_row == 2


def test_what_the_machine_failed_was_not_tried() -> None:
    events = [
        config(),
        start(1, fingerprint="a"),
        run(1, 1.0),
        start(2, fingerprint="b"),
        run(2, None, "crash", outcome="killed"),
    ]
    session = fold(*events)
    assert session.tried("b") == () == session.tried("c")
    (found,) = session.tried("a")
    assert found is not None and found.number == 1
    (again,) = fold(*events, start(3, fingerprint="b"), run(3, 2.0, "discard")).tried("b")
    assert again is not None and again.number == 3
    assert fold(*events, config(segment=1)).tried("a") == ()


def test_an_exploded_value_does_not_stop_the_session() -> None:
    session = fold(config(), run(1, 1e308, values=[1e308, -1e308, 1e308]), run(2, 1.0), run(3, 2.0, "discard"))
    assert session.noise.sd == float("inf")
    assert session.best is not None and session.best.number == 2
    json.dumps(session.confidence, allow_nan=False)


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (run(2, 1.0, "kept"), "unknown status 'kept'"),
        (run(2, 1.0, "keep", outcome="fine"), "unknown outcome 'fine'"),
        ({"run": 2, "metric": 1.0}, "status is missing"),
        (run(1, 2.0), "two verdicts"),
        (start(1), "starts twice"),
        ({"type": "start", "experiment": 2}, "commit is missing"),
        ({**start(2), "experiment": "2"}, "experiment is '2'"),
        ({**run(2, 1.0), "run": 2.0}, "run is 2.0"),
        ({**run(2, 1.0), "run": True}, "run is True"),
        (run(2, float("nan")), "metric is nan"),
        (run(2, float("inf")), "metric is inf"),
        (run(2, "1.0"), "metric is '1.0'"),  # type: ignore[arg-type]
        (run(2, True), "metric is True"),
        (run(2, 10**400), "too large"),
        (run(2, 1.0, values=[1.0, None]), "values is None"),
        (run(2, 1.0, values="12"), "values is '12'"),
        (run(2, 1.0, seeds=["1"]), "seeds is '1'"),
        (run(2, 1.0, metrics=[1]), "metrics is [1]"),
        (run(2, 1.0, metrics={"mfu": float("nan")}), "metrics.mfu is nan"),
        (run(2, 1.0, asi="x"), "asi is 'x'"),
        (run(2, 1.0, description=5), "description is 5"),
        (run(2, 1.0, commit=1234567), "commit is 1234567"),
        (run(2, 1.0, segment="0"), "segment is '0'"),
        (run(2, 1.0, segment=[0]), "segment is [0]"),
        (run(2, 1.0, timestamp="today"), "timestamp is 'today'"),
        ({"type": "note", "experiment": 1, "asi": "x"}, "asi is 'x'"),
        ({"type": "note", "experiment": 1}, "asi is None"),
        (repeat(1, 1, float("nan")), "value is nan"),
        ({"type": "config"}, "metricName is missing"),
        (config(schema=2), "schema 2 is newer"),
        (config(schema="1"), "'>'"),
        (config(bestDirection="down"), "bestDirection is 'down'"),
        (config(sha256=["x"]), "sha256 is ['x']"),
    ],
)
def test_what_cannot_be_understood_is_named_with_its_line(event: dict[str, Any], says: str) -> None:
    message = refused(config(), run(1, 1.0), {"type": "foreign"}, event)
    assert message.startswith("autoresearch.jsonl line 4: ")
    assert says in message


def test_replay_changes_no_event_and_gives_the_same_session_again() -> None:
    events = [
        config(),
        start(1, asi={"a": 1}),
        run(1, 1.0),
        repeat(1, 2, 1.1),
        {"type": "note", "experiment": 1, "asi": {"b": 2}},
    ]
    before = json.dumps(events)
    assert fold(*events) == fold(*events)
    assert json.dumps(events) == before


def test_any_damaged_event_is_refused_or_understood_and_never_another_error() -> None:
    rng = Random(5)
    values = [None, True, -1, 0, 2.5, 10**400, float("nan"), "", "keep", [], [None], ["x"], {}, {"a": None}, "oom", 3]
    shapes = [config(), start(2), run(2, 1.0, values=[1.0], seeds=[1]), repeat(1, 1, 1.0)]
    keys = sorted(
        {key for shape in shapes for key in shape} | {"asi", "env", "timestamp", "screened", "branch", "task"}
    )
    for _ in range(5000):
        event = dict(rng.choice(shapes))
        for key in rng.sample(keys, rng.randrange(1, 4)):
            event[key] = rng.choice(values)
        try:
            session = fold(config(), run(1, 1.0), event)
        except IntegrityError as error:
            assert "line 3" in error.message
            continue
        _ = session.noise, session.best, session.gain, session.confidence, session.counts, session.next_number
        for e in session.experiments:
            assert isinstance(e.description, str) and (e.commit is None or e.commit[:7] is not None)


@pytest.mark.parametrize(
    ("read", "now", "counts"),
    [
        ("a-1", "a-1", True),
        ("a-1", "a-2", True),  # an upgrade of what scores
        ("a-1", "b-1", False),  # a fresh split
        ("old", "a-1", True),  # of an earlier version, which told both together
        ("old", "other", False),
        (None, "a-1", True),
    ],
)
def test_a_read_of_the_locked_split_counts_by_its_data_and_not_by_what_scores(
    read: str | None, now: str, counts: bool
) -> None:
    about = {"data": read} if read else {}
    study = {"type": "study", "study": 1, "what": "confirm", "about": about, "split": "locked"}
    end = {"type": "study_end", "study": 1, "outcome": "done"}
    session = fold(config(), run(1, 2.0), study, end, config(segment=1), run(2, 2.0, segment=1, manifest=now))
    assert len(session.locked) == counts
