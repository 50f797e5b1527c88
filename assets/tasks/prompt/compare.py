"""The known searches beside each other, on targets that no session is measured on.

    python compare.py                                    all methods, both budgets, the valid set of the preset tiny
    python compare.py --methods gcg,tao --set train --settings candidates=128
    python compare.py --methods optimizer                optimizer.py as it stands
    python compare.py --smoke                            two targets, a tenth of the budget, into a folder of its own

A result is a file of JSON lines whose name has a hash of all that it depends on: settings, set, budget, model, and the
programs. What is there is not run again, so a call that was cut off goes on. Each line is a target, with a log of
(FLOPs, best loss).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.command_line import manifest_hash
from harness.errors import TaskError, Verdict
from harness.files import folder_digest
from harness.task import Budget, read_task_file
from methods import METHODS
from oracle.bases import Base
from oracle.evaluator import Terms
from prepare import HERE, PROGRAMS, Options, Prompt, searches

SMOKE_TARGETS, SMOKE_PART = 2, 1 / 10
BAR = 24
OWN = "optimizer"
"""The name under which optimizer.py takes part."""


@dataclass(frozen=True, slots=True)
class Job:
    """One method with one budget on one set of targets."""

    method: str
    settings: dict[str, Any]
    flops: float
    set: str
    seed: int
    targets: int

    def path(self, folder: Path, manifest: str) -> Path:
        programs = ("optimizer.py",) if self.method == OWN else ("methods",)
        told = json.dumps([asdict(self), manifest, folder_digest(HERE, programs)], sort_keys=True)
        return folder / f"{self.method}-{hashlib.sha256(told.encode()).hexdigest()[:16]}.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(prog="compare.py", description=(__doc__ or "").splitlines()[0])
    presets = tomllib.loads((HERE / "presets.toml").read_text(encoding="utf-8"))
    parser.add_argument("--preset", choices=tuple(presets), default="tiny")
    parser.add_argument("--methods", default=",".join(METHODS), help=f"of: {', '.join(METHODS)}, {OWN}")
    parser.add_argument("--set", choices=("train", "valid"), default="valid", help="the targets")
    parser.add_argument("--budgets", help="FLOPs for one target, instead of the preset's: 1e10,1e11")
    parser.add_argument("--targets", type=int, help="how many, instead of the preset's number")
    parser.add_argument("--seed", type=int, help="of the set, instead of the preset's")
    parser.add_argument("--settings", nargs="*", default=[], metavar="NAME=VALUE", help="of every method that has it")
    parser.add_argument("--smoke", action="store_true", help="only whether all of it runs")
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument("--json", action="store_true", help="print results, not a table")
    args = parser.parse_args()
    try:
        preset = presets[args.preset]
        own, _ = read_task_file(HERE, Options)
        task = Prompt(HERE, Options(preset["profile"], own.source), Budget("flops", max(preset["budgets"])))
        manifest = manifest_hash(task, PROGRAMS)
        kind = "smoke" if args.smoke else args.preset
        folder = args.out or HERE / ".autoresearch" / "compare" / kind
        folder.mkdir(parents=True, exist_ok=True)
        base, rows = task.base("search"), []
        for job in jobs(args, preset):
            lines = finished(task, base, job, job.path(folder, manifest))
            rows.append({**asdict(job), "results": lines})
    except (TaskError, Verdict) as error:
        sys.exit(f"error: {error}")
    print(json.dumps(rows) if args.json else table(rows))


def jobs(args: argparse.Namespace, preset: dict[str, Any]) -> Iterator[Job]:
    """What the command line asks for. Raises TaskError where a method or a setting is unknown."""
    given = dict(setting(text) for text in args.settings)
    chosen = [name for name in args.methods.split(",") if name]
    if unknown := [name for name in chosen if name not in METHODS and name != OWN]:
        raise TaskError(f"there is no method {unknown[0]!r}; known are {', '.join(METHODS)} and {OWN}")
    known = {name: METHODS[name].settings() if name in METHODS else {} for name in chosen}
    if lost := [name for name in given if not any(name in own for own in known.values())]:
        raise TaskError(f"none of these methods has a setting {lost[0]!r}")
    budgets = [float(text) for text in args.budgets.split(",")] if args.budgets else preset["budgets"]
    targets = args.targets or preset[args.set]["targets"]
    if args.smoke:
        budgets, targets = [budget * SMOKE_PART for budget in budgets[:1]], SMOKE_TARGETS
    seed = preset[args.set]["seed"] if args.seed is None else args.seed
    for flops in budgets:
        for name in chosen:
            own = known[name] | preset.get("settings", {}).get(name, {})
            own |= {key: value for key, value in given.items() if key in own}
            yield Job(name, own, float(flops), args.set, seed, targets)


def setting(text: str) -> tuple[str, float | int]:
    name, _, value = text.partition("=")
    try:
        return name, int(value) if value.lstrip("-").isdigit() else float(value)
    except ValueError:
        raise TaskError(f"{text!r} is no setting; write it as candidates=128") from None


def finished(task: Prompt, base: Base, job: Job, path: Path) -> list[dict[str, Any]]:
    """A line for each target of the job: what the file has, then what is run now."""
    lines = known_lines(path)
    module, settings = (OWN, {}) if job.method == OWN else ("methods", {"method": job.method, **job.settings})
    # What optimizer.py prints may be seen: no session is measured on these targets.
    terms = Terms(HERE, job.flops, task.profile.own_s, module, settings, shown=job.method == OWN)
    missing = range(len(lines), job.targets)
    pairs = [task.drawn(base, "search", job.set, job.seed, number) for number in missing]
    began = time.monotonic()
    bar(job, lines, began)
    with path.open("w" if not lines else "a", encoding="utf-8") as file:
        for number, found in zip(missing, searches(base, pairs, terms), strict=True):
            about = {"loss": found.loss, "match": found.match, "spent": found.flops, "requests": found.requests,
                     "own_s": found.own_s, "log": found.log}  # fmt: skip
            lines.append({**asdict(job), "number": number, **about})
            file.write(json.dumps(lines[-1]) + "\n")
            file.flush()
            bar(job, lines, began)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return lines


def known_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file of results; one that was cut off is taken out of it."""
    if not path.exists():
        return []
    whole = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    path.write_text("".join(whole), encoding="utf-8")
    return [json.loads(line) for line in whole]


def bar(job: Job, lines: list[dict[str, Any]], began: float) -> None:
    full = BAR * len(lines) // job.targets
    mean = f"mean {statistics.fmean(line['loss'] for line in lines):.4f}" if lines else ""
    text = f"{job.method:<10}{job.flops:.3g} FLOPs  [{'#' * full}{'.' * (BAR - full)}]  {len(lines)} of {job.targets}"
    told = f"{text}  {mean}  {time.monotonic() - began:.0f} s".ljust(100)
    if sys.stderr.isatty() or len(lines) in (0, job.targets):  # a log gets no more than beginning and end
        print(told, end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    """Mean and standard deviation over targets of each method, one table for each budget, the best first."""
    out = []
    for flops in dict.fromkeys(row["flops"] for row in rows):
        own = [row for row in rows if row["flops"] == flops and row["results"]]
        own.sort(key=lambda row: statistics.fmean(line["loss"] for line in row["results"]))
        out += [f"\n{flops:.3g} FLOPs for each target, {own[0]['set']} set, seed {own[0]['seed']}\n" if own else ""]
        out += ["| method | targets | loss | match | requests | own s |", "|---|---|---|---|---|---|"]
        for row in own:
            names = ("loss", "match", "requests", "own_s")
            columns = {key: [float(line[key]) for line in row["results"]] for key in names}
            means = {key: statistics.fmean(values) for key, values in columns.items()}
            spread = f" ± {statistics.stdev(columns['loss']):.2f}" if len(columns["loss"]) > 1 else ""
            out.append(
                f"| {row['method']} | {len(columns['loss'])} | {means['loss']:.3f}{spread} | {means['match']:.2f} | "
                f"{means['requests']:.0f} | {means['own_s']:.1f} |"
            )
    return "\n".join(out)


if __name__ == "__main__":
    main()
