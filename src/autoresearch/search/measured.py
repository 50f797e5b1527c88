"""What the journal says of the points of a search space: which were measured, and how much better or worse they were.

Values of different times are compared by way of the incumbents that they were measured against: the value of an
experiment is that of its incumbent, plus how much worse it was, in pairs of seeds if there are any. The baseline has 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from autoresearch.experiments.code_fingerprint import fingerprint
from autoresearch.journal.loop import LoopProposal
from autoresearch.journal.session import Experiment, Session
from autoresearch.search.space import Options, Space, Value, blanked, values_of

Files = Mapping[str, bytes]
"""Path -> content of the mutable files, relative to the workspace."""

Version = Experiment | LoopProposal
"""What has a commit."""

SourceOf = Callable[[Version], Files | None]
"""Gives the mutable files of an experiment, or of a proposal that waits; None when they cannot be read any more."""

State = Literal["valued", "failed", "running"]

Point = tuple[Value, ...]
"""A value for each knob of a space, in its order."""

FAILED = frozenset({"crash", "oom", "timeout", "over_budget", "no_metric", "checks_failed"})
"""Outcomes that say something about the point; a run that was killed or tampered with says nothing about it."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A point that was tried with the same program around it."""

    experiment: int
    """Of what waits to be measured, the number that it will have."""
    point: Point
    state: State
    """What waits counts as running."""
    loss: float | None = None
    """How much worse than the baseline, in the metric's unit; negative is better. None unless `valued`."""


def measured_points(
    session: Session, space: Space, files: Files, source_of: SourceOf, options: Options
) -> list[Measured]:
    """Return the experiments of the segment in force, and the proposals that wait to be measured, whose files differ
    from `files` in the values of knobs alone."""
    losses = relative_losses(session)
    versions: list[tuple[int, Version, State]] = []
    for e in session.current:
        if e.status is None or e.outcome in FAILED or e.number in losses:
            state: State = "running" if e.status is None else "failed" if e.outcome in FAILED else "valued"
            versions.append((e.number, e, state))
    begun = {e.commit for e in session.current if e.status is None}
    waiting = [p for p in session.waiting if p.commit not in begun]
    versions += [(number, p, "running") for number, p in enumerate(waiting, session.next_number)]
    mine, found = Surroundings(space, files, options), []
    for number, version, state in versions:
        source = source_of(version)
        point = mine.point(source) if source is not None else None
        if point is not None:
            found.append(Measured(number, point, state, losses.get(number) if state == "valued" else None))
    return found


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of the changes of one knob."""

    times: int
    best: Value | None = None
    """The value that gained most over what it was tried on, alone or together with others; None without any."""
    gain: float | None = None
    """In the metric's unit; positive is better."""


def tried_values(session: Session, space: Space, known: Sequence[Measured]) -> list[Tried]:
    """Return for each knob what its changes brought, each compared with the experiment that it was made on."""
    numbers = {m.experiment: m.point for m in known}
    points = {e.commit: numbers[e.number] for e in session.current if e.number in numbers}
    parents = {e.number: points.get(e.parent) for e in session.current}
    changes = [(m, parent) for m in known if (parent := parents.get(m.experiment)) is not None]
    rows = []
    for i in range(len(space)):
        mine = [m for m, parent in changes if m.point[i] != parent[i]]
        gains = [(gain, m.point[i]) for m in mine if (gain := session.steps.get(m.experiment)) is not None]
        gain, best = max(gains, key=lambda pair: pair[0], default=(None, None))
        rows.append(Tried(len(mine), best, gain))
    return rows


def relative_losses(session: Session) -> dict[int, float]:
    """Return experiment -> how much worse than the baseline it is, for those of this segment that have a value.

    What nothing connects with the baseline on any hardware is left out.
    """
    first = session.baseline
    if first is None:
        return {}
    losses = {first.number: 0.0}
    kept = {first.commit: first}
    for e in session.current:
        parent = kept.get(e.parent)
        if e.number not in losses and parent is not None and e.outcome == "ok" and parent.number in losses:
            gain = _gain(session, e, parent)
            if gain is not None:
                losses[e.number] = losses[parent.number] - gain
        if e.status == "keep":
            kept[e.commit] = e
    return losses


def _gain(session: Session, e: Experiment, parent: Experiment) -> float | None:
    """Return how much better an experiment is than the one it was compared with: in pairs of seeds, else by means."""
    other = parent.on(e.hardware)
    gain = session.metric.gain
    mine, theirs = _by_seed(e), _by_seed(other)
    both = sorted(mine.keys() & theirs.keys())
    if both:
        return math.fsum(gain(mine[seed], theirs[seed]) for seed in both) / len(both)
    own, reference = e.reference if e.status == "keep" else e.metric, other.reference
    return None if own is None or reference is None else gain(own, reference)


def _by_seed(e: Experiment) -> dict[int, float]:
    """Return seed -> value of the runs that no choice has flattered: of a kept experiment those that came later."""
    later = e.comparison_runs if e.status == "keep" else {}
    if later:
        return later
    runs = e.runs_for("screening", "verdict", "repeat")
    confirmed = any(run.purpose == "verdict" for run in runs)
    return {
        run.seed: run.value for run in runs if run.seed is not None and not (confirmed and run.purpose == "screening")
    }


class Surroundings:
    """Tells whether other files are these with other values of the knobs; remembers what it has read."""

    def __init__(self, space: Space, files: Files, options: Options) -> None:
        self._space, self._options = space, options
        self._names: dict[str, frozenset[str]] = {}
        for knob in space:
            self._names[knob.file] = self._names.get(knob.file, frozenset()) | {knob.name}
        self._blank = self._blanked(files)
        self._same = fingerprint(self._blank)

    def point(self, files: Files) -> Point | None:
        """Return the values of the knobs in these files; None when the files differ in anything else."""
        if files.keys() != self._blank.keys():
            return None
        blank = self._blanked(files)
        if blank != self._blank and fingerprint(blank) != self._same:
            return None
        values = {
            (path, name): value
            for path, names in self._names.items()
            for name, value in values_of(files[path], names, self._options).items()
        }
        return tuple(values[knob.key] for knob in self._space) if len(values) == len(self._space) else None

    def _blanked(self, files: Files) -> dict[str, bytes]:
        return {
            path: blanked(content, self._names[path], self._options) if path in self._names else content
            for path, content in files.items()
        }
