"""What the commits of `finalize` say: of each kept change what it brought, and what looking again has found."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from autoresearch.escaping import one_line
from autoresearch.journal.experiment import Experiment
from autoresearch.journal.session import Session
from autoresearch.journal.study import LOCKED
from autoresearch.reports import summary
from autoresearch.reports.views import View, noise_words, number, unit

SUBJECT = 72
"""Characters of a first line: what git and web pages show of it."""


_PARENTS = "kept experiments by their commits"
"""What is remembered of a session, for each of a long one's kept changes asks for it."""


def subject_of(members: Sequence[Experiment], family: str) -> str:
    """Return the first line of a commit of these experiments, which are of one family where they are several."""
    if len(members) == 1:
        e = members[0]
        return one_line(e.description, SUBJECT) or f"experiment {e.number}"
    return one_line(f"{family}: {len(members)} changes", SUBJECT)


def message_of(
    session: Session,
    members: Sequence[Experiment],
    subject: str,
    gone: Collection[int],
    ending: Sequence[str] = (),
) -> str:
    """Return the message of a commit of these experiments; `gone` are those below it that were left out.

    `ending` is what is known of the whole stack, and stands in the message of its last commit. Each experiment is a
    paragraph of `Key: value` lines; what is known of the stack ends the last one, which git reads as trailers.
    """
    kept = [e for e in session.current if e.status == "keep"]
    paragraphs = [_lines(session, kept, e, gone, named=len(members) > 1) for e in members]
    paragraphs[-1] += ending
    return "\n\n".join([subject, *("\n".join(lines) for lines in paragraphs)]) + "\n"


def gain_of(session: Session, e: Experiment) -> View:
    """Return what a kept experiment brought over the one that it was made on."""
    parents: dict[str, Experiment] | None = session.memo.get(_PARENTS)
    if parents is None:
        parents = {x.commit: x for x in session.current if x.status == "keep" and x.commit is not None}
        session.memo[_PARENTS] = parents
    return summary.kept_row(session, e, parents.get(e.parent or ""))


def _lines(
    session: Session, kept: Sequence[Experiment], e: Experiment, gone: Collection[int], *, named: bool
) -> list[str]:
    row, metric = gain_of(session, e), session.metric
    title = f": {one_line(e.description, 200)}" if named else ""
    over = f" over experiment {row['over']}" if row["over"] is not None else ""
    lines = [
        f"Experiment: {e.number} ({(e.commit or '')[:12]}){title}",
        f"Gain: {row['step_text']}{over} ({metric.name}, {metric.direction} is better)",
    ]
    below = [x.number for x in kept if x.number < e.number and x.number in gone]
    if below:
        lines.append(f"Measured-with: {', '.join(map(str, below))}, which this stack is without")
    if row["seeds"]:
        lines.append(f"Seeds: {', '.join(map(str, row['seeds']))}")
    lines.append(f"Noise: {one_line(noise_words(session))}")
    if row["hypothesis"]:
        lines.append(f"Hypothesis: {row['hypothesis']}")
    verdict = ablation_words(session, e.number)
    return [*lines, *([f"Ablation: {verdict}"] if verdict else [])]


def ablation_words(session: Session, n: int) -> str:
    """Return what the last `ablate` said of a kept change; empty where it was not looked at."""
    found = summary.ablation(session)
    change = next((c for c in found["changes"] if c["without"] == [n]), None) if found is not None else None
    if found is None or change is None:
        return ""
    worth = f", worth {change['worth_text']}{unit(session)}" if change["worth"] is not None else ""
    seeds = f" on {change['seeds']} seed{'' if change['seeds'] == 1 else 's'}" if change["seeds"] else ""
    return f"{one_line(str(change['verdict']), 20)}{worth}{seeds}, undone on top of experiment {found['incumbent']}"


def confirmed_words(session: Session, last: int) -> list[str]:
    """Return what the last `confirm` found, where that is about experiment `last`; a line, or none."""
    found = summary.confirmation(session)
    if found is None or found["best"] != last:
        return []
    split = f"the locked split, used {found['locked_uses']} times" if found["split"] == LOCKED else "the search split"
    return [_confirmation(found["gain_text"], found["interval_text"], bool(found["holds"]), split)]


def stack_words(session: Session, result: Mapping[str, Any], split: str, without: Sequence[int]) -> list[str]:
    """Return what measuring the stack without some changes has found, a line each."""
    low, high = (number(session, end, signed=True) for end in result["interval"])
    gained = number(session, result["gain"], signed=True) + unit(session)
    of = "the locked split" if split == LOCKED else "the search split"
    return [
        f"Left-out: {', '.join(map(str, without))}",
        _confirmation(gained, f"{low} to {high}", bool(result["holds"]), of),
    ]


def _confirmation(gained: str, interval: str, holds: bool, split: str) -> str:
    verdict = "the gain holds" if holds else "not confirmed"
    return f"Confirmation: {gained} over the baseline on fresh seeds (95 % interval {interval}, {split}): {verdict}"
