"""What A/A candidates have shown: how often the incumbent's own code would have been kept as better than itself."""

from __future__ import annotations

import math
from typing import Any

from autoresearch.journal.session import Session
from autoresearch.journal.study import AA
from autoresearch.statistics.rates import interval_of


def aa_view(session: Session) -> dict[str, Any] | None:
    """Return how many of this segment have a verdict, how many would have been kept, the 95 % interval of that rate,
    and how many the rules let be kept at most, on the average; that is None where they bound nothing. None without
    any."""
    studies = [s for s in session.studies if s.what == AA and s.outcome == "done"]
    here = {e.number for e in session.current} if studies else set()
    done = [s.result for s in studies if s.about.get("experiment") in here]
    if not done:
        return None
    kept = sum(result.get("kept") is True for result in done)
    bounds = [result.get("at_most") for result in done]
    known = [float(bound) for bound in bounds if isinstance(bound, int | float)]
    return {"candidates": len(done), "kept": kept, "interval": list(interval_of(kept, len(done))),
            "at_most": math.fsum(known) if len(known) == len(done) else None}  # fmt: skip


def aa_words(view: dict[str, Any]) -> str:
    """Return the view in a line."""
    low, high = (f"{100 * end:.0f}" for end in view["interval"])
    expected = "the rules bound no chance" if view["at_most"] is None else f"expected at most {view['at_most']:.2g}"
    return f"{view['kept']} of {view['candidates']} would have been kept ({expected}; 95 % interval {low} to {high} %)"
