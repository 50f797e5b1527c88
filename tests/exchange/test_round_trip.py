"""A session of ours that goes out as JSON lines and comes back: every verdict, value, note and later run is there."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from autoresearch.exchange.import_log import import_log
from autoresearch.exchange.tables import to_jsonl
from autoresearch.journal import file as journal
from autoresearch.journal.experiment import Experiment
from autoresearch.journal.session import Session
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

ENV = {"cpu": "a cpu", "cores": 4}


def generated(rng: Random) -> list[dict[str, Any]]:
    """Return the journal of a session with every status, with and without values, seeds, notes and later runs."""
    name = rng.choice(["ms", "total_µs"])
    lines: list[dict[str, Any]] = [{"type": "config", "name": "s", "metricName": name, "bestDirection": "lower"}]
    for n in range(1, rng.randrange(3, 12)):
        status = "keep" if n == 1 else rng.choice(["keep", "discard", "crash", "checks_failed"])
        count = rng.randrange(1, 4) if status in ("keep", "discard") else rng.randrange(0, 3)
        values = [rng.choice([0.0, -1.5, round(rng.uniform(1, 9), 6)]) for _ in range(count)]
        metric = sum(values) / len(values) if status in ("keep", "discard") else None
        outcome = {"crash": rng.choice(["crash", "killed", "oom"]), "checks_failed": "checks_failed"}.get(status, "ok")
        lines.append({
            "run": n, "commit": f"{n:07x}", "metric": metric, "metrics": {"µs": 3.5} if rng.random() < 0.5 else {},
            "status": status, "description": rng.choice(["a\u2028b", "form\x0cfeed", "plain", "tab\there", ""]),
            "timestamp": 1_700_000_000 + n, "segment": 0, "asi": {"note": "x"} if rng.random() < 0.5 else {},
            "values": values, "seeds": [*range(1, count + 1)], "screened": count > 1 and rng.random() < 0.5,
            "outcome": outcome, "reason": "because", "env": ENV, "warnings": ["look"],
        })  # fmt: skip
        if values and rng.random() < 0.5:
            lines[-1]["guards"] = {"acc": [0.5, None, 0.7][:count]}
        if status == "keep" and rng.random() < 0.5:
            later = {"type": "repeat", "experiment": n, "seed": 9, "value": 4.5, "env": ENV, "timestamp": 1}
            lines.append(later | rng.choice([{}, {"guards": {"acc": 0.25}}]))
    return lines


def known(session: Session, segment: int) -> list[tuple[Any, ...]]:
    def facts(e: Experiment) -> tuple[Any, ...]:
        runs = [(run.seed, run.value, run.purpose, run.hardware, run.guarded) for run in e.runs]
        return (e.commit, e.status, e.outcome, e.metric, dict(e.metrics), e.description, e.reason, dict(e.asi), runs,
                e.reference, e.finished, e.warnings, dict(e.env))  # fmt: skip

    return [facts(e) for e in session.experiments if e.segment == segment]


@pytest.mark.parametrize("seed", range(40))
def test_there_and_back_nothing_is_lost(tmp_path: Path, seed: int) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    here, there = Workspace(tmp_path / "here"), Workspace(tmp_path / "there")
    for line in generated(Random(seed)):
        journal.append(here.journal, line)
    before = load_session(here)
    out = tmp_path / "out.jsonl"
    out.write_text(to_jsonl(before))
    done = import_log(there.root, out, None, 1)
    after = load_session(there)
    assert known(after, done.segments[0]) == known(before, 0)
    again = import_log(there.root, out, None, 2)
    assert again.added == 0 and known(load_session(there), done.segments[0]) == known(before, 0)


def test_what_was_imported_goes_out_again(tmp_path: Path) -> None:
    here, there, again = (Workspace(tmp_path / name) for name in ("here", "there", "again"))
    for workspace in (here, there, again):
        workspace.root.mkdir()
    for line in generated(Random(5)):
        journal.append(here.journal, line)
    (tmp_path / "out.jsonl").write_text(to_jsonl(load_session(here)))
    journal.append(there.journal, {"type": "config", "name": "own", "metricName": "ms", "bestDirection": "lower"})
    own = {"run": 1, "commit": "a", "metric": 7.0, "metrics": {}, "status": "keep", "description": "own"}
    journal.append(there.journal, {**own, "timestamp": 1_700_000_000, "segment": 0, "asi": {}})
    (segment,) = import_log(there.root, tmp_path / "out.jsonl", None, 1).segments
    (tmp_path / "both.jsonl").write_text(to_jsonl(load_session(there)))
    done = import_log(again.root, tmp_path / "both.jsonl", None, 1)
    assert len(done.segments) == 2 and segment != 0
    found = load_session(again)
    assert [known(found, number) for number in done.segments] == [
        known(load_session(there), 0), known(load_session(here), 0),
    ]  # fmt: skip


def test_an_import_that_was_cut_anywhere_loses_no_later_run(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    here = Workspace(tmp_path / "here")
    lines = generated(Random(3))
    first = next(line for line in lines if line.get("status") == "keep")
    later = [{"type": "repeat", "experiment": first["run"], "seed": seed, "value": 4.5, "env": ENV, "timestamp": 1}
             for seed in (11, 12, 13)]  # fmt: skip
    for line in [*lines, *later]:
        journal.append(here.journal, line)
    before, out = load_session(here), tmp_path / "out.jsonl"
    out.write_text(to_jsonl(before))
    there = Workspace(tmp_path / "there")
    there.root.mkdir()
    segment = import_log(there.root, out, None, 1).segments[0]
    whole = there.journal.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == 10]
    for cut in sorted({*ends[-7:-1], ends[3], *(end - 7 for end in ends[-5:])}):
        there.journal.write_bytes(whole[:cut])
        import_log(there.root, out, None, 2)
        found = known(load_session(there), segment)
        assert found == known(before, 0), cut
