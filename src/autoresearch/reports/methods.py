"""How the numbers of a session came about, as a paragraph from its configuration: what a reader needs to repeat it."""

from __future__ import annotations

from autoresearch import __version__
from autoresearch.escaping import one_line
from autoresearch.journal.session import Session
from autoresearch.reports.views import noise_words
from autoresearch.workspace.task_file import TaskFile


def methods(session: Session, task: TaskFile | None) -> list[str]:
    """Return the sentences; what the session or the task does not say has none."""
    metric, baseline = session.metric, session.baseline
    unit = f" in {one_line(metric.unit, 40)}" if metric.unit and not metric.name.endswith(metric.unit) else ""
    lines = [f"The metric is {metric.name}{unit}, {metric.direction} is better."]
    if task is not None:
        lines += _of_task(task)
    lines.append(f"Noise of the metric, from repeated runs of one commit: {noise_words(session)}.")
    seeds = {run.seed for e in session.current for run in e.runs if run.seed is not None}
    runs = sum(len(e.runs) for e in session.current)
    lines.append(f"{len(session.current)} experiments were made with {runs} runs on {len(seeds)} different seeds.")
    if baseline is not None:
        lines.append(f"The baseline is commit {(baseline.commit or '-')[:12]}.")
    lines += _of_machine(session)
    if session.locked:
        lines.append(f"The locked split, which no decision is made on, was used {len(session.locked)} time(s).")
    hashes = [f"{one_line(path, 80)} {digest[:12]}" for path, digest in sorted(session.segment.sha256.items())]
    if hashes:
        more = f" and {len(hashes) - 12} more" if len(hashes) > 12 else ""
        lines.append(f"Immutable files by their SHA-256: {', '.join(hashes[:12])}{more}.")
    return [*lines, f"Written by autoresearch {__version__}."]


def _of_task(task: TaskFile) -> list[str]:
    run, keep = task.run, task.keep
    lines = [f"Each run is `{one_line(run.command, 120)}` in a snapshot of its commit, of at most {run.limit_s:g} s."]
    if run.budget is not None:
        kind, amount = next((k, v) for k, v in run.budget.model_dump().items() if v is not None)
        lines.append(f"A training may spend {amount:g} {kind}.")
    if run.evaluate is not None:
        lines.append(f"Its value is taken by `{one_line(run.evaluate, 120)}` in a second process.")
    if run.checks is not None:
        lines.append(f"`{one_line(run.checks, 120)}` must pass before a change is kept.")
    if keep.policy == "greedy":
        lines.append("A change was kept when its value was better than the incumbent's (policy greedy).")
    else:
        chance = f"alpha {keep.alpha:g} for each change"
        if keep.night_alpha is not None:
            chance = f"alpha {keep.night_alpha:g} for the whole session"
        lines.append(
            f"A promising change was run again, paired with the incumbent on at most {keep.seeds} fresh seeds, "
            f"and kept when better beyond the noise (policy confirm, {chance})."
        )
    if task.rules.guards:
        lines.append(f"Guards: {', '.join(f'{guard.name} {guard.words}' for guard in task.rules.guards)}.")
    changed = one_line(", ".join(task.files.mutable), 200)
    return [*lines, f"Changes were allowed in {changed}."]


def _of_machine(session: Session) -> list[str]:
    last = next((e for e in reversed(session.current) if e.env), None)
    if last is None:
        return []
    env = {key: one_line(str(value), 80) for key, value in last.env.items() if value is not None}
    isolation = env.pop("isolation", None)
    lines = [f"The last run was made on: {', '.join(f'{key} {value}' for key, value in sorted(env.items()))}."]
    if isolation:
        lines.append(f"Isolation of runs: {isolation}.")
    return lines
