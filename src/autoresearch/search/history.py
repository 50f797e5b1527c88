"""What a session says about where to look next: families of changes, near misses, ranks. Pure functions."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from autoresearch.journal.session import Experiment, Session
from autoresearch.search.families import GENERIC, Families, sorter

DIVERSIFY_AFTER = 5
"""Experiments in a row that were not kept, after which another kind of change is asked for."""


@dataclass(frozen=True, slots=True)
class FamilyYield:
    """What one family of changes has brought so far."""

    family: str
    tried: int
    kept: int
    best_gain: float | None
    """Best gain over the incumbent of its time that an experiment of it had; None without a value."""


def candidates(session: Session) -> list[Experiment]:
    """Return the experiments of this segment that were decided on, in order.

    Neither the baseline, nor what failed before it, nor what was killed.
    """
    if "candidates" not in session.memo:
        begins = session.baseline.number if session.baseline is not None else 0
        decided = (e for e in session.current if e.status is not None and e.outcome != "killed")
        session.memo["candidates"] = [e for e in decided if e.number > begins]
    return [*session.memo["candidates"]]


def yields(session: Session, families: Families = GENERIC) -> list[FamilyYield]:
    """Return what each family has brought, the most tried first."""
    found, steps = candidates(session), session.steps
    family = sorter(families)
    names = [family(e.description, e.asi) for e in found]
    tried, kept = Counter(names), Counter([name for name, e in zip(names, found, strict=True) if e.status == "keep"])
    best: dict[str, float] = {}
    for name, e in zip(names, found, strict=True):
        gained = steps.get(e.number)
        if gained is not None and (name not in best or gained > best[name]):
            best[name] = gained
    all_yields = [FamilyYield(name, count, kept[name], best.get(name)) for name, count in tried.items()]
    return sorted(all_yields, key=lambda y: -y.tried)


def step(session: Session, e: Experiment) -> float | None:
    """Return how much better than its parent an experiment was, in the metric's unit; None without both values."""
    return session.steps.get(e.number)


def near_misses(session: Session) -> list[Experiment]:
    """Return discarded experiments that were no worse than their parent within twice the noise, the best first.

    One that a later experiment built on (`--asi parent=N`), or measured again, is not listed. Without a noise, those
    that were better.
    """
    said = (e.asi.get("parent") for e in session.current)
    used = {number for number in said if isinstance(number, int)}  # a note may hold anything
    margin, steps, again = 2 * (session.noise.sd or 0.0), session.steps, measured_again(session)
    close = [
        (gained, e)
        for e in candidates(session)
        if (gained := steps.get(e.number)) is not None
        and gained > -margin
        and e.status == "discard"
        and e.number not in used | again
    ]
    return [e for _, e in sorted(close, key=lambda pair: -pair[0])]


def near_the_best(session: Session) -> list[Experiment]:
    """Return the near misses to start from: those on the present best, and older ones that are as good as it is within
    twice the noise. Whoever starts from another one gives up what was kept since."""
    best, margin = session.incumbent, 2 * (session.noise.sd or 0.0)
    if best is None or best.reference is None:
        return []
    return [
        e
        for e in near_misses(session)
        if e.parent == best.commit or (e.metric is not None and session.metric.gain(e.metric, best.reference) > -margin)
    ]


def measured_again(session: Session) -> set[int]:
    """Return the numbers of the experiments whose code a later one has measured, which knows it better."""
    if "measured_again" not in session.memo:
        valued = [e for e in session.current if e.fingerprint is not None and e.metric is not None]
        last = {e.fingerprint: e.number for e in valued}
        session.memo["measured_again"] = {e.number for e in valued if last[e.fingerprint] != e.number}
    return {*session.memo["measured_again"]}


def ranked(session: Session) -> list[Experiment]:
    """Return the experiments with a value, the best first: a kept one by its reference; the earlier one when equal.

    Of code that was measured again the later experiment alone, unless the earlier one was kept.
    """
    again = measured_again(session)
    told = [e for e in session.current if e.status == "keep" or (e.status is not None and e.number not in again)]
    valued = [(e.reference if e.status == "keep" else e.metric, e) for e in told]
    sign = 1 if session.metric.direction == "lower" else -1
    return [e for v, e in sorted(((v, e) for v, e in valued if v is not None), key=lambda pair: sign * pair[0])]


def discards_in_a_row(session: Session) -> int:
    """Return how many of the last experiments were not kept."""
    count = 0
    for e in reversed(candidates(session)):
        if e.status == "keep":
            break
        count += 1
    return count


def similarity(a: str, b: str) -> float:
    """Return how much two descriptions say the same, from 0 to 1: shared words among all their words."""
    mine, theirs = _words(a), _words(b)
    return len(mine & theirs) / len(mine | theirs) if mine | theirs else 1.0


SAME = 0.75
"""From this similarity on, two ideas are taken for one."""

_FILLER = frozenset("a an the of to in on for with by and or try use using make set change it is from at as".split())


def _words(text: str) -> frozenset[str]:
    words = re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?|[a-z]+", text.lower().replace("learning rate", "lr"))
    return frozenset(w[:-1] if len(w) > 3 and w.endswith("s") else w for w in words if w not in _FILLER)
