"""The parts of the report and of the page: what a session brought, each a pure function from it to plain data.

A number that is shown has its text beside it, made as `status` and `log` make theirs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any

from autoresearch.escaping import one_line
from autoresearch.experiments.pace import duration_words
from autoresearch.journal.experiment import Experiment
from autoresearch.journal.session import Session
from autoresearch.journal.study import LOCKED, Study
from autoresearch.reports.comparison import difference
from autoresearch.reports.figures import bars, duration, finished
from autoresearch.reports.luck import aa_view, aa_words
from autoresearch.reports.views import View, brief_view, gain_words, number, unit
from autoresearch.search.families import Families, family_of
from autoresearch.search.history import candidates, near_misses, step, yields

TOP = 5
NEAR_MISSES = 8
INSIGHTS = 3
"""Experiments of a family whose notes are told, the latest that have any."""
TRUNK = 100
"""Most kept experiments of the lineage; of a longer one the last."""
LEAVES = 10


def row(session: Session, e: Experiment, families: Families, secondary: Sequence[str] = ()) -> View:
    """Return one experiment as a row of the table: that of `log`, its family, and its numbers as text."""
    view = brief_view(session, e)
    return {
        **view,
        "secondary": {name: e.metrics.get(name) for name in secondary},
        "description": one_line(e.description, 200),
        "family": family_of(e.description, e.asi, families),
        "value_text": number(session, view["value"]),
        "gain_text": number(session, view["gain"], signed=True),
    }


def top(session: Session) -> list[View]:
    """Return the kept experiments that brought most over their parents, the largest gain first."""
    first = session.baseline
    kept = [e for e in session.current if e.status == "keep" and e is not first and step(session, e) is not None]
    by_commit = {e.commit: e for e in session.current if e.status == "keep" and e.commit is not None}
    # The gain on shared seeds, which is shown, takes longer to find than that of the means, by which most fall out.
    likely = sorted(kept, key=lambda e: -(step(session, e) or 0.0))[: 4 * TOP]
    rows = [kept_row(session, e, by_commit.get(e.parent or "")) for e in likely]
    return sorted(rows, key=lambda row: -row["step"])[:TOP]


def kept_row(session: Session, e: Experiment, parent: Experiment | None) -> View:
    """Return a kept experiment with what it brought over `parent`, on its seeds, and its hypothesis."""
    gap = difference(session, e, parent) if parent is not None else None
    gained, error = (gap.gain, gap.error) if gap is not None else (step(session, e), None)
    return {
        **brief_view(session, e),
        "description": one_line(e.description, 300),
        "over": parent.number if parent is not None else None,
        "step": gained,
        "step_error": error,
        "step_text": gain_words(session, gained, error) + unit(session),
        "value_text": number(session, brief_view(session, e)["value"]),
        "seeds": [run.seed for run in e.runs if run.seed is not None and run.purpose != "disturbed"],
        "hypothesis": one_line(str(e.asi.get("hypothesis", "")), 400),
    }


def confirmation(session: Session) -> View | None:
    """Return what the last `confirm` of the present segment found; None without one."""
    first = session.baseline
    study = _last(session, "confirm")
    if study is None or first is None or study.about.get("baseline") != first.number:
        return None
    best, result, uses = session.best, study.result, len(session.locked)
    interval = result.get("interval")
    low, high = map(_float, interval) if isinstance(interval, list) and len(interval) == 2 else (None, None)
    return {
        "best": study.about.get("best"),
        "of_the_best": best is not None and best.number == study.about.get("best"),
        **{key: result.get(key) for key in ("claimed", "gain", "interval", "shrinkage", "holds", "seeds")},
        "gain_text": number(session, _float(result.get("gain")), signed=True) + unit(session),
        "interval_text": f"{number(session, low, signed=True)} to {number(session, high, signed=True)}",
        "split": study.split,
        "locked_uses": uses,
    }


def ablation(session: Session) -> View | None:
    """Return what the last finished `ablate` said of each kept change; None without one, or of another segment."""
    study = _last(session, "ablate")
    if study is None or session.find(study.about.get("incumbent", -1)) not in session.current:
        return None
    known = {e.number: one_line(e.description, 120) for e in session.current}
    stack, made = study.result.get("stack"), study.result.get("changes")
    variants = [*(made if isinstance(made, list) else []), *([stack] if len(_undone(stack)) > 1 else [])]
    changes = [
        {
            **{key: variant.get(key) for key in ("verdict", "reason", "worth", "error", "seeds")},
            "worth_text": gain_words(session, _float(variant.get("worth")), _float(variant.get("error"))),
            "without": _undone(variant),
            "description": "; ".join(known.get(n, "") for n in _undone(variant)),
        }
        for variant in variants
        if _undone(variant)
    ]
    return {"incumbent": study.about.get("incumbent"), "changes": changes, "offered": study.result.get("offered")}


def _undone(variant: object) -> list[int]:
    """Return the experiments that a variant of an ablation is without."""
    without = variant.get("without") if isinstance(variant, dict) else None
    return [n for n in without if type(n) is int] if isinstance(without, list) else []


def _float(value: object) -> float | None:
    """Return a number of a study's result, which nobody has checked."""
    return float(value) if isinstance(value, int | float) else None


def _last(session: Session, what: str) -> Study | None:
    return next((s for s in reversed(session.studies) if s.what == what and s.outcome == "done"), None)


def headline(session: Session, view: View, state: View) -> str:
    """Return the one sentence: value, claimed and confirmed gain, running or stopped and why.

    `view` is that of `status`.
    """
    name, best = session.metric.name, view["best"]
    many = f"{view['experiments']} experiment{'' if view['experiments'] == 1 else 's'}"
    if best is None:
        return f"{name} has no value yet after {many}. {state['text']}"
    said = f"{name} is {number(session, best['value'])}{unit(session)} after {many}"
    if view["baseline"] and best["experiment"] == view["baseline"]["experiment"]:
        return f"{said}: nothing was better than the baseline. {state['text']}"
    said += f" (number {best['experiment']}), "
    said += f"claimed {gain_words(session, view['gain'], view['gain_error'])}{unit(session)} over the baseline, "
    found = confirmation(session)
    if found is None:
        return f"{said}not confirmed yet (autoresearch confirm). {state['text']}"
    split = f"the locked split, used {_times(found['locked_uses'])}" if found["split"] == LOCKED else "the search split"
    whose = "" if found["of_the_best"] else f" for number {found['best']}"
    verdict = "confirmed" if found["holds"] else "not confirmed:"
    numbers = f"{found['gain_text']}{whose} (95 % interval {found['interval_text']}, {split})"
    return f"{said}{verdict} {numbers}. {state['text']}"


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


def failures(session: Session) -> View:
    """Return the failed experiments by outcome, the most frequent first, each with its latest reason; and a figure."""
    failed = [e for e in finished(session) if e.status in ("crash", "checks_failed")]
    latest = {str(e.outcome): e for e in failed}
    counts = Counter(str(e.outcome) for e in failed)
    rows = [
        {"outcome": outcome, "count": count, "experiment": latest[outcome].number,
         "reason": one_line(latest[outcome].reason, 240)}
        for outcome, count in counts.most_common()
    ]  # fmt: skip
    return {"rows": rows, "figure": bars("failed experiments", counts.most_common())}


def families(session: Session, known: Families) -> list[View]:
    """Return what each family of changes has brought, the most tried first."""
    return [
        {"family": y.family, "tried": y.tried, "kept": y.kept, "best_gain": y.best_gain,
         "best_gain_text": number(session, y.best_gain, signed=True)}
        for y in yields(session, known)
    ]  # fmt: skip


def close(session: Session) -> list[View]:
    """Return the near misses: discarded, and no worse than their parents within the noise."""
    return [
        {"experiment": e.number, "description": one_line(e.description, 200), "step": step(session, e),
         "step_text": number(session, step(session, e), signed=True)}
        for e in near_misses(session)[:NEAR_MISSES]
    ]  # fmt: skip


def insights(session: Session, known: Families) -> list[View]:
    """Return what was written down of the latest experiments of each family that have notes."""
    told: dict[str, list[View]] = {}
    for e in reversed(candidates(session)):
        mine = told.setdefault(family_of(e.description, e.asi, known), [])
        if len(mine) >= INSIGHTS:
            continue
        notes = {one_line(str(key), 40): one_line(str(value), 300) for key, value in e.asi.items() if key != "family"}
        if notes:
            mine.append({"experiment": e.number, "status": e.status, "notes": notes})
    return [{"family": family, "experiments": rows} for family, rows in told.items() if rows]


def time_spent(session: Session) -> View:
    """Return how long the session took, as (what, text) and as a figure; what it cost belongs here, too."""
    timed = [e for e in finished(session) if e.started is not None and e.finished is not None]
    rows: list[tuple[str, str]] = []
    if timed:
        each = [(e.finished or 0) - (e.started or 0) for e in timed]
        passed = max(e.finished or 0 for e in timed) - min(e.started or 0 for e in timed)
        rows.append(("from the first start to the last verdict", duration_words(passed)))
        rows.append(("measuring, from start to verdict", duration_words(sum(each))))
        if passed > 0:
            rows.append(("share of the time in measuring", f"{100 * sum(each) / passed:.0f} %"))
            rows.append(("experiments an hour", f"{3600 * len(timed) / passed:.1f}"))
        rows.append(("an experiment, median", duration_words(median(each))))
    return {"rows": rows, "figure": duration(session)}


def loop_quality(session: Session, false_keeps: View | None) -> list[tuple[str, str]]:
    """Return how well the loop works, as (what, text); `false_keeps` is what `selftest` found, if it was made."""
    done = finished(session)
    runs = sum(len(e.runs) for e in done)
    rows = [("runs for each experiment", f"{runs / len(done):.2f}")] if done else []
    failed = sum(e.status in ("crash", "checks_failed") for e in done)
    rows += [("failed", f"{failed} of {len(done)}")] if done else []
    rows += _time_in_training(done)
    rows += [("duplicates that were refused", str(repeated))] if (repeated := _repeated(session)) else []
    again = sum(run.purpose == "disturbed" for e in done for run in e.runs)
    rows += [("runs made again because the machine was at work", str(again))] if again else []
    if false_keeps is not None and false_keeps["experiments"]:
        low, high = (f"{100 * end:.0f}" for end in false_keeps["interval"])
        found = f"{false_keeps['false_keeps']} of {false_keeps['experiments']} (95 % interval {low} to {high} %)"
        rows.append(("changes of nothing that were kept (selftest)", found))
    live = aa_view(session)
    rows += [("A/A: the unchanged best code against itself", aa_words(live))] if live is not None else []
    budget = math.fsum([e.alpha for e in session.experiments])
    rows += [("chance that luck was kept so far, at most", f"{budget:.2g}")] if budget else []
    return rows


def _time_in_training(done: Sequence[Experiment]) -> list[tuple[str, str]]:
    """Return which part of the time from start to verdict the commands of an experiment's own runs took."""
    known = [
        ((e.finished or 0) - (e.started or 0), e.command_seconds)
        for e in done
        if e.started is not None and e.finished is not None
    ]
    passed = sum(whole for whole, own in known if own is not None)
    inside = math.fsum(own for _, own in known if own is not None)
    # Times are whole seconds: of runs that take none, the part is not known.
    return [("share of an experiment in its own runs", f"{min(100.0, 100 * inside / passed):.0f} %")] if passed else []


def _repeated(session: Session) -> int:
    """Return how many changes of this segment were refused because their code had been measured."""
    numbers = {e.number for e in session.current}
    return sum(number in numbers for number in session.refused)


def lineage(session: Session) -> list[View]:
    """Return the trunk of kept experiments in order, each with what was tried on top of it and came to nothing."""
    leaves: dict[str | None, list[Experiment]] = {}
    for e in candidates(session):
        if e.status != "keep":
            leaves.setdefault(e.parent, []).append(e)
    trunk = [e for e in session.current if e.status == "keep"][-TRUNK:]
    return [
        {
            "experiment": e.number,
            "description": one_line(e.description, 120),
            "value_text": number(session, brief_view(session, e)["value"]),
            "leaves": Counter(str(leaf.status) for leaf in leaves.get(e.commit, ())),
            "latest": [leaf.number for leaf in leaves.get(e.commit, ())[-LEAVES:]],
        }
        for e in trunk
    ]


def compared(session: Session, chosen: Sequence[Experiment]) -> list[dict[str, Any]]:
    """Return each pair of chosen experiments: how much better the later one is, and whether beyond the noise."""
    pairs = []
    for at, old in enumerate(chosen):
        for new in chosen[at + 1 :]:
            gap = difference(session, new, old)
            if gap is None:
                continue
            seeds = f"{gap.same_seeds} shared seed{'' if gap.same_seeds == 1 else 's'}"
            pairs.append(
                {
                    "experiment": new.number,
                    "against": old.number,
                    "gain": gap.gain,
                    "error": gap.error,
                    "decided": gap.decided,
                    "text": gain_words(session, gap.gain, gap.error) + unit(session),
                    "on": seeds if gap.same_seeds else "means over different seeds",
                }
            )
    return pairs
