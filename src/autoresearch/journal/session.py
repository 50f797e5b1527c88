"""The state of a session, folded from the lines of its journal; every number that is shown comes from here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter, itemgetter
from typing import Any

from autoresearch.errors import IntegrityError
from autoresearch.journal.events import (
    read_config,
    read_disturbed,
    read_note,
    read_repeat,
    read_run,
    read_start,
    read_study,
    segment_of,
    type_of,
)
from autoresearch.journal.experiment import Experiment, Run, hardware_of
from autoresearch.journal.fields import Event, NewerSchema, whole_at
from autoresearch.journal.import_events import IMPORT, IMPORTED, entry_of
from autoresearch.journal.ledger import Ledger
from autoresearch.journal.loop import MADE, Loop, LoopProposal
from autoresearch.journal.loop_events import LOOP_TYPES
from autoresearch.journal.loop_fold import LoopFold
from autoresearch.journal.message_events import read_message
from autoresearch.journal.messages import Mailbox
from autoresearch.journal.refused_events import REFUSED, read_refused
from autoresearch.journal.segment import Segment
from autoresearch.journal.statuses import STATUSES
from autoresearch.journal.study import LOCKED, Study, may_be_of
from autoresearch.metrics import Metric
from autoresearch.statistics.noise import Noise, mad_confidence, pooled

__all__ = ["Event", "Experiment", "Fold", "Run", "Segment", "Session", "hardware_of", "replay"]


@dataclass(frozen=True)
class Session:
    """Everything one journal says."""

    segments: tuple[Segment, ...]
    experiments: tuple[Experiment, ...]
    hardware: str = ""
    """What the last run was measured on; empty when the journal does not say."""
    studies: tuple[Study, ...] = ()
    """What `confirm`, `replicate` and `ablate` did, the unfinished one included."""
    mailbox: Mailbox = field(default_factory=Mailbox)
    """What a person told the agent."""
    loop: Loop = field(default_factory=Loop)
    """What agents proposed without a person."""
    ledger: Ledger = field(default_factory=Ledger)
    """What that has cost."""
    imported: tuple[Segment, ...] = ()
    """The segments that were read from other tools' logs beside those that are measured here."""
    refused: tuple[int, ...] = ()
    """For each change that was refused because its code had been measured, the experiment that it was."""
    memo: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """What other rooms have worked out of this session, by their own keys: it never changes."""

    @property
    def segment(self) -> Segment:
        """The segment in force, the last one."""
        return self.segments[-1]

    @property
    def metric(self) -> Metric:
        return self.segment.metric

    @cached_property
    def current(self) -> tuple[Experiment, ...]:
        """The experiments of the segment in force."""
        number = self.segment.number
        return tuple([e for e in self.experiments if e.segment == number])

    @cached_property
    def kept(self) -> tuple[Experiment, ...]:
        """The experiments of this segment that were kept, in order."""
        return tuple([e for e in self.current if e.status == "keep"])

    @cached_property
    def repeated(self) -> tuple[Experiment, ...]:
        """Those with more than one run, on whatever hardware: they alone tell of noise."""
        return tuple([e for e in self.current if len(e.runs) > 1])

    @cached_property
    def _references(self) -> dict[int, float | None]:
        """Number -> reference of the kept experiments of this segment: most of what is compared with anything."""
        return {e.number: e.reference for e in self.kept}

    @cached_property
    def steps(self) -> dict[int, float]:
        """Number -> how much better than its parent an experiment of this segment was; left out without both values."""
        named = {e.parent for e in self.current}
        known = self._references
        parents = {
            e.commit: known[e.number] if e.status == "keep" else e.reference
            for e in reversed(self.current)
            if e.commit is not None and e.commit in named
        }
        pairs = ((e.number, e.metric, parents.get(e.parent or "")) for e in self.current)
        return {n: self.metric.gain(own, theirs) for n, own, theirs in pairs if own is not None and theirs is not None}

    @cached_property
    def baseline(self) -> Experiment | None:
        return self.kept[0] if self.kept else None

    @cached_property
    def incumbent(self) -> Experiment | None:
        """The kept experiment that new ones are compared with: the last keep."""
        return self.kept[-1] if self.kept else None

    @cached_property
    def best(self) -> Experiment | None:
        """The kept experiment with the best reference value; with equal values the earlier one."""
        sign = 1 if self.metric.direction == "lower" else -1
        kept = ((e, self._references[e.number]) for e in self.kept)
        values = [(sign * value, e) for e, value in kept if value is not None]
        return min(values, key=itemgetter(0))[1] if values else None

    @cached_property
    def unfinished(self) -> Experiment | None:
        """The experiment that was started and has no verdict: it is running now, or was interrupted."""
        return next((e for e in reversed(self.experiments) if e.status is None), None)

    @cached_property
    def last(self) -> Experiment | None:
        return self.experiments[-1] if self.experiments else None

    @cached_property
    def next_number(self) -> int:
        return max([e.number for e in self.experiments], default=0) + 1

    @cached_property
    def noise(self) -> Noise:
        """Pooled from repeats of the same commit in this segment on the present hardware; screening runs are left out
        where they are biased."""
        return self.noise_on(self.hardware)

    def noise_on(self, hardware: str) -> Noise:
        """Return the noise of runs on this hardware."""
        return pooled(e.on(hardware).noise_runs for e in self.repeated)

    @cached_property
    def alpha_spent(self) -> float:
        """What the whole session has spent of a budget of alpha, in each of its segments."""
        return math.fsum([e.alpha for e in self.experiments])

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many experiments of this segment have each status."""
        counts = Counter[str | None]([e.status for e in self.current])
        return {status: counts[status] for status in STATUSES}

    @cached_property
    def failures_in_a_row(self) -> int:
        """How many of the last experiments failed; a machine's failure is not counted."""
        count = 0
        for e in reversed(self.current):
            if e.outcome == "killed" or e.status is None:
                continue
            if e.status not in ("crash", "checks_failed"):
                break
            count += 1
        return count

    @property
    def gain(self) -> float | None:
        """Best against baseline in the metric's unit, positive is better; None before the baseline."""
        first, best = self.baseline, self.best
        if first is None or best is None or first.reference is None or best.reference is None:
            return None
        return self.metric.gain(best.reference, first.reference)

    @cached_property
    def confidence(self) -> float | None:
        """|best gain| / MAD as other tools of the field write it."""
        values = [e.metric for e in self.current if e.metric is not None]
        return mad_confidence(self.gain, values) if self.gain is not None else None

    @cached_property
    def waiting(self) -> tuple[LoopProposal, ...]:
        """The proposals of agents that wait to be measured, or measured again after an interruption, in the order of
        their turns; more than one where several runs are made at once."""
        if not self.loop.proposals:
            return ()
        decided = {e.commit for e in self.experiments if e.outcome not in (None, "killed")}
        latest = {p.turn: p for p in self.loop.proposals}
        made = [p for p in latest.values() if p.outcome == MADE and p.commit not in decided]
        if not made:
            return ()
        here, last = {e.number for e in self.current}, self.loop.last
        return tuple(sorted((p for p in made if p is last or p.parent in here), key=attrgetter("turn")))

    @property
    def proposed(self) -> LoopProposal | None:
        """The first of them."""
        return self.waiting[0] if self.waiting else None

    def waiting_or_skipped(self, fingerprint: str) -> tuple[LoopProposal, ...]:
        """Return the proposals of agents with this code that wait to be measured, and behind them those of this segment
        that a person has skipped."""
        here = {e.number for e in self.current}
        skipped = (p for p in self.loop.proposals if p.outcome == "skipped" and p.parent in here)
        return tuple(p for p in (*self.waiting, *skipped) if p.fingerprint == fingerprint)

    @property
    def study(self) -> Study | None:
        """The study that was begun and not ended: it runs now, or was interrupted."""
        return self.studies[-1] if self.studies and self.studies[-1].outcome is None else None

    @property
    def locked(self) -> tuple[Study, ...]:
        """The reads of the locked split that this segment has; the more there are, the less its numbers are worth.

        Reads of what is known to have been other data do not count.
        """
        data = self.baseline.manifest if self.baseline is not None else None
        reads = (study for study in self.studies if study.split == LOCKED and study.continues is None)
        return tuple(study for study in reads if data is None or may_be_of(data, study.about.get("data", data)))

    def locked_pairs(self, besides: int | None = None) -> list[tuple[float, ...]]:
        """Return the differences of the pairs of each of these reads, with those of the studies that went on with it;
        of all but the one that the study `besides` is a part of."""
        found: dict[int, tuple[float, ...]] = {study.number: () for study in self.locked}
        read_of = dict[int, int]()
        for study in self.studies:
            read_of[study.number] = read = study.number if study.continues is None else read_of[study.continues]
            if read in found:
                found[read] = study.pairs
        if besides is not None:
            found.pop(read_of[besides], None)
        return list(found.values())

    def find(self, number: int) -> Experiment | None:
        """Return the latest experiment with this number, or None."""
        return next((e for e in reversed(self.experiments) if e.number == number), None)

    def tried(self, fingerprint: str) -> tuple[Experiment, ...]:
        """Return the experiments of this segment that had this code; what a machine failed does not count."""
        return tuple(e for e in self.current if e.fingerprint == fingerprint and e.outcome != "killed")


def replay(events: Iterable[tuple[int, Event]]) -> Session:
    """Fold the journal, given as (line number, object), into a session.

    Raises `IntegrityError` that names the line for what cannot be understood: an unknown status, a wrong type, a
    second verdict on one experiment, a journal of a newer schema. Lines of a type unknown here belong to other tools
    and are passed over.
    """
    fold = Fold()
    fold.take(events)
    return fold.session()


class Fold:
    """What a journal says up to a line, to go on from: each session that it gives stays as it is when more is taken.

    To keep the folded state and apply only what was appended is what optuna's journal storage does. A line that changes
    an experiment or a study puts another in its place.
    """

    def __init__(self) -> None:
        self._segments: list[Segment] = []
        self._segment = 0
        """The number of the one in force."""
        self._imported: list[Segment] = []
        self._experiments: dict[tuple[int, int], Experiment] = {}
        """(segment, number) -> experiment, in the order of their beginnings."""
        self._newest: dict[int, tuple[int, int]] = {}
        """Number -> the key of the experiment that had it last, in the order of the numbers' first use."""
        self._studies: dict[int, Study] = {}
        self._env: Mapping[str, Any] = {}
        self._mailbox = Mailbox()
        self._refused: list[int] = []
        self._loop = LoopFold()

    def session(self) -> Session:
        """Return the session as of the last line that was taken."""
        segments = tuple(self._segments) or (Segment(0, "", Metric("metric", "lower")),)
        experiments, studies = tuple(self._experiments.values()), tuple(self._studies.values())
        loop, ledger = self._loop.state()
        return Session(
            segments, experiments, hardware_of(self._env), studies, self._mailbox, loop, ledger, tuple(self._imported),
            tuple(self._refused),
        )  # fmt: skip

    def take(self, events: Iterable[tuple[int, Event]]) -> None:
        """Take in more lines. Raises as `replay` does; then the fold is of no more use."""
        for line, event in events:
            try:
                self._take(event)
            except (ValueError, TypeError, KeyError, OverflowError) as error:
                what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
                fix = f"look at it with: sed -n {line}p autoresearch.jsonl"
                if isinstance(error, NewerSchema):
                    fix = "install a newer autoresearch; which one this is: autoresearch --version"
                raise IntegrityError(f"autoresearch.jsonl line {line}: {what}", fix) from None

    def _take(self, event: Event) -> None:
        kind = type_of(event)
        if kind == "run":
            key = (segment_of(event, self._segment), whole_at(event, "run"))
            experiment = read_run(event, self._experiments.get(key), key)
            self._experiments[key], self._newest[key[1]] = experiment, key
            self._env = experiment.env or self._env
            if experiment.outcome != "killed":
                self._loop.verdict()
        elif kind == "start":
            experiment = read_start(event, self._segment)
            key = (experiment.segment, experiment.number)
            if key in self._experiments:
                raise ValueError(f"experiment {experiment.number} starts twice")
            self._experiments[key], self._newest[key[1]] = experiment, key
        elif kind == "repeat":
            key = self._key_of(event)
            experiment, env = read_repeat(event, self._experiments[key], next(reversed(self._newest)))
            self._experiments[key], self._env = experiment, env or self._env
            if "study" in event:
                self._take_study(event)
        elif kind == "disturbed":
            key = self._key_of(event)
            self._experiments[key] = read_disturbed(event, self._experiments[key], next(reversed(self._newest)))
        elif kind == "note":
            key = self._key_of(event)
            self._experiments[key] = read_note(event, self._experiments[key])
        elif kind == IMPORTED:  # the machine that it was measured on is none of ours
            entry = entry_of(event) or {}
            key = (segment_of(entry, self._segment), whole_at(entry, "run"))
            self._experiments[key], self._newest[key[1]] = read_run(entry, self._experiments.get(key), key), key
        elif kind == IMPORT:
            self._imported.append(read_config(event, len(self._segments)))
        elif kind == "config":
            self._segments.append(read_config(event, len(self._segments)))
            self._segment = self._segments[-1].number
        elif kind in ("message", "message_shown"):
            self._mailbox = read_message(event, self._mailbox)
        elif kind in ("study", "study_run", "study_end"):
            self._take_study(event)
        elif kind in LOOP_TYPES:
            self._loop.take(event)
        elif kind == REFUSED:
            self._refused.append(read_refused(event))

    def _take_study(self, event: Event) -> None:
        study = read_study(event, self._studies)
        self._studies[study.number] = study

    def _key_of(self, event: Event) -> tuple[int, int]:
        """Return the key of the experiment that a line names by its number."""
        number = whole_at(event, "experiment")
        if number not in self._newest:
            raise ValueError(f"there is no experiment {number}")
        return self._newest[number]
