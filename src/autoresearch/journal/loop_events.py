"""The lines of the loop without a person and of its costs: a builder and a reader for each, as in `events.py`.

`reserve` and `settle` are the ledger; `proposal` is what an agent has made, `loop_agent` that one must rest or is
gone, `loop_run` where a run of the loop begins and ends, `steer` what a person asks of it meanwhile. Standard library
and Python 3.8 only, like `events.py`. Other tools pass these lines over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autoresearch.journal.fields import (
    Event,
    finite,
    mapping_at,
    number_at,
    seconds_at,
    strings_at,
    text_at,
    whole_at,
)

if TYPE_CHECKING:
    from autoresearch.journal.ledger import Entry, Usage
    from autoresearch.journal.loop import AgentState, Loop, LoopProposal, LoopRun, Steering

LOOP_TYPES = frozenset(("reserve", "settle", "proposal", "loop_agent", "loop_run", "steer"))

STEERING = ("pause", "continue", "skip", "ban", "allow", "ask", "any", "goal")
"""What a `steer` line may ask for; `ban`, `allow` and `ask` name a family, `goal` is a text."""


# --- reserve, settle: what something may cost at most, and what it did cost ---


def reserve_line(
    id: str, experiment: int, now: int, *, agent: str = "", usd: float | None = 0.0, device_s: float = 0.0
) -> Event:
    """Return the line before money or device time is spent; `usd` is None where the most is not known."""
    line: Event = {"type": "reserve", "id": id, "experiment": experiment}
    if agent:
        line["agent"] = agent
    return {**line, "usd": usd, "device_s": device_s, "timestamp": now}


def settle_line(id: str, usage: Usage, device_s: float, now: int) -> Event:
    """Return the line after it; `usage.usd` is None where nobody knows the price of what was used."""
    tokens = {"input": usage.input, "cached": usage.cached, "cache_written": usage.cache_written,
              "output": usage.output}  # fmt: skip
    line: Event = {"type": "settle", "id": id, "usd": usage.usd}
    if any(tokens.values()):
        line["tokens"] = tokens
    if usage.model:
        line["model"] = usage.model
    return {**line, "device_s": device_s, "timestamp": now}


def read_reserve(event: Event) -> Entry:
    """Return the entry that a `reserve` line opens."""
    from autoresearch.journal.ledger import Entry

    return Entry(
        _id(event), whole_at(event, "experiment"), text_at(event, "agent") or "", _dollars(event),
        number_at(event, "device_s") if "device_s" in event else 0.0, began=seconds_at(event),
    )  # fmt: skip


def read_settle(event: Event, entry: Entry) -> Entry:
    """Return an entry with what a `settle` line says of it."""
    from autoresearch.journal.ledger import Usage

    if entry.settled:
        raise ValueError(f"{entry.id} is settled twice")
    tokens = mapping_at(event, "tokens", {})
    read, cached, written, output = (
        whole_at(tokens, key) if key in tokens else 0 for key in ("input", "cached", "cache_written", "output")
    )
    usage = Usage(text_at(event, "model") or "", read, cached, written, output, _dollars(event))
    used = number_at(event, "device_s") if "device_s" in event else 0.0
    return replace(entry, settled=True, usage=usage, used_s=used, ended=seconds_at(event))


def _id(event: Event) -> str:
    id = text_at(event, "id")
    if not id:
        raise ValueError("id is missing")
    return id


def _dollars(event: Event) -> float | None:
    return None if event.get("usd") is None else finite("usd", event["usd"])


# --- proposal: what an agent has made of a brief ---


def proposal_line(proposal: LoopProposal, now: int) -> Event:
    """Return the line of a proposal; one that has a commit is measured next."""
    p = proposal
    line = {"type": "proposal", "turn": p.turn, "round": p.round, "agent": p.agent, "parent": p.parent,
            "mode": p.mode, "outcome": p.outcome, "description": p.description, "asi": dict(p.asi),
            "commit": p.commit, "reservation": p.reservation}  # fmt: skip
    optional = {"reason": p.reason, "fingerprint": p.fingerprint, "remarks": list(p.remarks)}
    line.update({key: value for key, value in optional.items() if value})
    if p.same is not None:
        line["same"] = p.same
    return {**line, "timestamp": now}


def read_proposal(event: Event) -> LoopProposal:
    """Return the proposal of a line."""
    from autoresearch.journal.loop import DROPPED, MADE, LoopProposal

    outcome = text_at(event, "outcome") or ""
    if outcome != MADE and outcome not in DROPPED:
        raise ValueError(f"unknown outcome {outcome!r}; it must be one of {', '.join((MADE, *DROPPED))}")
    commit = text_at(event, "commit")
    if (outcome == MADE) != (commit is not None):
        raise ValueError(f"a proposal that is {outcome} has {'a' if commit else 'no'} commit")
    return LoopProposal(
        whole_at(event, "turn"),
        whole_at(event, "round"),
        text_at(event, "agent") or "",
        whole_at(event, "parent"),
        text_at(event, "mode") or "",
        outcome,
        text_at(event, "description") or "",
        mapping_at(event, "asi", {}),
        commit,
        text_at(event, "reason") or "",
        text_at(event, "fingerprint"),
        None if event.get("same") is None else whole_at(event, "same"),
        text_at(event, "reservation") or "",
        strings_at(event, "remarks"),
        seconds_at(event),
    )


# --- loop_agent: one must rest, or is gone ---


def agent_line(agent: str, reason: str, now: int, *, until: float | None) -> Event:
    """Return that an agent cannot work until a time (seconds since 1970), or, with None, without a person."""
    return {"type": "loop_agent", "agent": agent, "reason": reason, "until": until, "timestamp": now}


def read_agent(event: Event, before: AgentState) -> AgentState:
    """Return the state of an agent after a line about it."""
    from autoresearch.journal.loop import AgentState

    reason = text_at(event, "reason") or ""
    if event.get("until") is None:
        return AgentState(gone=True, reason=reason)
    return AgentState(number_at(event, "until"), before.rests + 1, reason=reason)


# --- loop_run: a run of the loop begins, and ends ---


def loop_begin_line(agents: Sequence[str], options: Mapping[str, Any], experiment: int, now: int) -> Event:
    """Return the line where a run of the loop begins; `experiment` is the first number that it can give."""
    return {"type": "loop_run", "event": "begin", "agents": list(agents), "options": dict(options),
            "experiment": experiment, "timestamp": now}  # fmt: skip


def loop_end_line(reason: str, now: int) -> Event:
    """Return the line where it ends, with the reason in a sentence."""
    return {"type": "loop_run", "event": "end", "reason": reason, "timestamp": now}


def read_loop(event: Event, loop: Loop, entries: int) -> LoopRun:
    """Return the run of the loop that a line begins, or goes on with, or ends; `entries` is how many the ledger has."""
    from autoresearch.journal.loop import LoopRun, limits_of, run_again

    if event.get("event") == "begin":
        now, first, agents = seconds_at(event), whole_at(event, "experiment"), strings_at(event, "agents")
        options = mapping_at(event, "options", {})
        again, limits = run_again(options), limits_of(options)
        before = loop.run
        if before is None or not before.goes_on(options):
            return LoopRun(now, first, loop.next_turn, entries, agents, again=again, limits=limits)
        idle_s, latest = before.idle_s, loop.latest
        if now is not None and latest is not None:
            idle_s += max(0.0, now - latest - loop.steering.paused_s(latest, now))
        return replace(before, agents=agents, ended=None, again=again, idle_s=idle_s)
    if event.get("event") != "end":
        raise ValueError(f"event is {event.get('event')!r}; it must be begin or end")
    if loop.run is None:
        raise ValueError("a loop ends that has not begun")
    return replace(loop.run, ended=text_at(event, "reason") or "")


# --- steer: what a person asks of it ---


def steer_line(what: str, now: int, text: str = "") -> Event:
    """Return what a person asks for, one of STEERING."""
    line = {"type": "steer", "what": what}
    if text:
        line["text"] = text
    return {**line, "timestamp": now}


def read_steer(event: Event, steering: Steering) -> Steering:
    """Return the steering after a line of it."""
    what, text = text_at(event, "what") or "", text_at(event, "text") or ""
    if what not in STEERING:
        raise ValueError(f"what is {what!r}; it must be one of {', '.join(STEERING)}")
    if what == "pause":
        return steering if steering.paused else replace(steering, pauses=(*steering.pauses, (_now(event), None)))
    if what == "continue":
        if not steering.paused:
            return steering
        begin = steering.pauses[-1][0]
        return replace(steering, pauses=(*steering.pauses[:-1], (begin, max(begin, _now(event)))))
    if what == "skip":
        return replace(steering, skips=steering.skips + 1)
    if what == "goal":
        return replace(steering, goal=text)
    if what == "any":
        return replace(steering, banned=(), asked="")
    others = tuple(family for family in steering.banned if family != text)
    if what == "ban":
        return replace(steering, banned=(*others, text), asked="" if steering.asked == text else steering.asked)
    return replace(steering, banned=others, asked=text if what == "ask" else steering.asked)


def _now(event: Event) -> int:
    now = seconds_at(event)
    if now is None:
        raise ValueError("timestamp is missing")
    return now
