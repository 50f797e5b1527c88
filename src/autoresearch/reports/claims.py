"""What the claim of a log is worth, ours or another tool's: its experiments as trials, and the result as plain data."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from autoresearch.escaping import one_line
from autoresearch.journal.experiment import Experiment
from autoresearch.metrics import Metric
from autoresearch.statistics.chain import TooFar, Trial
from autoresearch.statistics.claim import Claim, KeptGain, NotIdentifiable, weighed
from autoresearch.statistics.noise import Noise, pooled, spelled

RATIO = 2.0
"""Where the kept values change by more than this factor, effects and noise are taken for parts of the value."""

SURE, DOUBTFUL = 0.95, 0.05
"""Above the first a kept change is called a gain, below the second none; between them it is worth running again."""

MOST_PAIRS = 64
FEWEST_DIGITS = 6
"""So many digits before the point may be noise; where there are more, they are left out."""
TOLD = 0.8
"""The share of the claim is told where it is within ten points of the truth with this probability."""

AGAIN = re.compile(r"\b(re-?run|repeat(ed)?|replicat\w*|again|same|seeds?|re-?measured?|noise check)\b", re.I)
"""Words of a description that say that a row is the same code once more."""
FEW_DISCARDS, FEW_KEPT = 5, 2
ZEROS = 0.05
"""More than this share of zeros are values, and no crashes."""
HUGE, TINY = 1e100, 1e-280
"""No measurement is larger: it has exploded. None is smaller, but for 0: a float has no digits for its noise."""


@dataclass(frozen=True, slots=True)
class Rerun:
    """What would settle whether one kept change is a gain."""

    experiment: int
    against: int
    """The kept one before it."""
    pairs: int
    """Runs of the two, on the same seeds."""
    enough: bool
    """False where even `MOST_PAIRS` would not settle it."""


@dataclass(frozen=True, slots=True)
class WeighedLog:
    """The claim of one log, or of one segment of it, weighed."""

    metric: Metric
    experiments: tuple[Experiment, ...]
    """Those with a value, from the first kept one on."""
    remarks: tuple[str, ...]
    """What was left out, and how things were taken."""
    origin: str
    """Where the noise is known from."""
    logarithmic: bool
    claim: Claim | None
    """None where nothing can be said; `reason` says why."""
    reason: str = ""

    @property
    def reruns(self) -> list[Rerun]:
        """What would settle the doubtful keeps, the cheapest first."""
        if self.claim is None:
            return []
        found, base = [], self.experiments[0].number
        for step in self.claim.steps:
            number = self.experiments[step.at].number
            if DOUBTFUL < step.real < SURE:
                pairs = pairs_for(step, self.claim.noise)
                found.append(Rerun(number, base, min(pairs, MOST_PAIRS), pairs <= MOST_PAIRS))
            base = number
        return sorted(found, key=lambda r: (not r.enough, r.pairs))


def pairs_for(step: KeptGain, noise: float) -> int:
    """Return the pairs that tell a gain of the expected size, if it is one, from none: 5 % one-sided, 4 times in 5."""
    size = max(step.mean / max(step.real, 0.05), noise / 100, 1e-300)
    return max(2, math.ceil(2 * ((1.645 + 0.842) * noise / size) ** 2))


def runs_to_settle(reruns: Sequence[Rerun]) -> dict[int, int]:
    """Return experiment -> runs for all pairs together: a run of one serves its comparisons with both neighbours."""
    runs: dict[int, int] = {}
    for rerun in reruns:
        for number in (rerun.experiment, rerun.against):
            runs[number] = max(runs.get(number, 0), rerun.pairs)
    return dict(sorted(runs.items()))


def weigh(experiments: Sequence[Experiment], metric: Metric, noise: float | None = None) -> WeighedLog:
    """Return what the claim of one log is worth; `noise` is the standard deviation of one run, where it is known.

    Raises nothing: where nothing can be said, `reason` says why.
    """
    chosen, remarks = valued(experiments)
    blank = WeighedLog(metric, tuple(chosen), tuple(remarks), "", False, None)
    if not chosen:
        return replace(blank, reason="no experiment was kept, so nothing is claimed")
    if not any(e.status == "keep" for e in chosen[1:]):
        return replace(blank, reason="nothing was kept after the first experiment, so nothing is claimed")
    sign = 1.0 if metric.direction == "lower" else -1.0
    values = [value_of(e) for e in chosen]
    kept = [v for v, e in zip(values, chosen, strict=True) if e.status == "keep"]
    logarithmic = min(values) > 0 and max(kept[0] / kept[-1], kept[-1] / kept[0]) > RATIO
    unit, repeats, scale = rounding(values), Noise(None, 0), 1.0
    if noise == 0 and unit == 1:
        unit = 0.0  # counts, which nobody has rounded
    if noise is None:
        repeats, more = repeated(chosen)
        remarks += more
    if logarithmic:
        scale = math.exp((math.log(kept[0]) + math.log(kept[-1])) / 2)  # their product may be too small for a float
        values = [math.log(v) for v in values]
        remarks.append("the values change by more than a factor of two, so gains and noise are taken as parts of them")
    if repeats.sd is not None and not repeats.sd < HUGE:
        repeats = Noise(None, 0)
    if repeats.exact:
        repeats = Noise(None, 0)
        remarks.append(
            "every repeat gave the same value, which tells no noise: with a fixed seed a run is one draw; where values "
            "depend on no luck (bytes, counts), say so: --noise 0"
        )
    remarks += doubts(chosen, sign)
    trials = [
        Trial(sign * v, e.status == "keep", max(1, len(e.noise_runs))) for v, e in zip(values, chosen, strict=True)
    ]
    known = Noise(repeats.sd / scale, repeats.dof) if repeats.sd else None
    given = None if noise is None else noise / scale if noise >= TINY else 0.0
    try:
        claim = weighed(trials, given, repeats=known, rounding=unit / scale)
    except TooFar as error:
        far = _numbers([chosen[error.at]])
        why = f"{far} was kept with a value that no noise explains beside the others: correct its row, or leave it out"
        return replace(blank, remarks=tuple(remarks), reason=why)
    except NotIdentifiable as error:
        why = f"neither repeats nor the changes without effect tell the noise of a run: {error}"
        return replace(blank, remarks=tuple(remarks), origin="not identifiable", reason=why)
    origin = origin_of(repeats) if given is None else "given"
    if given is not None and claim.noise > 1.01 * given:
        instead = "the digits of the values tell no less" if unit else "a hundredth of the smallest difference for it"
        origin = f"given as {noise:g}; {instead}"
    return WeighedLog(metric, tuple(chosen), tuple(remarks), origin, logarithmic, claim)


def origin_of(repeats: Noise) -> str:
    if not repeats.sd:
        return "estimated from changes without effect"
    return f"from {repeats.dof} repeat{'s' if repeats.dof > 1 else ''} in the log, and from changes without effect"


def valued(experiments: Sequence[Experiment]) -> tuple[list[Experiment], list[str]]:
    """Return the experiments that have a value, from the first kept one on, and what was left out."""
    single, remarks = counted(experiments)
    first = next((at for at, e in enumerate(single) if e.status == "keep"), len(single))
    if first:
        remarks.append(f"left out: {first} before the first that was kept")
    return single[first:], remarks


def counted(experiments: Sequence[Experiment]) -> tuple[list[Experiment], list[str]]:
    """Return the experiments whose values count, and what was left out: what exploded, zeros that stand for a crash,
    and rows that stand there twice."""
    remarks = []
    scored = [e for e in experiments if e.status in ("keep", "discard") and e.metric is not None]
    vanished = [e for e in scored if 0 < abs(value_of(e)) < TINY]
    if vanished:
        remarks.append(f"left out: {_numbers(vanished)} with a value nearer to 0 than {TINY:g}")
        scored = [e for e in scored if not 0 < abs(value_of(e)) < TINY]
    exploded = [e for e in scored if not abs(value_of(e)) < HUGE]
    if exploded:
        remarks.append(f"left out: {_numbers(exploded)} with a value beyond {HUGE:g}")
        scored = [e for e in scored if abs(value_of(e)) < HUGE]
    sizes = sorted(abs(value_of(e)) for e in scored if value_of(e) != 0)
    zeros = [e for e in scored if value_of(e) == 0]
    if zeros and sizes and len(zeros) <= ZEROS * len(scored) and sizes[0] > sizes[len(sizes) // 2] / 10:
        remarks.append(f"left out: {_numbers(zeros)} with a value of exactly 0, as some tools write for a crash")
        scored = [e for e in scored if value_of(e) != 0]
    known, twice = set[tuple[object, ...]](), list[Experiment]()
    single = list[Experiment]()
    for e in scored:
        row = (e.commit, e.status, value_of(e), e.description, e.finished)
        told = e.commit or e.description or e.finished is not None  # else only the value is the same
        (twice if told and row in known else single).append(e)
        known.add(row)
    if twice:
        remarks.append(f"left out: {_numbers(twice)}, which stand in the log a second time")
    return single, remarks


def doubts(chosen: Sequence[Experiment], sign: float) -> list[str]:
    """Return what makes the log a poor witness, a sentence each."""
    found, best = [], math.inf
    worse = []
    for e in chosen:
        if e.status == "keep":
            if sign * value_of(e) > best:
                worse.append(e)
            best = sign * value_of(e)
    discards = sum(e.status == "discard" for e in chosen)
    kept = len(chosen) - discards
    if (discards < FEW_DISCARDS < kept) or (not discards and kept > FEW_KEPT):
        found.append(
            f"{discards or 'no'} discarded experiments: if others were left out of the log, less is true than is said"
        )
    if worse:
        was = "was" if len(worse) == 1 else "were"
        found.append(f"{_numbers(worse)} {was} kept though worse than the one kept before")
    return found


def _numbers(experiments: Sequence[Experiment]) -> str:
    """Return up to six numbers of experiments as words."""
    some = ", ".join(str(e.number) for e in experiments[:6])
    more = f" and {len(experiments) - 6} more" if len(experiments) > 6 else ""
    return f"experiment{'s' if len(experiments) > 1 else ''} {some}{more}"


def value_of(e: Experiment) -> float:
    """Return the mean of the runs that did not choose it; the one number of another tool's log."""
    runs = e.noise_runs
    if runs:
        return math.fsum(runs) / len(runs)
    assert e.metric is not None
    return e.metric


def repeated(experiments: Sequence[Experiment]) -> tuple[Noise, list[str]]:
    """Return the noise from runs of the same code, and what was not taken for such.

    Those are the runs of one experiment, and rows of one commit whose descriptions are equal or say that it was run
    again: many logs name a commit that is not the row's own.
    """
    groups = [[*e.noise_runs] for e in experiments if len(e.noise_runs) > 1]
    commits: dict[str, list[Experiment]] = {}
    for e in experiments:
        if e.commit and len(e.noise_runs) <= 1:
            commits.setdefault(e.commit, []).append(e)
    doubtful = 0
    for rows in commits.values():
        same = [e for e in rows[1:] if e.description == rows[0].description or AGAIN.search(e.description)]
        doubtful += len(rows) - 1 - len(same)
        if same:
            groups.append([value_of(e) for e in (rows[0], *same)])
    remarks = []
    if doubtful:
        remarks.append(f"{doubtful} rows have the commit of another row and other words, so they count as changes")
    return pooled(groups), remarks


def rounding(values: Sequence[float]) -> float:
    """Return the unit of the last digit that the values are written with, of at most nine decimals; of nine beyond the
    first digit where all of them are smaller than 1."""
    largest = max((abs(v) for v in values), default=0.0)
    most = 9 + (max(0, -math.floor(math.log10(largest))) if largest else 0)
    decimals = max((len(m[1]) for v in values if (m := re.search(r"\.(\d+)$", f"{v:.{most}f}".rstrip("0")))), default=0)
    return 10.0**-decimals


# --- as plain data, with the texts that are shown ---


def claim_view(log: WeighedLog) -> dict[str, Any]:
    """Return a weighed log as data: numbers, and beside them the texts that table, page and report show."""
    claim, metric = log.claim, log.metric
    view: dict[str, Any] = {
        "metric": metric.name, "direction": metric.direction, "unit": metric.unit, "remarks": list(log.remarks),
        "noise_from": log.origin or None, "logarithmic": log.logarithmic, "reason": log.reason or None,
        "result": None, "steps": [], "reruns": [], "rerun_runs": {}, "facts": [],
    }  # fmt: skip
    if claim is None:
        return view
    numbers = {name: value for name, value in asdict(claim).items() if name != "steps"}
    share = claim.mean / claim.claimed if claim.claimed > 0 else None
    view["result"] = {**numbers, "share": share, "share_told": share is not None and claim.near >= TOLD}
    view["steps"] = [_step_view(log, step) for step in claim.steps]
    reruns = log.reruns
    view["reruns"] = [asdict(rerun) for rerun in reruns]
    view["rerun_runs"] = {str(n): count for n, count in runs_to_settle([r for r in reruns if r.enough]).items()}
    view["facts"] = facts_of(log, view)
    return view


def _step_view(log: WeighedLog, step: KeptGain) -> dict[str, Any]:
    e = log.experiments[step.at]
    return {
        **asdict(step), "experiment": e.number, "description": one_line(e.description, 200),
        "claimed_text": amount(log, step.claimed), "mean_text": amount(log, step.mean),
        "interval_text": f"{amount(log, step.low)} to {amount(log, step.high)}",
        "real_text": f"{100 * step.real:.0f} %",
    }  # fmt: skip


def amount(log: WeighedLog, gain: float) -> str:
    """Return a gain as text, better is positive; of a logarithmic one the part of the value that it changes."""
    if not log.logarithmic:
        digits = 2 - math.floor(math.log10(log.claim.noise)) if log.claim is not None else 4
        text = f"{gain:+.3g}" if digits < -FEWEST_DIGITS else spelled(gain, max(0, digits), 9, "+")
        return text if text.strip("+-0.") else f"+{text[1:]}"  # what is rounded to nothing has no direction
    return f"{100 * (math.expm1(gain) if log.metric.direction == 'higher' else -math.expm1(-gain)):+.3g} %"


def facts_of(log: WeighedLog, view: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the result as (what, text)."""
    claim, result = log.claim, view["result"]
    assert claim is not None
    spread = "" if claim.noise_low == claim.noise_high else f"; {claim.noise_low:.2g} to {claim.noise_high:.2g}"
    scale = " of the value" if log.logarithmic else ""
    rows = [("noise", f"{claim.noise:.3g}{scale} per run ({log.origin}{spread})"),
            ("claimed", f"{amount(log, claim.claimed)} in {_count(len(claim.steps), 'kept change')}")]  # fmt: skip
    text = f"{amount(log, claim.mean)} (90 %: {amount(log, claim.low)} to {amount(log, claim.high)})"
    if result["share"] is not None:
        chance = f"within ten points at {100 * claim.near:.0f} %"
        percent = 100 * result["share"]
        told = f"{round(percent) if abs(percent) < 1e4 else f'{percent:.3g}'} % of the claim, {chance}"
        text += f": {told}" if result["share_told"] else f": the log does not tell which share ({told})"
    rows.append(("expected", text))
    rows.append(("no effect", f"{100 * claim.none:.0f} % of the changes, on average"))
    rows.append(("gains", gains_words(claim)))
    if view["reruns"]:
        rows.append(("to settle", settle_words(log.reruns)))
    return rows


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def gains_words(claim: Claim) -> str:
    """Return how many of the kept changes are gains."""
    sure = sum(step.real >= SURE for step in claim.steps)
    none = sum(step.real <= DOUBTFUL for step in claim.steps)
    return f"{sure} of {len(claim.steps)} kept are gains (95 %), {none} are none, the others are doubtful"


def settle_words(reruns: Sequence[Rerun]) -> str:
    """Return the re-runs as a sentence, the cheapest first."""
    good = [r for r in reruns if r.enough]
    rest = len(reruns) - len(good)
    words = ", ".join(f"{r.experiment} against {r.against} ({r.pairs} pairs)" for r in good[:8])
    more = f" and {len(good) - 8} more" if len(good) > 8 else ""
    total = f"; {sum(runs_to_settle(good).values())} runs in all" if good else ""
    beyond = f"{'; ' if good else ''}{rest} would take more than {MOST_PAIRS} pairs" if rest else ""
    return words + more + total + beyond
