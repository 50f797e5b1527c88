"""`confirm`: is the best really better than the baseline? Both on fresh seeds, on data that no decision was made on."""

from __future__ import annotations

from autoresearch.errors import PreconditionError
from autoresearch.experiments.preflight import preflight
from autoresearch.journal.session import Session
from autoresearch.journal.study import LOCKED
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import SEARCH, Tick
from autoresearch.statistics.confirmation import Confirmation, confirmation
from autoresearch.studies.study import new_seeds, study_of
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
            values: dict[int, dict[int, float]] = {first.number: {}, best.number: {}}
            for seed in chosen:
                for e in (first, best):  # side by side, so that a machine that changes does so for both
                    value = runner.value(e.commit or "", e.number, seed)
                    if isinstance(value, Measurement):
                        raise runner.fail(f"experiment {e.number} with seed {seed}", value)
                    values[e.number][seed] = value
            result = confirmation(session.metric, session.gain, values[first.number], values[best.number])
            runner.end("done", result.as_result())
        return result, load_session(root)


def fresh_seeds(session: Session, count: int, best: int, split: str) -> list[int]:
    """Return seeds that no run of the session has had; those of an interrupted study of the same again."""
    last = next((s for s in reversed(session.studies) if s.what == "confirm"), None)
    if last is not None and last.outcome == "interrupted" and last.split == split:
        seeds: list[int] = last.about.get("seeds", [])
        if last.about.get("best") == best and len(seeds) == count:
            return seeds
    return new_seeds(session, count)
