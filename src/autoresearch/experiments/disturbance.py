"""Whether the machine disturbed a run: from its load and the run's speed, seen from outside, never from its value."""

from __future__ import annotations

from collections.abc import Sequence

from autoresearch.journal.experiment import Speed
from autoresearch.runs.measurement import Measurement

SLOWER = 0.8
"""A run with less than this part of the steps in a second of the commit's fastest, or of the processor time in a second
of the other side's, was disturbed, when the load says so, too."""

STALLED = 0.65
"""One with less than this part of the steps in a second of the commit's fastest was, whatever the load says: what the
host of a virtual machine takes shows in neither its load nor its processor time, and the same code does the same
work. Only where the task says how long it trained."""

FEWEST = 20
"""Steps that the fastest would have made in that time; where they are fewer, one more or less is a large part."""

OTHERS = 0.5
"""The load average that is not the run's own, in cores, from which on the machine was at work elsewhere."""

LEAST_SECONDS = 5.0
"""Of shorter runs neither the load average nor the share of processor time tells anything."""


COUNTS = ", and so it counts"
"""What is seen of the last one of several that were all disturbed ends with this."""


def made_again(seen: Sequence[str]) -> int:
    """Return how many runs were made again, of what was seen at disturbed ones."""
    return sum(not why.endswith(COUNTS) for why in seen)


def speed_of(run: Measurement) -> Speed:
    """Return steps (or else millions of tokens) in a second where the task reports them, processor time in one, and the
    seconds."""
    seconds = run.metrics.get("training_seconds") or run.seconds
    done = run.metrics.get("num_steps") or run.metrics.get("total_tokens_M")
    pace = done / seconds if done and seconds > 0 else None
    share = run.cpu_s / run.seconds if run.cpu_s is not None and run.seconds > 0 else None
    rounded = (None if pace is None else round(pace, 4), None if share is None else round(share, 3))
    return Speed(*rounded, round(run.seconds, 3) if run.seconds else None)


def disturbance(run: Measurement, own: Sequence[Speed], beside: Sequence[Speed] = ()) -> str:
    """Return in a phrase how a run was disturbed; empty when it was not, or when nothing tells it."""
    pace, share, _ = speed_of(run)
    if run.seconds < LEAST_SECONDS:
        return ""
    paces = [speed.pace for speed in own if speed.pace is not None]
    slow = f"{pace:.3g} steps a second, {max(paces):.3g} in another run of the same code" if pace and paces else ""
    trained = run.metrics.get("training_seconds") or 0.0
    sure = trained >= LEAST_SECONDS and paces and ("num_steps" not in run.metrics or max(paces) * trained >= FEWEST)
    stalled = slow if pace is not None and sure and pace < STALLED * max(paces) else ""
    others = run.load - share if run.load is not None and share is not None else 0.0
    if others < OTHERS or share is None:
        return stalled
    told = f"while a load of {others:.1f} was not its own"
    if pace is not None and paces and pace < SLOWER * max(paces):
        return f"{slow}, {told}"
    shares = [speed.share for speed in (*own, *beside) if speed.share is not None]
    if (pace is None or not paces) and shares and share < SLOWER * max(shares):
        return f"{share:.2g} s of processor time a second, {max(shares):.2g} in other runs, {told}"
    return ""
