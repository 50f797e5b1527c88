"""A session of real experiments on the tiny task, unattended: how long each part takes, and whether the journal holds.

    uv run python benchmarks/session.py [--experiments 50] [--seconds 60] [--policy P] [--folder DIR] [--json]

The sampler changes constants of train.py, as in `quickstart`. With --folder the workspace stays there,
and the same command goes on with a session that was interrupted. The share spent in training is the training clock's
seconds of all runs, over the wall clock from the first experiment's beginning to the last one's end.

Progress is told on stderr. A session that is ended early (SIGTERM, Ctrl-C) prints the figures of what it has done, and
with --folder they are in DIR/figures.json after each experiment.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autoresearch.errors import AutoresearchError, MachineError
from autoresearch.experiments.attempt import attempt
from autoresearch.experiments.baseline import baseline
from autoresearch.experiments.preflight import check_all
from autoresearch.journal import file as journal
from autoresearch.journal.refs import ref_of
from autoresearch.loop.agents.base import Brief, ProposalFailed
from autoresearch.loop.agents.sampler import Sampler
from autoresearch.runs.isolation.choice import choose
from autoresearch.runs.setup import setup_workspace
from autoresearch.system.clock import wall_clock
from autoresearch.system.files import write_atomic
from autoresearch.system.git import Git
from autoresearch.system.process import signals_interrupt
from autoresearch.workspace.init import init
from autoresearch.workspace.init_options import InitOptions
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.task_file import load
from autoresearch.workspace.workspace import Workspace

Figures = dict[str, object]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--experiments", type=int, default=50, help="after the baseline")
    parser.add_argument("--seconds", type=float, default=60, help="training budget of one run")
    parser.add_argument("--policy", choices=["confirm", "greedy"], default="confirm")
    parser.add_argument("--seed", type=int, default=1, help="of the sampler")
    parser.add_argument("--folder", type=Path, help="where the workspace stays; default: a temporary one")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as temporary, signals_interrupt():
        folder = args.folder or Path(temporary)
        if args.folder is None:
            os.environ.setdefault("AUTORESEARCH_CACHE", f"{temporary}/cache")
        workspace = begun(folder / "session", args.seconds, args.policy)
        try:
            for figures in experiments(workspace, args.experiments, args.seed):
                write_atomic(folder / "figures.json", json.dumps(figures))
                print(progress(workspace, figures), file=sys.stderr, flush=True)
        except (KeyboardInterrupt, MachineError) as error:
            print(f"ended early: {error or 'interrupted'}", file=sys.stderr, flush=True)
        figures["wrong"] = wrong(workspace)
        write_atomic(folder / "figures.json", json.dumps(figures))
    if args.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:<26}{value}")
    sys.exit(0 if figures["wrong"] == [] and figures.get("experiments", 0) == args.experiments else 1)


def begun(folder: Path, seconds: float, policy: str) -> Workspace:
    """Return the workspace, with its data prepared; a new one, if there is none."""
    if (folder / journal.NAME).exists():
        return Workspace(folder)
    options = InitOptions("pretrain", tag="session", source="python", profile="tiny", seconds=seconds, policy=policy)
    workspace = init(folder, options, wall_clock())
    setup_workspace(workspace)
    return workspace


def experiments(workspace: Workspace, wanted: int, seed: int) -> Iterator[Figures]:
    """Run what is missing of the session; give its figures after each experiment.

    What a machine failed is not decided and not counted; after four failures, or when asked to end, `MachineError`.
    """
    began, phases = time.monotonic(), Phases()
    if load_session(workspace).baseline is None:
        baseline(workspace, None, wall_clock, tick=phases.tick)
    before = len(runs(workspace))
    sampler, task = Sampler(workspace=workspace), load(workspace.root)
    loop, failures = time.monotonic(), 0
    yield measured(workspace, phases, before, began, loop)
    while len(decided(workspace)) <= wanted:
        session = load_session(workspace)
        assert session.incumbent is not None
        try:
            brief = Brief(workspace.root, session, task, session.incumbent.number, "improve", "", seed=seed)
            edit = sampler.propose(brief)
        except ProposalFailed:
            return
        try:
            attempt(workspace, edit.description, edit.asi, wall_clock, tick=phases.tick)
        except MachineError as error:
            failures += 1
            print(error, file=sys.stderr, flush=True)
            if failures > 3 or isinstance(error.__cause__, KeyboardInterrupt):
                raise
            continue
        yield measured(workspace, phases, before, began, loop)


def decided(workspace: Workspace) -> list[int]:
    """Return the numbers of the experiments that have a verdict, the baseline among them."""
    return [e.number for e in load_session(workspace).experiments if e.status is not None and e.outcome != "killed"]


def progress(workspace: Workspace, figures: Figures) -> str:
    """Return one line on the newest experiment and the session so far."""
    e = load_session(workspace).experiments[-1]
    told = f"{e.number:>4} {e.status} {e.metric} {e.description}: {e.reason}"
    return f"{told} | {figures['loop_runs']} runs in {figures['loop_s']} s, training {figures['training_share']}"


def measured(workspace: Workspace, phases: Phases, before: int, began: float, loop: float) -> Figures:
    """Return the figures of a session as it is now; `before` runs, and the time until `loop`, are the baseline's."""
    ended = time.monotonic()
    made = runs(workspace)
    in_loop = made[before:]
    session = load_session(workspace)
    clock = sum(run["metrics"].get("training_seconds", 0.0) for run in in_loop)
    life = sum(run["seconds"] for run in in_loop)
    return {
        "experiments": len(decided(workspace)) - 1,
        "runs": len(made),
        "verdicts": dict(Counter(f"{e.status} ({e.outcome})" for e in session.experiments)),
        "repeats_of_incumbents": sum(len(e.repeats) for e in session.experiments),
        "baseline": session.baseline and session.baseline.reference,
        "best": session.best and session.best.reference,
        "noise_sd": session.noise.sd,
        "sandbox": sandbox.name if (sandbox := choose()) is not None else "none",
        "cores": len(os.sched_getaffinity(0)),
        "wall_s": round(ended - began, 1),
        "loop_s": round(ended - loop, 1),
        "loop_runs": len(in_loop),
        "training_clock_s": round(clock, 1),
        "training_share": round(clock / (ended - loop), 4) if in_loop else None,
        "start_and_save_s_per_run": round((life - clock) / max(len(in_loop), 1), 2),
        "evaluate_s_per_run": round(phases.seconds["evaluate"] / max(len(made), 1), 2),
        "engine_s_per_run": round((ended - began - sum(phases.seconds.values())) / max(len(made), 1), 2),
    }


class Phases:
    """Seconds in the processes of runs, by what they do; `tick` is called while they go on, some times a second."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._last: tuple[str, float] = ("", 0.0)

    def tick(self, what: str, seconds: float) -> None:
        phase, before = self._last
        self.seconds[what] += seconds - before if what == phase and seconds > before else seconds
        self._last = (what, seconds)


def runs(workspace: Workspace) -> list[dict[str, Any]]:
    """Return the results of all runs, oldest first."""
    paths = sorted((workspace.state / "runs").glob("*/*/result.json"), key=lambda path: path.stat().st_mtime)
    return [json.loads(path.read_text()) for path in paths]


def wrong(workspace: Workspace) -> list[str]:
    """Return what does not hold of journal, branch, refs and folder; nothing, if all is well."""
    told = []
    events = [event for _, event in journal.read(workspace.journal)]
    starts = [e["experiment"] for e in events if e.get("type") == "start"]
    verdicts = [e["run"] for e in events if "run" in e]
    if starts != [*range(1, len(starts) + 1)] or verdicts != starts:
        told.append(f"starts {starts} and verdicts {verdicts} do not fit")
    session, git = load_session(workspace), Git(workspace.root)
    task = load(workspace.root)
    told += [str(error) for error in check_all(workspace, git, session, task)]
    for e in session.experiments:
        if git.resolve(ref_of(session, e.number)) != e.commit:
            told.append(f"the ref of experiment {e.number} is not its commit")
        kept = [e.by_seed[seed] for seed in e.seeds]
        for seed, value in zip(e.seeds, kept, strict=True):
            with (workspace.run_dir(e.number, seed) / "result.json").open() as file:
                if json.load(file)["value"] != value:
                    told.append(f"journal and result of experiment {e.number}, seed {seed} differ")
    if session.incumbent is None or git.head() != session.incumbent.commit or git.changes():
        told.append("branch or folder are not those of the incumbent")
    if [*workspace.scratch.glob("*")] or workspace.running.exists():
        told.append("something of a run is left")
    return told


if __name__ == "__main__":
    try:
        main()
    except AutoresearchError as error:
        sys.exit(f"session: {error}")
