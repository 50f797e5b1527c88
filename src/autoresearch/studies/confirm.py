"""`confirm`: is the best really better than the baseline? Both on fresh seeds, on data that no decision was made on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autoresearch.errors import PreconditionError
from autoresearch.experiments.preflight import preflight
from autoresearch.journal.session import Experiment, Session
from autoresearch.journal.study import FINALIZE, LOCKED, SEARCH, Study
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import RunContext, Tick
from autoresearch.statistics.confirmation import Confirmation, confirmation
from autoresearch.statistics.locked import LEAST_SEEDS, refusal
from autoresearch.studies.study import StudyRunner, interrupted, new_seeds, study_of
from autoresearch.system.clock import Clock
from autoresearch.system.process import signals_interrupt
from autoresearch.workspace.lock import lock
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

ON_THE_SEARCH_SPLIT = (
    "begin a segment with a fresh split (`locked` in [options], or another source), or measure on fresh seeds alone: "
    "autoresearch confirm --split search"
)


def confirm(
    root: Workspace,
    seeds: int | None,
    split: str | None,
    clock: Clock,
    *,
    tick: Tick | None = None,
    workers: str = "",
    elsewhere: bool = False,
) -> tuple[Confirmation, Session]:
    """Measure baseline and best on fresh seeds, on the locked split where the task has an evaluator.

    With `workers` their slots make the runs, as many at once as there are. Returns what was claimed and what was found.
    With `elsewhere` it repeats what another machine has claimed, so that no read of that one has a price here. Raises
    `PreconditionError` when nothing was kept, and when the reads of the locked split are spent.
    """
    with lock(root), signals_interrupt():
        context, session, _ = preflight(root, clock, tick, stops=False, workers=workers)
        first, best = session.baseline, session.best
        if first is None or best is None or best.number == first.number or session.gain is None:
            raise PreconditionError("nothing was kept since the baseline", "there is no gain to confirm yet")
        if split is None:
            split = LOCKED if context.task.run.evaluate else SEARCH
        elif split == LOCKED and context.task.run.evaluate is None:
            raise PreconditionError("the task has no evaluator, so no locked split", "leave out --split")
        count = _count(context, session, seeds)
        chosen = fresh_seeds(session, count, best.number, split)
        about = {"baseline": first.number, "best": best.number, "seeds": chosen, **_data(first, split)}
        if not elsewhere:
            _refuse_spent(context, session, "confirm", about, split, ON_THE_SEARCH_SPLIT)
        again = "autoresearch confirm" + (f" --seeds {seeds}" if seeds else "")
        again += f" --split {split}" if split == SEARCH and context.task.run.evaluate else ""
        again += f" --workers {workers}" if workers else ""
        with study_of(context, session, clock, "confirm", about, again, split, 2 * len(chosen)) as runner:
            named = f"experiment {best.number}"
            result = _beside(
                runner, session, first, best.commit or "", best.number, named, chosen, session.gain, plain=elsewhere
            )
        return result, load_session(root)


def _data(first: Experiment, split: str) -> dict[str, str]:
    """Return by which data, of those that the segment of this baseline was measured on, a read is one of the budget."""
    return {"data": first.manifest} if split == LOCKED and first.manifest is not None else {}


def _refuse_spent(
    context: RunContext, session: Session, what: str, about: dict[str, Any], split: str, fix: str
) -> None:
    """Raise `PreconditionError` when there is no read of the locked split left; to go on with one costs nothing."""
    if split != LOCKED or interrupted(context, session, what, about, split) is not None:
        return
    why = refusal(len(session.locked), session.locked_pairs())
    if why is not None:
        raise PreconditionError(why, fix)


def confirm_stack(
    root: Workspace,
    commit: str,
    without: Sequence[int],
    seeds: int | None,
    clock: Clock,
    again: str,
    instead: str,
    *,
    tick: Tick | None = None,
) -> tuple[Confirmation, Session]:
    """Measure baseline and `commit`, the incumbent `without` some kept changes, as `confirm` does with the best.

    The study, a `finalize`, has the name of the commit's tree in `about`. What is claimed is the gain of the best. A
    gain that does not hold is an end of the study, too. `again` is what to type after an interruption, `instead` when
    the reads of the locked split are spent. Raises `PreconditionError` then, `AutoresearchError` when a run fails.
    """
    with lock(root), signals_interrupt():
        context, session, _ = preflight(root, clock, tick, stops=False)
        first, incumbent, tree = session.baseline, session.incumbent, context.git.reader.read(f"{commit}^{{tree}}")
        if first is None or incumbent is None or session.gain is None or tree is None:
            raise PreconditionError("nothing was kept since the baseline", "there is nothing to leave out of it")
        split = LOCKED if context.task.run.evaluate else SEARCH
        count = _count(context, session, seeds)
        chosen = _seeds_of_stack(session, tree.name, count, split)
        about = {"baseline": first.number, "without": list(without), "tree": tree.name, "seeds": chosen}
        about |= _data(first, split)
        _refuse_spent(context, session, FINALIZE, about, split, instead)
        with study_of(context, session, clock, FINALIZE, about, again, split, 2 * len(chosen)) as runner:
            named = f"the stack without {', '.join(map(str, without))}"
            result = _beside(runner, session, first, commit, incumbent.number, named, chosen, session.gain)
        return result, load_session(root)


def _beside(
    runner: StudyRunner,
    session: Session,
    first: Experiment,
    commit: str,
    number: int,
    named: str,
    seeds: Sequence[int],
    claimed: float,
    *,
    plain: bool = False,
) -> Confirmation:
    """Run the baseline and a commit side by side, so that a machine that changes does so for both; end the study.

    With `plain` the gain is told as it was measured, whatever was read before.
    """
    values: dict[str, dict[int, float]] = {"": {}, commit: {}}
    sides = (("", first.commit or "", first.number), (commit, commit, number))
    runner.ahead([(made, e, seed) for seed in seeds for _, made, e in sides])
    for seed in seeds:
        for key, made, e in sides:
            value = runner.value(made, e, seed)
            if isinstance(value, Measurement):
                what = named if key else f"experiment {first.number}"
                raise runner.fail(f"{what} with seed {seed}", value)
            values[key][seed] = value
    now = load_session(runner.context.workspace)
    earlier = now.locked_pairs(besides=runner.study.number) if runner.study.split == LOCKED and not plain else None
    result = confirmation(session.metric, claimed, values[""], values[commit], earlier)
    runner.end("done", result.as_result())
    return result


def _count(context: RunContext, session: Session, seeds: int | None) -> int:
    """Return how many fresh seeds are run: two are the least that tell a spread, and enough where the task says that
    its metric is exact, and no repeat has spoken against it."""
    exact = context.task.rules.exact and not session.noise.sd
    return max(2, seeds or (2 if exact else context.task.keep.seeds))


def _seeds_of_stack(session: Session, tree: str, count: int, split: str) -> list[int]:
    """Return seeds that no run of the session has had; those of an interrupted study of the same stack again."""
    last = next((s for s in reversed(session.studies) if s.what == FINALIZE), None)
    return _again(last, "tree", tree, count, split) or _new_seeds(session, count, split)


def fresh_seeds(session: Session, count: int, best: int, split: str) -> list[int]:
    """Return seeds that no run of the session has had; those of an interrupted study of the same again."""
    last = next((s for s in reversed(session.studies) if s.what == "confirm"), None)
    return _again(last, "best", best, count, split) or _new_seeds(session, count, split)


def _new_seeds(session: Session, count: int, split: str) -> list[int]:
    """Return `count` new seeds; more where they are fewer than a read that has a price needs."""
    return new_seeds(session, max(count, LEAST_SEEDS) if split == LOCKED and session.locked else count)


def _again(last: Study | None, key: str, value: object, count: int, split: str) -> list[int]:
    """Return the seeds of a study that was interrupted, if it is about the same; none otherwise."""
    if last is None or last.outcome != "interrupted" or last.split != split or last.about.get(key) != value:
        return []
    seeds: list[int] = last.about.get("seeds", [])
    return seeds if len(seeds) in (count, max(count, LEAST_SEEDS)) else []
