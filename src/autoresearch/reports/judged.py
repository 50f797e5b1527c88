"""What `generate` and `judge` have done, as data and as text."""

from __future__ import annotations

from collections import Counter

from autoresearch.escaping import one_line
from autoresearch.models.calls import Calls
from autoresearch.models.judge import Compared
from autoresearch.models.verdicts import Judge, Tally, percent, warnings
from autoresearch.reports.costs import View, cost_view
from autoresearch.statistics.win_rate import LEVEL, Estimate

NOT_FOR_KEEP = "for people to read: an experiment is never kept by what a judge likes"


def compared_view(compared: Compared) -> View:
    """Return a comparison as data; `other` is the tuned model."""
    return {
        "level": LEVEL,
        "all": compared.all.as_view(),
        "properties": {name: tally.as_view() for name, tally in compared.properties.items()},
        "where_tuned_is_longer": compared.longer.as_view(),
        "where_it_is_not": compared.not_longer.as_view(),
        "judge": compared.judge.as_view(),
        "labelled": compared.labelled.as_view() if compared.labelled is not None else None,
        "cut_off": {"base": compared.cut[0], "tuned": compared.cut[1]},
        "left_out": dict(compared.left_out),
        "warnings": warnings(compared.judge, compared.labelled),
    }


def compared_lines(compared: Compared) -> list[str]:
    """Return a comparison as a table of the tuned model against the base, and what is known of the judge."""
    rows = [("all", compared.all)]
    if len(compared.properties) > 1:
        rows += [(one_line(name, 24) or "-", tally) for name, tally in compared.properties.items()]
    rows += [("tuned is longer", compared.longer), ("tuned is not longer", compared.not_longer)]
    width = max(len(name) for name, _ in rows)
    lines = [f"{'prompts':<{width}}  {'n':>5}  {'won':>5}  {'tied':>5}  {'lost':>5}  {'win rate':<22}  characters"]
    lines += [f"{name:<{width}}  {_row(tally)}" for name, tally in rows]
    chance = compared.all.chance
    lines.append(f"the tuned model against the base; intervals of {100 * LEVEL:.0f} %, from a bootstrap over prompts")
    lines.append(f"chance   of so uneven a result between equals: {'-' if chance is None else f'{chance:.2g}'}")
    lines.append(f"judge    {_judge_words(compared.judge)}")
    if compared.labelled is not None:
        lines.append(f"people   {_people_words(compared.labelled)}")
        lines.append(f"         there, {_judge_words(compared.labelled)}")
    if any(compared.cut):
        base, tuned = compared.cut
        lines.append(f"cut off  answers of the base to {base} prompts, of the tuned model to {tuned}")
    lines += left_out_lines(compared.left_out)
    lines += [f"remark   {line}" for line in warnings(compared.judge, compared.labelled)]
    return [*lines, f"remark   {NOT_FOR_KEEP}"]


def left_out_lines(left_out: Counter[str]) -> list[str]:
    return [f"left out {count}: {one_line(why, 150)}" for why, count in left_out.most_common(6)]


def calls_view(calls: Calls) -> View:
    """Return what the calls of a folder have cost in all, and how many were sent now."""
    cost = cost_view(calls.cost) or {}
    cost.pop("device_s", None)
    return {
        "calls": {"sent": calls.asked, "answered_before": calls.before},
        "cost": {**cost, "assumed": calls.assumed} if cost else None,
    }


def calls_lines(calls: Calls) -> list[str]:
    cost = calls.cost
    told = f"{cost.usd:.4f} USD" if cost.usd or not cost.unpriced else "unknown"
    unknown = f"; of {cost.unpriced} calls nobody knows the price" if cost.unpriced else ""
    whole = f"; {calls.assumed} calls count with the most that they can cost: how they ended is not known"
    kept = whole if calls.assumed else ""
    cached = f" ({cost.cached:,} from the cache)" if cost.cached else ""
    return [
        f"calls    {calls.asked} sent now, {calls.before} answered before",
        f"cost     {told} in this folder: {cost.input:,} tokens read{cached}, {cost.output:,} written{unknown}{kept}",
    ]


def _row(tally: Tally) -> str:
    n = tally.won + tally.tied + tally.lost
    ends = "" if tally.longer.low is None else f" ({_ends(tally.longer, '+.0f')})"
    longer = "-" if tally.longer.value is None else f"{tally.longer.value:+.0f}{ends}"
    return f"{n:>5}  {tally.won:>5}  {tally.tied:>5}  {tally.lost:>5}  {_number(tally.rate):<22}  {longer}"


def _judge_words(judge: Judge) -> str:
    parts = [f"both orders agree on {_percents(judge.consistent)} of {judge.pairs} pairs"]
    parts.append(f"it takes the first in {_percents(judge.first)}")
    for what, preference in (("the longer", judge.longer), ("its own", judge.own)):
        if preference.judge:
            people = f" (people: {percent(preference.people)})" if preference.people else ""
            parts.append(f"{what} in {_percents(preference.judge)}{people}")
    return ", ".join(parts)


def _people_words(judge: Judge) -> str:
    agreed = f"it says the same as people on {_percents(judge.agreed)} of {judge.agreed.n} labelled pairs"
    return f"{agreed}, kappa {_number(judge.kappa)}"


def _number(estimate: Estimate) -> str:
    return "-" if estimate.value is None else f"{estimate.value:.2f} ({_ends(estimate, '.2f')})"


def _percents(estimate: Estimate) -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return percent(estimate)
    return f"{percent(estimate)} ({100 * estimate.low:.0f} to {100 * estimate.high:.0f})"


def _ends(estimate: Estimate, how: str) -> str:
    if estimate.low is None or estimate.high is None:
        return "-"
    return f"{estimate.low:{how}} to {estimate.high:{how}}"
