"""The session as another policy would have judged it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Literal

from autoresearch.errors import AutoresearchError
from autoresearch.escaping import one_line
from autoresearch.journal.session import Session
from autoresearch.reports.views import View, gain, number
from autoresearch.statistics.decision import Rules
from autoresearch.studies.policy_replay import BASELINE, replayed
from autoresearch.workspace.task_file import load
from autoresearch.workspace.workspace import Workspace


def policy_view(workspace: Workspace, session: Session, policy: Literal["confirm", "greedy"], shown: set[int]) -> View:
    """Return what `policy`, with the other rules of the task, would have said of the experiments in `shown`."""
    rules = Rules()
    with suppress(AutoresearchError):  # a journal alone is enough
        rules = load(workspace.root).rules
    decisions = replayed(session, replace(rules, policy=policy))
    counted = [d for d in decisions if d.reason != BASELINE]
    known = {e.number: e for e in session.current}
    kept = {d.experiment for d in counted if d.verdict == "keep"}
    also = {n for n in kept if known[n].status == "keep"}
    return {
        "policy": policy,
        "experiments": [
            {
                "experiment": d.experiment,
                "status": known[d.experiment].status,
                "would": d.verdict,
                "reason": d.reason,
                "gain": gain(session, known[d.experiment]),
                "description": known[d.experiment].description,
            }
            for d in decisions
            if d.experiment in shown
        ],
        "judged": len(counted),
        "would_keep": len(kept),
        "kept_by_both": len(also),
        "kept_by_session": sum(known[d.experiment].status == "keep" for d in counted),
        "unmeasured": sum(d.verdict == "unmeasured" for d in counted),
    }


def policy_lines(session: Session, view: View) -> list[str]:
    """Return the same as text."""
    lines = [f"{'n':>5}  {'was':<13}  {view['policy']:<10}  {'gain':>10}  why"]
    for row in view["experiments"]:
        lines.append(
            f"{row['experiment']:>5}  {row['status'] or '-':<13}  {row['would']:<10}  "
            f"{number(session, row['gain'], signed=True):>10}  {one_line(row['reason'], 100)}"
        )
    summary = f"of {view['judged']} experiments {view['policy']} would have kept {view['would_keep']}"
    lines.append(f"{summary}; this session kept {view['kept_by_session']}, {view['kept_by_both']} of them the same")
    if view["unmeasured"]:
        lines.append(f"of {view['unmeasured']} nobody can say: the policy needs runs that were never made")
    lines.append("(each change was measured on top of the session's own incumbent, not of this policy's)")
    return lines
