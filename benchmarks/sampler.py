"""The sampler beside others at equal runs, on a real training of a tenth of a second (`recipes/next_byte.py`).

    uv run python benchmarks/sampler.py [--arms NAME ...] [--seeds 5] [--runs 60] [--folder DIR] [--json]

An arm proposes changes of the same program; the decision rules of the pretrain task keep or discard them on the same
seeds of training, so a promising change costs several runs, of both sides. Runs after the baseline are counted. What an
arm has reached is the mean of its incumbent over training seeds that no decision saw. A run's cost is multiplications,
so the load of the machine changes nothing. With --folder each session is kept there, and the same command goes on.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from autoresearch.experiments.code_fingerprint import fingerprint
from autoresearch.experiments.decide import SCREENING_SEED, SeedRuns, decide, failure, verdict_line
from autoresearch.journal.events import config_line, repeat_line, start_line
from autoresearch.journal.session import Experiment, Fold, Session
from autoresearch.metrics import Metric
from autoresearch.runs.measurement import Measurement
from autoresearch.search import sampler
from autoresearch.search.space import Knob, read_space, replaced
from autoresearch.statistics.rules import Rules
from autoresearch.system.files import write_atomic
from autoresearch.workspace.assets import task_folder
from autoresearch.workspace.task_file import parse

PROGRAM = Path(__file__).with_name("recipes") / "next_byte.py"
NAME = "next_byte.py"
BASELINE_SEEDS = (1, 2, 3, 4, 5)
HELD_OUT = range(1001, 1009)
"""Seeds of training that no decision sees."""
CHECKPOINTS = (30, 60)

Files = Mapping[str, bytes]
Values = dict[tuple[str, int], float | str]
"""(source, seed) -> value, or the outcome of a run that failed."""


# --- the arms ---


@dataclass
class Arm:
    """Proposes new content for the program, or None when it has no more."""

    name: str
    propose: Callable[[Told, int], bytes | None]


def ours(told: Told, seed: int, **how: Any) -> bytes | None:
    change = sampler.propose(told.session, told.here, told.source_of, {}, seed, **how)
    return change.files[NAME] if change else None


FACTORS = (0.5, 0.7, 1.4, 2.0)


def one_factor(told: Told, seed: int) -> bytes | None:
    """What the sampler was before: one positive fraction times a factor, at random, without looking at any range."""
    content = told.here[NAME]
    tried = {e.description for e in told.session.current}
    choices = []
    for node in ast.parse(content).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant):
            continue
        name, value = ast.unparse(node.targets[0]), node.value.value
        if name.isupper() and type(value) is float and value > 0 and name not in FIXED:
            for factor in FACTORS:
                new = 1 - (1 - value) / factor if 0.5 < value < 1 else value * factor
                new = float(f"{new:.3g}")
                if f"{name} {value:g} -> {new:g}" not in tried:
                    choices.append((name, value, new))
    if not choices:
        return None
    name, value, new = random.Random(f"{seed}:{told.session.next_number}").choice(choices)
    told.description = f"{name} {value:g} -> {new:g}"
    return replaced(content, {name: new}, {})


FIXED = {"BUDGET", "PER_STEP", "MEMORY", "BYTES"}


def optuna_alone(told: Told, seed: int, kind: str) -> bytes | None:
    """Optuna over the whole ranges, all constants at once; it is told values, and nothing of the incumbent."""
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = read_space(told.here, {})

    def distribution(knob: Knob) -> Any:
        if knob.choices and not knob.ordered:
            return CategoricalDistribution([*range(len(knob.choices))])
        return IntDistribution(0, len(knob.choices) - 1) if knob.choices else FloatDistribution(0.0, 1.0)

    box = {knob.name: distribution(knob) for knob in space}
    number = told.session.next_number
    chosen = getattr(optuna.samplers, kind)(seed=1000 * seed + number)
    study = optuna.create_study(sampler=chosen)
    for m in sampler.measured_points(told.session, space, told.here, told.source_of, {}):
        where = {k.name: int(p) if k.choices else p for k, v in zip(space, m.point, strict=True)
                 if (p := k.position(v)) is not None}  # fmt: skip
        state = TrialState.PRUNED if m.state == "failed" else TrialState.COMPLETE
        study.add_trial(create_trial(state=state, params=where, distributions=box, value=m.loss,
                                     constraints={"ran": 1.0 if m.state == "failed" else 0.0}))  # fmt: skip
    params = study.ask(box).params
    return replaced(told.here[NAME], {knob.name: knob.at(params[knob.name]) for knob in space}, {})


ARMS = [
    Arm("one factor at random", one_factor),
    Arm("Optuna's random sampler", partial(optuna_alone, kind="RandomSampler")),
    Arm("Optuna's TPE, whole ranges", partial(optuna_alone, kind="TPESampler")),
    Arm("the sampler, one at once", partial(ours, at_once=1)),
    Arm("the sampler, up to three", partial(ours, at_once=3)),
    Arm("the sampler, up to five", partial(ours, at_once=5)),
    Arm("the sampler, up to all", partial(ours, at_once=99)),
    Arm("up to three, no box", partial(ours, at_once=3, half=1.0)),
    Arm("up to five, no box", partial(ours, at_once=5, half=1.0)),
]


# --- a session ---


@dataclass
class Told:
    """A session as its lines tell it."""

    rules: Rules
    fold: Fold = field(default_factory=Fold)
    sources: dict[str, bytes] = field(default_factory=dict)
    """Commit -> program."""
    runs: int = 0
    description: str = ""
    lines: int = 0

    @property
    def session(self) -> Session:
        return self.fold.session()

    @property
    def here(self) -> Files:
        incumbent = self.session.incumbent
        assert incumbent is not None
        return {NAME: self.sources[incumbent.commit or ""]}

    def source_of(self, e: Experiment) -> Files | None:
        return {NAME: self.sources[e.commit or ""]}

    def append(self, line: dict[str, Any]) -> None:
        self.lines += 1
        self.fold.take([(self.lines, json.loads(json.dumps(line)))])


@cache
def program(source: bytes) -> Callable[[int, Any], float]:
    space: dict[str, Any] = {"__name__": "next_byte"}
    exec(compile(source, NAME, "exec"), space)
    train: Callable[[int, Any], float] = space["train"]
    return train


@cache
def data() -> Any:
    space: dict[str, Any] = {"__name__": "next_byte"}
    exec(compile(PROGRAM.read_bytes(), NAME, "exec"), space)
    return space["text"]()


def run(source: bytes, seed: int, known: Values) -> Measurement:
    """Train once; what was trained already is not trained again, since it would give the same."""
    key = source.decode(), seed
    if key not in known:
        try:
            with np.errstate(all="ignore"):
                known[key] = program(source)(seed, data())
        except MemoryError:
            known[key] = "oom"
        except (FloatingPointError, ValueError):
            known[key] = "crash"
    value = known[key]
    return Measurement("ok", value) if isinstance(value, float) else Measurement(value, reason="it cannot train")  # type: ignore[arg-type]


def session_of(arm: Arm, seed: int, runs: int, rules: Rules, known: Values) -> Iterator[Told]:
    """Yield the session after its baseline, and after each experiment, until the runs are spent."""
    told = Told(rules)
    told.append(config_line(0, "next_byte", Metric("bpb", "lower"), 0, {"tag": f"{arm.name} {seed}"}))
    source = PROGRAM.read_bytes()
    measure(told, source, "baseline", seed, known)
    yield told
    while told.runs < runs:
        told.description = ""
        new = arm.propose(told, seed)
        if new is None:
            return
        measure(told, new, told.description or "a point", seed, known)
        yield told


def measure(told: Told, source: bytes, description: str, seed: int, known: Values) -> None:
    """One experiment, as `experiments/attempt.py` makes it: the decision asks for runs until it has a verdict.

    The training seeds of a session are its own, so that sessions differ in luck too.
    """
    number, parent = told.session.next_number, told.session.incumbent
    commit = f"{number:040d}"
    told.sources[commit] = source
    start = start_line(number, commit, parent.commit if parent else None, SCREENING_SEED, description, {},
                       fingerprint({NAME: source}), 0)  # fmt: skip
    told.append(start)
    runs = SeedRuns(number)

    def trained(content: bytes, at: int) -> Measurement:
        told.runs += parent is not None
        return run(content, 100_000 * seed + at, known)

    if parent is None:
        for at in BASELINE_SEEDS:
            runs.add(at, trained(source, at))
        told.append(verdict_line(runs, told.session, start, "keep", "the baseline", {}, 0))
        return
    runs.add(SCREENING_SEED, trained(source, SCREENING_SEED))
    verdict = None
    while verdict is None and runs.failed is None:
        step = decide(runs, told.session, told.rules, {})
        if step.action in ("keep", "discard"):
            verdict = step.action, step.reason
        elif step.action == "run_candidate":
            assert step.seed is not None
            runs.add(step.seed, trained(source, step.seed))
        else:
            assert step.seed is not None
            incumbent = told.session.incumbent
            assert incumbent is not None
            value = trained(told.sources[incumbent.commit or ""], step.seed).value
            assert value is not None
            told.append(repeat_line(incumbent.number, step.seed, value, {}, 0))
    status, reason = verdict or failure(runs.failed)  # type: ignore[arg-type]
    told.append(verdict_line(runs, told.session, start, status, reason, {}, 0))


def reached(source: bytes, known: Values) -> float:
    """Return the mean of a program over seeds that no decision saw."""
    values = [run(source, at, known).value for at in HELD_OUT]
    return statistics.fmean(value if value is not None else float("inf") for value in values)


def figures(arm: Arm, seed: int, runs: int, rules: Rules, known: Values) -> dict[str, Any]:
    """Return what one session came to: what it had reached when so many runs were spent, and its verdicts.

    An experiment that went beyond the last run that counts does not count.
    """
    incumbents: dict[int, bytes] = {}
    told = None
    for told in session_of(arm, seed, runs, rules, known):
        incumbents |= {at: told.here[NAME] for at in CHECKPOINTS if told.runs <= at}
    assert told is not None
    statuses = [e.status or "" for e in told.session.current[1:]]
    best = {str(at): reached(source, known) for at, source in incumbents.items()}
    return {"arm": arm.name, "seed": seed, "best": best, "runs": told.runs, "experiments": len(statuses),
            "kept": statuses.count("keep"), "failed": statuses.count("crash")}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arms", nargs="*", help="beginnings of names; default: all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=max(CHECKPOINTS), help="after the baseline")
    parser.add_argument("--folder", type=Path, help="where sessions are kept")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rules = parse((task_folder("pretrain") / "autoresearch.toml").read_text("utf-8")).rules
    known: Values = {}
    rows = []
    for seed in range(1, args.seeds + 1):
        for arm in ARMS:
            if args.arms and not arm.name.startswith(tuple(args.arms)):
                continue
            kept = args.folder and args.folder / f"{arm.name} {seed} {args.runs}.json"
            if kept and kept.exists():
                rows.append(json.loads(kept.read_text()))
                continue
            rows.append(figures(arm, seed, args.runs, rules, known))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
            if kept:
                write_atomic(kept, json.dumps(rows[-1]))
    if args.json:
        print(json.dumps(rows))
        return
    print(f"{'arm':<30}" + "".join(f"{f'after {at}':>18}" for at in CHECKPOINTS) + "   experiments, kept, failed")
    for arm in ARMS:
        mine = [row for row in rows if row["arm"] == arm.name]
        if mine:
            print(f"{arm.name:<30}" + "".join(f"{spread(mine, at):>18}" for at in CHECKPOINTS), end="   ")
            counts = (statistics.fmean(row[key] for row in mine) for key in ("experiments", "kept", "failed"))
            print(", ".join(f"{count:.1f}" for count in counts))


def spread(rows: list[dict[str, Any]], at: int) -> str:
    values = [row["best"][str(at)] for row in rows]
    return f"{statistics.fmean(values):.4f} ± {statistics.stdev(values) if len(values) > 1 else 0:.4f}"


if __name__ == "__main__":
    main()
