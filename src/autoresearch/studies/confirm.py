"""`confirm`: is the best really better than the baseline? Both on fresh seeds, on data that no decision was made on."""

from __future__ import annotations

from collections.abc import Sequence

from autoresearch.errors import PreconditionError
from autoresearch.experiments.preflight import preflight
from autoresearch.journal.session import Experiment, Session
from autoresearch.journal.study import FINALIZE, LOCKED, Study
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import SEARCH, Tick
from autoresearch.statistics.confirmation import Confirmation, confirmation
from autoresearch.studies.study import StudyRunner, new_seeds, study_of
from autoresearch.system.clock import Clock
from autoresearch.system.process import signals_interrupt
from autoresearch.workspace.lock import lock
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace


def confirm(
    root: Workspace, seeds: int | None, split: str | None, clock: Clock, *, tick: Tick | None = None
) -> tuple[Confirmation, Session]:
    """Measure baseline and best on fresh seeds, on the locked split where the task has an evaluator.

    Returns what was claimed and what was found. Raises `PreconditionError` when nothing was kept.
    """
    with lock(root), signals_interrupt():
        context, session, _ = preflight(root, clock, tick, stops=False)
        first, best = session.baseline, session.best
        if first is None or best is None or best.number == first.number or session.gain is None:
            raise PreconditionError("nothing was kept since the baseline", "there is no gain to confirm yet")
        if split is None:
            split = LOCKED if context.task.run.evaluate else SEARCH
        elif split == LOCKED and context.task.run.evaluate is None:
            raise PreconditionError("the task has no evaluator, so no locked split", "leave out --split")
        # Two seeds are the least that tell a spread; more than for a keep, since this number goes into the world.
        count = max(2, seeds or context.task.keep.seeds)
        chosen = fresh_seeds(session, count, best.number, split)
        about = {"baseline": first.number, "best": best.number, "seeds": chosen}
        again = "autoresearch confirm" + (f" --seeds {seeds}" if seeds else "")
        again += f" --split {split}" if split == SEARCH and context.task.run.evaluate else ""
        with study_of(context, session, clock, "confirm", about, again, split, 2 * count) as runner:
            named = f"experiment {best.number}"
            result = _beside(runner, session, first, best.commit or "", best.number, named, chosen, session.gain)
        return result, load_session(root)


def confirm_stack(
    root: Workspace,
    commit: str,
    without: Sequence[int],
    seeds: int | None,
    clock: Clock,
    again: str,
    *,
    tick: Tick | None = None,
) -> tuple[Confirmation, Session]:
    """Measure baseline and `commit`, the incumbent `without` some kept changes, as `confirm` does with the best.

    The study, a `finalize`, has the name of the commit's tree in `about`. What is claimed is the gain of the best. A
    gain that does not hold is an end of the study, too. `again` is what to type after an interruption. Raises
    `AutoresearchError` when a run fails.
    """
    with lock(root), signals_interrupt():
        context, session, _ = preflight(root, clock, tick, stops=False)
        first, incumbent, tree = session.baseline, session.incumbent, context.git.reader.read(f"{commit}^{{tree}}")
        if first is None or incumbent is None or session.gain is None or tree is None:
            raise PreconditionError("nothing was kept since the baseline", "there is nothing to leave out of it")
        split = LOCKED if context.task.run.evaluate else SEARCH
        count = max(2, seeds or context.task.keep.seeds)
        chosen = _seeds_of_stack(session, tree.name, count, split)
        about = {"baseline": first.number, "without": list(without), "tree": tree.name, "seeds": chosen}
        with study_of(context, session, clock, FINALIZE, about, again, split, 2 * count) as runner:
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
) -> Confirmation:
    """Run the baseline and a commit side by side, so that a machine that changes does so for both; end the study."""
    values: dict[str, dict[int, float]] = {"": {}, commit: {}}
    for seed in seeds:
        for key, made, e in (("", first.commit or "", first.number), (commit, commit, number)):
            value = runner.value(made, e, seed)
            if isinstance(value, Measurement):
                what = named if key else f"experiment {first.number}"
                raise runner.fail(f"{what} with seed {seed}", value)
            values[key][seed] = value
    result = confirmation(session.metric, claimed, values[""], values[commit])
    runner.end("done", result.as_result())
    return result


def _seeds_of_stack(session: Session, tree: str, count: int, split: str) -> list[int]:
    """Return seeds that no run of the session has had; those of an interrupted study of the same stack again."""
    last = next((s for s in reversed(session.studies) if s.what == FINALIZE), None)
    return _again(last, "tree", tree, count, split) or new_seeds(session, count)


def fresh_seeds(session: Session, count: int, best: int, split: str) -> list[int]:
    """Return seeds that no run of the session has had; those of an interrupted study of the same again."""
    last = next((s for s in reversed(session.studies) if s.what == "confirm"), None)
    return _again(last, "best", best, count, split) or new_seeds(session, count)


def _again(last: Study | None, key: str, value: object, count: int, split: str) -> list[int]:
    """Return the seeds of a study that was interrupted, if it is about the same; none otherwise."""
    if last is None or last.outcome != "interrupted" or last.split != split or last.about.get(key) != value:
        return []
    seeds: list[int] = last.about.get("seeds", [])
    return seeds if len(seeds) == count else []
