"""The sampler: proposes values for some constants near the best so far, from what the journal says was measured.

The model of good and bad values is a tree-structured Parzen estimator (Bergstra et al., 2011; Optuna's `TPESampler`),
rebuilt for each proposal: the journal is the only memory. It looks into a box around the present values, and changes a
few constants at once, so that what is proposed runs and a gain has few causes.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from autoresearch.experiments.code_fingerprint import fingerprint
from autoresearch.journal.session import Session
from autoresearch.search.measured import Files, Measured, Point, SourceOf, measured_points
from autoresearch.search.opening import opening
from autoresearch.search.space import Knob, Options, Space, Value, read_space, replaced

AT_ONCE = 3
"""Most constants that one proposal changes; how many was measured by benchmarks/sampler.py."""

HALF_BOX = 0.3
"""Half of the box's edge around the present values, as a part of each range."""

SMALLER_EVERY, SMALLEST = 10, 0.075
"""After so many points without a keep the box is halved; from the smallest it goes back to the whole."""

LEAST_STEP = 0.03
"""Part of the range that a constant moves at least: less drowns in the noise of a run."""

RANDOM_FIRST = 6
"""Points of the box that are drawn evenly before the estimator has enough to go by."""

DRAWS, MOST_CHOICES = 60, 2000
"""How often a point is drawn anew when it was measured already; how many are then gone through."""


@dataclass(frozen=True, slots=True)
class Step:
    """A change of one constant."""

    knob: Knob
    value: Value

    @property
    def length(self) -> float:
        """Part of the range."""
        here, there = self.knob.position(self.knob.value), self.knob.position(self.value)
        if here is None or there is None or (self.knob.scale == "choice" and not self.knob.ordered):
            return 1.0
        return abs(there - here) / (len(self.knob.choices) - 1 if self.knob.scale == "choice" else 1)

    def __str__(self) -> str:
        return f"{self.knob.name} {spelled(self.knob.value)} -> {spelled(self.value)}"


@dataclass(frozen=True, slots=True)
class Change:
    """What the sampler proposes."""

    steps: tuple[Step, ...]
    """The longest first."""
    files: dict[str, bytes]
    """Path -> new content of what changes."""
    points: int
    """From how many measured points with a value it was made."""
    half_box: float
    estimated: bool
    """Whether the estimator chose it; otherwise it is an even draw, or of the opening."""
    opening: bool = False
    """Whether it is one step of a constant that the task names first."""

    @property
    def description(self) -> str:
        return ", ".join(map(str, self.steps))


def propose(
    session: Session,
    files: Files,
    source_of: SourceOf,
    options: Options,
    seed: int,
    *,
    allowed: Callable[[Knob], bool] = lambda _: True,
    wanted: Callable[[Knob], bool] = lambda _: True,
    at_once: int = AT_ONCE,
    half: float | None = None,
    smaller: bool = False,
    first: Sequence[str] = (),
    prefix: str = "",
) -> Change | None:
    """Return a change of `files` that was not measured, does not wait to be, and was not skipped; None when nothing is
    left. The same journal, files and seed give the same.

    Only knobs that are `allowed` change, at most `at_once` of them, and one that is `wanted` is among them. `half` is
    half of the box's edge, by default what `half_box` says; `smaller` halves that. The constants named in `first` are
    moved before all others, one at a time (`opening.py`). `prefix` leads from the top of the repository to the
    workspace: fingerprints name files by their whole paths.
    """

    def known_code(changed: Files) -> bool:
        code = fingerprint({prefix + path: content for path, content in {**files, **changed}.items()})
        return bool(session.tried(code) or session.waiting_or_skipped(code))

    space = read_space(files, options)
    free = [i for i, knob in enumerate(space) if allowed(knob)]
    asked = [i for i in free if wanted(space[i])]
    if not asked:
        return None
    known = measured_points(session, space, files, source_of, options)
    here = tuple(knob.value for knob in space)
    rng = random.Random(f"{seed}:{session.segment.tag}:{session.segment.number}:{session.next_number}")
    half = (half or half_box(session, known)) / (2 if smaller else 1)
    taken = {m.point for m in known} | {here}
    for point in opening(space, here, known, first, asked, rng) if first else ():
        change = _change(space, files, options, point) if point not in taken else None
        if change is not None and not known_code(change.files):
            return change
    for width in (half, 1.0):  # a box in which everything was measured is left
        search = _Search(space, here, known, width, rng)
        for _ in range(DRAWS):
            point = search.draw(_some(free, asked, at_once, rng))
            if point in taken or all(point[i] == here[i] for i in asked):
                continue
            change = _change(space, files, options, point, search)
            if change is not None and not known_code(change.files):
                return change
            taken.add(point)
    # Of few choices the draws may miss the last ones.
    for point in itertools.islice(_choices_left(space, here, free, asked, at_once), MOST_CHOICES):
        change = _change(space, files, options, point, search) if point not in taken else None
        if change is not None and not known_code(change.files):
            return change
    return None


def half_box(session: Session, known: Sequence[Measured]) -> float:
    """Return half of the box's edge: smaller the longer nothing of this program was kept, and whole again in the
    end."""
    kept = max((e.number for e in session.current if e.status == "keep"), default=0)
    halvings = sum(m.experiment > kept and m.state != "running" for m in known) // SMALLER_EVERY
    sizes = [HALF_BOX]
    while sizes[-1] / 2 >= SMALLEST:
        sizes.append(sizes[-1] / 2)
    return sizes[halvings % len(sizes)]


def _change(space: Space, files: Files, options: Options, point: Point, search: _Search | None = None) -> Change | None:
    """Return the change that leads to a point, of a search or else of the opening; None when there is none."""
    steps = [Step(knob, value) for knob, value in zip(space, point, strict=True) if knob.value != value]
    if not steps:
        return None
    changed = {}
    for path in {step.knob.file for step in steps}:
        values = {step.knob.name: step.value for step in steps if step.knob.file == path}
        changed[path] = replaced(files[path], values, options)
    steps.sort(key=lambda step: -step.length)
    if search is None:
        return Change(tuple(steps), changed, 0, 0.0, estimated=False, opening=True)
    return Change(tuple(steps), changed, search.valued, search.half, search.estimated)


def _some(free: Sequence[int], first: Sequence[int], at_once: int, rng: random.Random) -> list[int]:
    """Return up to `at_once` of the knobs that are free, one of `first` among them."""
    chosen = [rng.choice(first)]
    others = [i for i in free if i != chosen[0]]
    return chosen + rng.sample(others, rng.randint(0, min(at_once - 1, len(others))))


def _choices_left(
    space: Space, here: Point, free: Sequence[int], first: Sequence[int], at_once: int
) -> Iterator[Point]:
    """Yield the points that differ in up to `at_once` of the knobs that have choices, the nearest first."""
    listed = [i for i in free if space[i].choices]
    for count in range(1, at_once + 1):
        for chosen in itertools.combinations(listed, count):
            if not set(chosen) & set(first):
                continue
            for values in itertools.product(*(space[i].choices for i in chosen)):
                new = dict(zip(chosen, values, strict=True))
                if all(value != here[i] for i, value in new.items()):
                    yield tuple(new.get(i, value) for i, value in enumerate(here))


class _Search:
    """A box around a point, with what was measured in it as trials of a study."""

    def __init__(self, space: Space, here: Point, known: Sequence[Measured], half: float, rng: random.Random) -> None:
        import optuna
        from optuna.distributions import BaseDistribution
        from optuna.samplers import TPESampler

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.half, self._space, self._here = half, space, here
        self._box: dict[str, BaseDistribution] = {str(i): _edges(knob, half) for i, knob in enumerate(space)}
        self._centre = self._positions(here)
        assert self._centre is not None
        sampler = TPESampler(seed=rng.getrandbits(32), n_startup_trials=RANDOM_FIRST)
        self._study = optuna.create_study(sampler=sampler)
        self._sampler = sampler
        self.valued = 0
        for m in known:
            position = self._positions(m.point)
            if position is not None:
                self._study.add_trial(_trial(m, position, self._box))
                self.valued += m.state == "valued"
        finished = sum(trial.state.is_finished() for trial in self._study.get_trials(deepcopy=False))
        self.estimated = finished >= RANDOM_FIRST

    def draw(self, chosen: Sequence[int]) -> Point:
        """Return a point of the box in which the chosen knobs alone differ, most likely, from the middle."""
        import warnings

        from optuna.samplers import PartialFixedSampler
        from optuna.trial import TrialState

        assert self._centre is not None
        fixed = {name: where for name, where in self._centre.items() if int(name) not in chosen}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that PartialFixedSampler is experimental
            self._study.sampler = PartialFixedSampler(fixed, self._sampler)
        trial = self._study.ask(self._box)
        self._study.tell(trial, state=TrialState.FAIL)  # the estimator does not see what is not measured
        return tuple(self._value(i, trial.params[str(i)]) if i in chosen else self._here[i]
                     for i in range(len(self._space)))  # fmt: skip

    def _value(self, i: int, position: float) -> Value:
        knob = self._space[i]
        value = knob.at(position)
        return value if Step(knob, value).length >= LEAST_STEP else knob.value

    def _positions(self, point: Point) -> dict[str, float] | None:
        """Return name -> position; what lies outside of the box counts as at its edge, which is the nearest that can be
        said of it. None for a value that no longer belongs to its range."""
        positions = {}
        for i, (knob, value) in enumerate(zip(self._space, point, strict=True)):
            where = knob.position(value)
            if where is None:
                return None
            box: Any = self._box[str(i)]
            if knob.scale != "choice" or knob.ordered:
                where = min(max(where, box.low), box.high)
            positions[str(i)] = where if knob.scale != "choice" else int(where)
        return positions


def _edges(knob: Knob, half: float) -> Any:
    """Return the box of one knob as a distribution of positions; for choices that have no order, all of them."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    where = knob.position(knob.value)
    assert where is not None
    if knob.scale != "choice":
        return FloatDistribution(max(0.0, where - half), min(1.0, where + half))
    last = len(knob.choices) - 1
    if not knob.ordered:
        return CategoricalDistribution([*range(last + 1)])
    reach = max(1, round(half * last))
    return IntDistribution(max(0, int(where) - reach), min(last, int(where) + reach))


def _trial(m: Measured, position: dict[str, float], box: dict[str, Any]) -> Any:
    """Return a measured point as a trial. What failed has a constraint that is broken, since a number would mislead:
    it would say how bad a failure is in bits or seconds."""
    from optuna.trial import TrialState, create_trial

    if m.state == "valued":
        return create_trial(params=position, distributions=box, value=m.loss, constraints={"ran": 0.0})
    if m.state == "failed":
        state = TrialState.PRUNED
        return create_trial(state=state, params=position, distributions=box, constraints={"ran": 1.0})
    return create_trial(state=TrialState.RUNNING, params=position, distributions=box)


def spelled(value: Value) -> str:
    if isinstance(value, str):
        return value if value.isprintable() else repr(value)
    return f"{value:.12g}" if isinstance(value, float) else str(value)
