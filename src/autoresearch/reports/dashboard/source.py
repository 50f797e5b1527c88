"""What the page shows of one workspace, as plain data: each answer is made by the functions behind `--json`."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from autoresearch.errors import IntegrityError, PreconditionError, UsageError
from autoresearch.journal.experiment import Experiment
from autoresearch.journal.session import Session
from autoresearch.reports import run_files, summary
from autoresearch.reports.dashboard.journal_tail import Position, tail_of
from autoresearch.reports.overview import diff_of, families_of, overview, task_of
from autoresearch.reports.plot_lines import MOST_CURVES, experiments_with, first_curves
from autoresearch.reports.policies import policy_view
from autoresearch.reports.views import View, gain_words, show_view
from autoresearch.search.families import family_of
from autoresearch.workspace.lock import current_run
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

RECENT = 50
"""Most experiments that are listed as new since the last look, the latest."""
MOST_REPLAYED = 2000
"""Experiments that another policy is asked about at once; more take longer than anybody waits for a page."""
SEEDS = 4
"""Runs of one experiment whose curves and logs are on its page."""

_ONE_AT_A_TIME = threading.Lock()
"""Folds, and the programs that are asked for objects of a repository, are made for one thread."""


@dataclass(slots=True)
class Source:
    """One workspace."""

    workspace: Workspace
    _made: tuple[Session, Any, View] | None = field(default=None, init=False)
    """The last overview, behind the session and the state of the workspace that it was made from."""

    @property
    def id(self) -> str:
        """Its name in a URL, which says nothing of where it lies."""
        return hashlib.sha256(os.fsencode(self.workspace.root)).hexdigest()[:12]

    @property
    def session(self) -> Session:
        """What the journal says now. Raises as `load_session` does, and when the journal is no regular file."""
        journal = self.workspace.journal
        if journal.exists() and not stat.S_ISREG(journal.stat().st_mode):
            raise IntegrityError(f"{journal.name} is no regular file", "see: autoresearch check")
        return load_session(self.workspace)

    def overview(self, since: Position | None = None) -> View:
        """Return the first page; with `since`, what has happened behind that place of the journal."""
        with _ONE_AT_A_TIME:
            # Before the session is read: a line that is written in between is told twice, rather than never.
            tail = tail_of(self.workspace.journal, since)
            session, now = self.session, int(time.time())
            state = (current_run(self.workspace), self.workspace.stop_file.exists(), now // 20)
            if self._made is None or self._made[0] is not session or self._made[1] != state:
                self._made = (session, state, {**overview(self.workspace, session, now), "id": self.id})
            view: View = {**self._made[2], "journal": None if tail is None else str(tail.end), "since": None}
            if since is not None and tail is not None and not tail.reset:
                changed = [e for n in tail.changed[-RECENT:] if (e := session.find(n)) is not None]
                known = families_of(task_of(self.workspace))
                rows = [{**summary.row(session, e, known), "warnings": list(e.warnings)} for e in changed]
                view["since"] = {"rows": rows, "more": max(0, len(tail.changed) - RECENT)}
            return view

    def experiments(self, status: str, family: str, text: str, first: int, limit: int) -> View:
        """Return rows of the table that fit the filters, from the place `first` on; and how many fit in all.

        A negative `first` counts from the end.
        """
        with _ONE_AT_A_TIME:
            session, task = self.session, task_of(self.workspace)
            known, secondary = families_of(task), task.metric.secondary if task is not None else ()
            chosen = [
                e
                for e in session.current
                if (not status or e.status == status)
                and (not text or text.lower() in f"{e.number} {(e.commit or '')[:7]} {e.description}".lower())
                and (not family or family_of(e.description, e.asi, known) == family)
            ]
            begin = max(0, len(chosen) + first) if first < 0 else min(first, max(0, len(chosen) - 1))
            rows = [summary.row(session, e, known, secondary) for e in chosen[begin : begin + limit]]
            return {"rows": rows, "total": len(chosen), "begin": begin}

    def experiment(self, number: int) -> View:
        """Return one experiment in full: what `show --json` has, its change, curves over the parent's, and logs."""
        with _ONE_AT_A_TIME:
            tail = tail_of(self.workspace.journal, None)
            session, task = self.session, task_of(self.workspace)
            e = _found(session, number)
            parent = next((x for x in session.experiments if x.commit == e.parent and e.parent is not None), None)
            seeds = run_files.seeds_of(self.workspace, number)[:SEEDS]
            curves = {
                f"experiment {number}, seed {seed}": curve
                for seed in seeds
                if (curve := run_files.curve_of(self.workspace, number, seed)) is not None
            }
            beside = first_curves(self.workspace, [parent]) if parent is not None else {}
            figure, names = run_files.curve_view({**curves, **beside})
            shown = show_view(session, e, task.metric.secondary if task is not None else ())
            return {
                **shown,
                "gain_words": gain_words(session, shown["gain"], shown["gain_error"]),
                "journal": None if tail is None else str(tail.end),
                "row": summary.row(session, e, families_of(task)),
                "over": parent.number if parent is not None else None,
                "diff": diff_of(self.workspace, e, 200_000),
                "curve": figure,
                "curve_names": names,
                "logs": [
                    {"seed": seed, "lines": lines}
                    for seed in seeds
                    if (lines := run_files.log_of(self.workspace, number, seed))
                ],
                "metric_name": session.metric.name,
            }

    def curve(self, numbers: list[int], name: str | None, by: str | None) -> View:
        """Return one value over the training of several experiments, each by the first seed that left a curve."""
        with _ONE_AT_A_TIME:
            chosen = experiments_with(self.session, numbers)
            figure, names = run_files.curve_view(first_curves(self.workspace, chosen), name, by)
            return {"figure": figure, "names": names}

    def compare(self, numbers: list[int]) -> View:
        """Return two or more experiments side by side: values by seed, differences with their errors, curves."""
        if len(numbers) < 2:
            raise UsageError("one experiment cannot be compared", f"name two to {MOST_CURVES}: ?n=4,9")
        with _ONE_AT_A_TIME:
            session, known = self.session, families_of(task_of(self.workspace))
            chosen = experiments_with(session, numbers)
            figure, names = run_files.curve_view(first_curves(self.workspace, chosen))
            seeds = sorted({seed for e in chosen for seed in e.by_seed})
            return {
                "rows": [summary.row(session, e, known) for e in chosen],
                "seeds": [{"seed": seed, "values": [e.by_seed.get(seed) for e in chosen]} for seed in seeds],
                "pairs": summary.compared(session, chosen),
                "curve": figure,
                "curve_names": names,
                "metric_name": session.metric.name,
            }

    def policy(self, name: Literal["confirm", "greedy"]) -> View:
        """Return what another policy would have kept: what `log --policy` has."""
        with _ONE_AT_A_TIME:
            session = self.session
            if len(session.current) > MOST_REPLAYED:
                raise PreconditionError(
                    f"{len(session.current)} experiments are too many to judge anew while a page waits",
                    f"ask in the terminal: autoresearch log --policy {name}",
                )
            return policy_view(self.workspace, session, name, {e.number for e in session.current})

    def running(self) -> View:
        """Return what is measured now, with its curve over that of the incumbent."""
        with _ONE_AT_A_TIME:
            run = current_run(self.workspace)
            if run is None:
                return {"running": None, "figure": None}
            number, seed = run["experiment"], run["seed"]
            curve = run_files.curve_of(self.workspace, number, seed)
            curves = {} if curve is None else {f"experiment {number}, seed {seed}, now": curve}
            incumbent = self.session.incumbent
            if incumbent is not None and incumbent.number != number:
                curves |= first_curves(self.workspace, [incumbent])
            figure, _ = run_files.curve_view(curves)
            return {"running": {"experiment": number, "seed": seed, "since": run.get("since")}, "figure": figure}


def _found(session: Session, number: int) -> Experiment:
    e = session.find(number)
    if e is None:
        raise UsageError(f"there is no experiment {number}", "see: autoresearch log")
    return e
