"""What the loop has cost: of a session, of an experiment, of a gain that was confirmed. Views, and the text of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autoresearch.escaping import one_line
from autoresearch.journal.ledger import Cost
from autoresearch.journal.loop import LoopProposal
from autoresearch.journal.session import Session

View = dict[str, Any]


def cost_view(cost: Cost) -> View | None:
    """Return a cost as data; None where nothing was spent by the loop."""
    if not cost:
        return None
    tokens = {"input": cost.input, "cached": cost.cached, "output": cost.output}
    return {"usd": cost.usd, "unpriced": cost.unpriced, "tokens": tokens, "device_s": cost.device_s, "open": cost.open}


def spent_view(session: Session) -> View | None:
    """Return what the loop has cost in this session, for each of its experiments and for each change that was kept."""
    cost = session.ledger.cost
    whole = cost_view(cost)
    if whole is None:
        return None
    commits = session.loop.commits
    mine = [e for e in session.experiments if e.commit in commits and e.status is not None and e.outcome != "killed"]
    kept = [e for e in mine if e.status == "keep"]
    return {
        **whole,
        "experiments": len(mine),
        "gains": len(kept),
        "per_experiment": _share(cost, len(mine)),
        "per_gain": _share(cost, len(kept)),
    }


def _share(cost: Cost, count: int) -> View | None:
    """Return dollars and seconds for each of so many; None where there is none."""
    if not count:
        return None
    tokens = (cost.input + cost.output) // count
    return {"usd": round(cost.usd / count, 6), "tokens": tokens, "device_s": round(cost.device_s / count, 1)}


def spent_lines(session: Session) -> list[str]:
    """Return the same in at most two lines; none where the loop has spent nothing."""
    view = spent_view(session)
    if view is None:
        return []
    tokens = view["tokens"]["input"] + view["tokens"]["output"]
    line = _words(view["usd"], tokens, view["device_s"])
    if view["unpriced"]:
        line += f"; of {view['unpriced']} proposals nobody knows the price"
    if view["open"]:
        line += f"; {view['open']} of it counted whole, since a kill has left it open"
    shares = [
        f"{_words(share['usd'], share['tokens'], share['device_s'])} for each {what}"
        for what, share in (("experiment", view["per_experiment"]), ("gain that was kept", view["per_gain"]))
        if share is not None
    ]
    return [line, *(["; ".join(shares)] if shares else [])]


def columns(rows: Sequence[View]) -> list[tuple[str, list[str]]]:
    """Return (head, cells) of what `log` has of costs in these rows; nothing where no row has a cost."""
    costs = [row.get("cost") for row in rows]
    known = [cost for cost in costs if cost]
    device = [("device", [_time(cost["device_s"]) if cost else "-" for cost in costs])] if known else []
    dollars = any(cost["usd"] for cost in known)
    return [*([("usd", [f"{cost['usd']:.4f}" if cost else "-" for cost in costs])] if dollars else []), *device]


def cost_words(cost: View) -> str:
    """Return a cost as a phrase."""
    return _words(cost["usd"], cost["tokens"]["input"] + cost["tokens"]["output"], cost["device_s"])


def _words(usd: float, tokens: int, device_s: float) -> str:
    parts = [f"{usd:.4f} USD"] if usd else []
    parts += [f"{tokens:,} tokens"] if tokens else []
    return ", ".join([*parts, f"{_time(device_s)} of the device"])


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def dropped_view(proposal: LoopProposal) -> View:
    """Return a proposal that was not measured, as a row of `log`."""
    return {
        "turn": proposal.turn,
        "agent": proposal.agent,
        "outcome": proposal.outcome,
        "description": proposal.description,
        "reason": proposal.reason,
        "same_as": proposal.same or None,
        "timestamp": proposal.timestamp,
    }


def dropped(session: Session, last: int) -> list[View]:
    """Return the latest proposals that were not measured."""
    return [dropped_view(p) for p in session.loop.proposals if p.commit is None][-last:]


def dropped_lines(rows: list[View]) -> list[str]:
    """Return the same as text, a line each."""
    return [
        f"{'':>5}  {row['outcome']:<13}  turn {row['turn']}, {row['agent']}: {one_line(row['description'], 60) or '-'}"
        f"  ({one_line(row['reason'], 160)})"
        for row in rows
    ]


def loop_view(session: Session) -> View | None:
    """Return how the loop is; None where none was begun."""
    run, steering = session.loop.run, session.loop.steering
    if run is None:
        return None
    resting = {name: state.until for name, state in session.loop.agents.items() if not state.gone}
    return {
        "agents": list(run.agents),
        "ended": run.ended,
        "paused": steering.paused,
        "banned": list(steering.banned),
        "asked": steering.asked or None,
        "goal": steering.goal or None,
        "resting": resting,
        "gone": {name: state.reason for name, state in session.loop.agents.items() if state.gone},
        "turns": session.loop.next_turn - 1,
    }


def loop_lines(view: View | None) -> list[str]:
    """Return the same in a line or two."""
    if view is None:
        return []
    state = f"has ended: {one_line(view['ended'], 200)}" if view["ended"] else "was interrupted"
    if view.get("running"):
        state = "paused" if view["paused"] else "at work"
    lines = [f"loop         {', '.join(view['agents'])}; {view['turns']} turns, {state}"]
    gone = [f"{name}: {one_line(why, 160)}" for name, why in view["gone"].items()]
    return [*lines, *(f"agent        {line}" for line in gone)]
