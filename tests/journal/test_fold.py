"""A fold that is carried along says what folding anew says, and a session that it gave stays what it was."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from autoresearch.errors import IntegrityError
from autoresearch.journal import events, file, message_events
from autoresearch.journal.session import Fold, Session, replay
from autoresearch.metrics import Metric
from autoresearch.workspace.session_journal import append, content_of, load_session
from autoresearch.workspace.workspace import Workspace

METRIC = Metric("loss", "lower", "nats")
SESSIONS = Path(__file__).parents[1] / "data/sessions"
OTHER_VALUES = (None, True, 1, 2.5, -1, 10**13, float("nan"), "x", "keep", [], [1], [None], [0.5], {}, {"gpu": "one"})
HARDWARE = ({"gpu": "one"}, {"gpu": "another"}, {"cpu": "slow", "cores": 2}, {})


def random_session(rng: Random, length: int) -> Iterator[dict[str, Any]]:
    """Yield lines of every type in an order that a session may have, and some of other tools."""
    started: list[int] = []
    known: list[int] = []
    studies: list[int] = []
    number = segment = 0
    yield events.config_line(0, "n", METRIC, 1)
    for now in range(2, length):
        kind = rng.choice(
            ["start", "start", "run", "run", "foreign run", "repeat", "repeat", "note", "message", "message_shown",
             "study", "study_run", "study_repeat", "study_end", "config", "other"]
        )  # fmt: skip
        value, env = round(rng.random(), 3), rng.choice(HARDWARE)
        if kind == "config" and rng.random() < 0.2:
            segment += 1
            yield events.config_line(segment, "n", METRIC, now, {"branch": "b", "tag": "t"})
        elif kind == "start":
            number += 1
            started.append(number)
            known.append(number)
            yield events.start_line(number, f"{number:040x}", f"{number - 1:040x}", 1, "d", {"a": now}, "f", now,
                                    simpler=rng.random() < 0.5, warnings=["w"])  # fmt: skip
        elif kind == "run" and started:
            status = rng.choice(["keep", "discard", "crash"])
            details: events.RunDetails = {"values": [value, value], "seeds": [1, 2], "screened": True, "env": env}
            if rng.random() < 0.5:
                details["guards"] = {"x": [value, None], "y": [1.0]}
            yield events.run_line(started.pop(), "abc", value, {"x": value}, status, "d", segment, {"b": now}, now,
                                  details=details)  # fmt: skip
        elif kind == "foreign run":
            number += 1
            known.append(number)
            yield events.run_line(number, "abc", value, {}, "discard", "d", segment, {}, now)
        elif kind == "repeat" and known:
            beside = rng.choice([{}, {"x": value}])
            yield events.repeat_line(rng.choice(known), rng.randrange(5), value, env, now, guards=beside)
        elif kind == "note" and known:
            yield events.note_line(rng.choice(known), {"c": now}, now)
        elif kind == "message":
            yield message_events.message_line(f"text {now}", now)
        elif kind == "message_shown":
            yield message_events.message_shown_line(rng.randrange(4), now)
        elif kind == "study":
            studies.append(len(studies) + 1)
            continues = rng.choice([None, *studies[:-1]])
            yield events.study_line(studies[-1], "confirm", {"s": [1]}, "locked", now, continues=continues)
        elif kind == "study_run" and studies:
            yield events.study_run_line(rng.choice(studies), rng.choice("ab"), rng.randrange(5), value, now)
        elif kind == "study_repeat" and studies and known:
            yield events.repeat_line(rng.choice(known), 9, value, env, now, study=rng.choice(studies))
        elif kind == "study_end" and studies:
            yield events.study_end_line(rng.choice(studies), "done", {"r": now}, now)
        elif kind == "other":
            yield {"type": "another tool's", "x": now}


def valid(lines: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines without those that a session could not have there: a second end, a verdict on none."""
    kept: list[dict[str, Any]] = []
    for line in lines:
        with contextlib.suppress(IntegrityError):
            replay(enumerate([*kept, line], 1))
            kept.append(line)
    return kept


def told(session: Session) -> tuple[object, ...]:
    """Return what a session derives from its experiments."""
    return (session.best, session.incumbent, session.baseline, session.noise, session.confidence, session.steps,
            session.counts, session.next_number, session.study, session.mailbox.waiting)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25))
def test_a_fold_that_is_carried_along_equals_one_made_anew(seed: int) -> None:
    rng = Random(seed)
    lines = valid(random_session(rng, 90))
    assert len({events.type_of(line) for line in lines}) >= 6
    fold, given = Fold(), []
    for at, line in enumerate(lines, 1):
        fold.take([(at, line)])
        if rng.random() < 0.5:
            session, anew = fold.session(), replay(enumerate(lines[:at], 1))
            assert session == anew and told(session) == told(anew)
            given.append((session, copy.deepcopy(session)))
    assert fold.session() == replay(enumerate(lines, 1))
    for session, then in given:
        assert session == then, "a session that was given away has changed"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.journal.touch()
    for line in valid(random_session(Random(1), 40)):
        append(workspace, line)
    return workspace


def anew(workspace: Workspace) -> Session:
    return replay(file.read(workspace.journal))


def test_what_was_folded_is_not_folded_again(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    real = file._parse
    monkeypatch.setattr(file, "_parse", lambda line: (parsed.append(line), real(line))[1])
    first = load_session(workspace)
    assert parsed and load_session(workspace) is first
    parsed.clear()
    append(workspace, events.note_line(1, {"learned": "x"}, 7))
    append(workspace, message_events.message_line("m", 8))
    second = load_session(workspace)
    assert [json.loads(line)["type"] for line in parsed if line] == ["note", "message"]
    assert second == anew(workspace) and first != second


@pytest.mark.parametrize("how", ["another process", "same size in place", "shorter", "a new file", "torn", "ended"])
def test_a_journal_that_was_changed_behind_our_back_is_seen(workspace: Workspace, how: str) -> None:
    journal = workspace.journal
    load_session(workspace)
    content = journal.read_bytes()
    note = b'{"type":"note","experiment":1,"asi":{"k":"behind"}}'
    if how == "another process":
        journal.write_bytes(content + note + b"\n")
    elif how == "same size in place":
        journal.write_bytes(content.replace(b'"loss"', b'"lost"'))
    elif how == "shorter":
        journal.write_bytes(content[: content.rindex(b"\n", 0, -1) + 1])
    elif how == "a new file":
        journal.unlink()
        journal.write_bytes(content.replace(b'"loss"', b'"lost"') + note + b"\n")
    elif how == "torn":
        journal.write_bytes(content + note[:20])
    else:
        journal.write_bytes(content + note)
    assert load_session(workspace) == anew(workspace) == load_session(workspace)
    append(workspace, events.note_line(1, {"and": "on"}, 9))
    assert load_session(workspace) == anew(workspace)


def test_what_is_still_there_is_not_in_memory_twice_and_what_is_not_is_read(workspace: Workspace) -> None:
    load_session(workspace)
    folded = content_of(workspace.journal)
    assert folded is content_of(workspace.journal) and folded == workspace.journal.read_bytes()
    for changed in (folded.replace(b'"loss"', b'"lost"'), folded[:-1] + b" ", folded + b"{}\n", folded[:-9], b""):
        workspace.journal.write_bytes(changed)
        assert content_of(workspace.journal) == changed


def test_lines_are_read_at_once_as_field_by_field(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, cases = Random(4), list[list[dict[str, Any]]]()
    for path in sorted(SESSIONS.glob("*/autoresearch.jsonl")):
        lines = [event for _, event in file.read(path)]
        cases.append(lines)
        for _ in range(40):
            at = rng.choice([n for n, line in enumerate(lines) if events.type_of(line) in ("start", "run")])
            other = {**lines[at], rng.choice([*lines[at]]): rng.choice(OTHER_VALUES)}
            cases.append([*lines[:at], other, *lines[at + 1 :]])
    at_once = [said(lines) for lines in cases]
    assert any(isinstance(each, str) for each in at_once) and any(isinstance(each, Session) for each in at_once)
    for name in ("_start_fields", "_run_fields"):
        monkeypatch.setattr(events, name, lambda event: None)
    assert [said(lines) for lines in cases] == at_once


def said(lines: list[dict[str, Any]]) -> Session | str:
    """Return the session of some lines, or what is wrong with them."""
    try:
        return replay(enumerate(lines, 1))
    except IntegrityError as error:
        return str(error)


def test_a_line_that_cannot_be_understood_is_named_each_time(workspace: Workspace) -> None:
    load_session(workspace)
    number = workspace.journal.read_bytes().count(b"\n") + 1
    append(workspace, {"type": "note", "experiment": 99_999, "asi": {}})
    for _ in range(2):
        with pytest.raises(IntegrityError, match=f"line {number}"):
            load_session(workspace)
    with workspace.journal.open("ab") as out:
        out.write(b"no json\n{}\n")
    with pytest.raises(IntegrityError):
        load_session(workspace)
