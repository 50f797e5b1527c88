"""What `audit` says of the one-seed view of our own recorded sessions, beside what their seeds and `confirm` said.

    python benchmarks/audit_sessions.py [JOURNAL ...] [--json]

A session measures a candidate on several seeds and keeps what pairs of runs tell. The one-seed view of it is what most
published tables are: the first run of each experiment, and each that is better than all before it is kept. That view is
audited without a noise, and with the noise that the session's seeds told. Beside it stands what the session knew and
the view does not: which of those changes its seeds kept, and the same gain from the other runs of both ends (`by other
runs`), which did not choose them. Each segment of a journal has two rows; without JOURNAL those of this repository are
read.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoresearch.exchange.audit import better_ones_kept
from autoresearch.journal.experiment import Experiment, Run
from autoresearch.journal.session import Session, replay
from autoresearch.metrics import Metric
from autoresearch.reports.claims import weigh
from autoresearch.statistics.noise import pooled

ROOT = Path(__file__).resolve().parents[1]
RECORDED = (ROOT / "benchmarks" / "sessions", ROOT / "tests" / "data")
"""Folders of journals: recorded for this, and for the tests."""


def journals() -> list[Path]:
    """Return the journals of real sessions in this repository."""
    return sorted(path for folder in RECORDED for path in folder.glob("*.jsonl"))


def read(path: Path) -> Session:
    """Return the session of a journal."""
    return replay(enumerate(map(json.loads, path.read_text(encoding="utf-8").splitlines()), 1))


def one_seed(experiments: Sequence[Experiment], metric: Metric) -> list[Experiment]:
    """Return the view of one run each: the first of each experiment, kept where it is better than all before it."""
    view = []
    for e in experiments:
        runs = e.runs_for("screening", "verdict")
        if e.status in ("keep", "discard") and runs:
            first = Run(runs[0].seed, runs[0].value, "verdict", runs[0].hardware, e.number)
            view.append(e._replace(runs=(first,), metric=first.value))
    return better_ones_kept(view, metric)


def others(e: Experiment) -> list[Run]:
    """Return the runs of an experiment but the first."""
    return e.runs_for("screening", "verdict", "repeat")[1:]


def by_other_runs(first: Experiment, last: Experiment, metric: Metric) -> tuple[float, float, int] | None:
    """Return the gain of `last` over `first` by their other runs, its standard error, and how many they are; None where
    one of them has no two."""
    sides = [[run.value for run in others(e)] for e in (first, last)]
    if min(map(len, sides)) < 2:
        return None
    gain = metric.gain(statistics.fmean(sides[1]), statistics.fmean(sides[0]))
    error = math.sqrt(sum(statistics.variance(side) / len(side) for side in sides))
    return gain, error, sum(map(len, sides))


def row_of(
    name: str, experiments: Sequence[Experiment], metric: Metric, studies: Sequence[Any], *, given: bool
) -> dict[str, Any] | None:
    """Return one row of the table, with the noise `given` or not; None where the seeds do not tell one to give."""
    view = one_seed(experiments, metric)
    kept = [e for e in view if e.status == "keep"]
    whole = {e.number: e for e in experiments}
    noise = pooled([[*e.noise_runs] for e in experiments if len(e.noise_runs) > 1])
    if given and not noise.sd:
        return None
    found = weigh(view, metric, noise.sd if given else None)
    row: dict[str, Any] = {
        "session": name, "metric": metric.name, "experiments": len(view), "kept": len(kept) - 1,
        "kept_by_seeds": sum(whole[e.number].status == "keep" for e in kept[1:]), "noise": noise.sd if given else None,
        "reason": found.reason or None,
    }  # fmt: skip
    if found.claim is not None:
        claim = found.claim
        row |= {"claimed": claim.claimed, "expected": claim.mean, "low": claim.low, "high": claim.high,
                "noise_said": claim.noise, "near": claim.near,
                "real": {str(view[step.at].number): step.real for step in claim.steps}}  # fmt: skip
        row["others"] = by_other_runs(whole[kept[0].number], whole[kept[-1].number], metric)
    mine = [s for s in studies if s.what == "confirm" and s.result and s.about.get("baseline") in whole]
    row["confirmed"] = [{key: s.result.get(key) for key in ("claimed", "gain", "interval")} | {"split": s.split}
                        for s in mine]  # fmt: skip
    return row


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return the rows of one journal: two of each segment in which something was measured."""
    session, rows = read(path), list[dict[str, Any] | None]()
    parts = {e.segment for e in session.experiments}
    for part in sorted(parts):
        own = [e for e in session.experiments if e.segment == part]
        name = path.stem + (f", segment {part}" if len(parts) > 1 else "")
        rows += [row_of(name, own, session.metric, session.studies, given=given) for given in (False, True)]
    return [row for row in rows if row is not None]


def told(row: dict[str, Any]) -> str:
    """Return one row of the table."""
    noise = f"{row['noise']:.4f}" if row["noise"] is not None else "-"
    cells = [row["session"], str(row["experiments"]), str(row["kept"]), str(row["kept_by_seeds"])]
    if row["reason"]:
        return "| " + " | ".join([*cells, noise, "-", "-", row["reason"], "-", "-"]) + " |"
    share = f", {row['expected'] / row['claimed']:.0%} of it" if row["claimed"] > 0 else ""
    expected = f"{row['expected']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f}){share}"
    other = row["others"]
    runs = f"{other[0]:+.4f} ± {other[1]:.4f} ({other[2]} runs)" if other else "too few runs"
    confirmed = "; ".join(f"{c['gain']:+.4f} ({c['interval'][0]:+.4f} to {c['interval'][1]:+.4f}), {c['split']}"
                          for c in row["confirmed"]) or "-"  # fmt: skip
    cells += [noise, f"{row['noise_said']:.4f}", f"{row['claimed']:+.4f}", expected, runs, confirmed]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("journals", nargs="*", type=Path, metavar="JOURNAL")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = [row for path in args.journals or journals() for row in rows_of(path)]
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    print("| session | experiments | kept by one seed | of them by the seeds | noise given | noise said | claimed "
          "| expected (90 %) | by other runs | confirmed |")  # fmt: skip
    print("|---|--:|--:|--:|--:|--:|--:|---|---|---|")
    print("\n".join(map(told, rows)))


if __name__ == "__main__":
    main()
