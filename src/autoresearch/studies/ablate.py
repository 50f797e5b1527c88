"""`ablate`: which of the kept changes pay? Each is undone on top of the incumbent, and the rest is measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from autoresearch.errors import MachineError, PreconditionError
from autoresearch.experiments.attempt import attempt
from autoresearch.experiments.code_fingerprint import code_size, syntax_error
from autoresearch.experiments.preflight import preflight
from autoresearch.experiments.result import ExperimentResult
from autoresearch.journal.refs import ablation_ref
from autoresearch.journal.session import Experiment, Session, hardware_of
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import RunContext, Tick
from autoresearch.statistics.distributions import student
from autoresearch.statistics.noise import pooled
from autoresearch.studies.study import StudyRunner, new_seeds, study_of
from autoresearch.system.clock import Clock
from autoresearch.system.git import Git
from autoresearch.system.git_plumbing import commit_on, files_of, merged, object_name, write_object
from autoresearch.system.process import signals_interrupt
from autoresearch.workspace.editable import edited, mutable_paths, put_aside, take_version
from autoresearch.workspace.lock import changing_git, lock
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

ALPHA = 0.05
"""How often a change that does nothing may be said to pay or to hurt."""

SEEDS = 3
"""Most seeds for each variant; fewer when they decide."""

Verdict = Literal["pays", "hurts", "unclear", "conflict", "needed"]


@dataclass(frozen=True, slots=True)
class AblationVariant:
    """The incumbent without some of the kept changes."""

    without: tuple[int, ...]
    """The experiments that are undone."""
    verdict: Verdict
    """Of what is undone: `needed` when nothing runs without it, `conflict` when it cannot be taken out alone."""
    reason: str
    commit: str | None = None
    worth: float | None = None
    """How much worse the metric is without, in its unit; positive means that the change pays."""
    error: float | None = None
    """Standard error of `worth`; None while the noise is unknown."""
    seeds: int = 0
    smaller: bool = False
    """Whether there is less code without."""

    @property
    def dispensable(self) -> bool:
        """Whether it is not worse without, within noise."""
        return self.commit is not None and self.worth is not None and self.worth <= (self.error or 0.0)


@dataclass(frozen=True, slots=True)
class Ablation:
    """What pays and what does not."""

    incumbent: int
    changes: tuple[AblationVariant, ...]
    stack: AblationVariant | None
    """The incumbent without all that is dispensable; None when nothing is."""

    @property
    def offer(self) -> AblationVariant | None:
        """The smaller stack, unless what is dispensable one by one is not so together."""
        return self.stack if self.stack is not None and self.stack.dispensable else None

    def as_result(self) -> dict[str, Any]:
        changes = [{**asdict(c), "without": list(c.without)} for c in self.changes]
        stack = {**asdict(self.stack), "without": list(self.stack.without)} if self.stack else None
        return {"incumbent": self.incumbent, "changes": changes, "stack": stack, "offered": self.offer is not None}


def ablate(
    root: Workspace, seeds: int | None, clock: Clock, *, tick: Tick | None = None, workers: str = "",
    applies: bool = False,
) -> tuple[Ablation, Session]:  # fmt: skip
    """Undo each kept change on top of the incumbent, measure, and try the smaller stack; the branch stays as it is.

    `applies` says that the caller applies what comes out, as `--apply` does, and so will who goes on. With `workers`
    their slots make the runs of a variant at once. Raises `PreconditionError` when nothing was kept since the baseline.
    """
    with lock(root), signals_interrupt():
        context, session, _ = preflight(root, clock, tick, stops=False, workers=workers)
        if session.hardware:  # where the last runs were made on other slots than these, theirs are no comparison
            session = replace(session, hardware=hardware_of(context.env()), memo={})
        incumbent = session.incumbent
        kept = [e for e in session.current if e.status == "keep" and e.parent and context.git.resolve(e.commit or "")]
        if incumbent is None or incumbent.reference is None or not kept:
            raise PreconditionError("nothing was kept since the baseline", "there is no change to undo yet")
        count = seeds or SEEDS
        chosen = _seeds(session, incumbent, count)
        about = {"incumbent": incumbent.number, "kept": [e.number for e in kept], "seeds": chosen}
        again = "autoresearch ablate" + (f" --seeds {seeds}" if seeds else "")
        again += " --apply" if applies else ""
        again += f" --workers {workers}" if workers else ""
        here = incumbent.on(session.hardware)
        # A machine is slower at one time than at another, and what it was at an earlier one is no worth of a change.
        earlier = here.comparison_runs if context.task.same_work else {}
        most = most_runs(len(kept), chosen, earlier)
        with study_of(context, session, clock, "ablate", about, again, most=most, exactly=most == 1) as runner:
            runner.beside.extend(here.speeds)
            trial = _Trial(runner, session, here, chosen, earlier)
            changes = tuple(trial.without(context, [e]) for e in kept)
            spare = [e for e, variant in zip(kept, changes, strict=True) if variant.dispensable]
            stack = None
            if len(spare) == 1:
                stack = next(variant for variant in changes if variant.dispensable)
            elif spare:
                stack = trial.without(context, spare)
            ablation = Ablation(incumbent.number, changes, stack)
            if ablation.offer is not None and ablation.offer.commit is not None:
                with changing_git(root):
                    context.git.update_ref(ablation_ref(session, runner.study.number), ablation.offer.commit)
            runner.end("done", ablation.as_result())
        return ablation, load_session(root)


def apply(
    root: Workspace, ablation: Ablation, clock: Clock, *, tick: Tick | None = None, workers: str = ""
) -> ExperimentResult:
    """Put the smaller stack into the folder and let the policy decide on it, as on any change."""
    stack = ablation.offer
    if stack is None or stack.commit is None:
        raise PreconditionError("there is no smaller stack to apply", "every change pays, or cannot be told")
    with lock(root), signals_interrupt():
        context, session, _ = preflight(root, clock, tick)
        if edited(context.git, session, context.task):
            aside = f"put them aside: {put_aside(context.git, context.task)}"
            raise PreconditionError("there are edits that were not measured", aside)
        if context.git.head() != (session.incumbent and context.git.resolve(session.incumbent.commit or "")):
            raise PreconditionError("there is a commit that was not measured", "measure it first: autoresearch try")
        with changing_git(root):
            take_version(context.git, stack.commit, mutable_paths(context.git, context.task))
    description = (
        f"without {', '.join(map(str, stack.without))}, which {'do' if len(stack.without) > 1 else 'does'} not pay"
    )
    return attempt(root, description, {"ablate": list(stack.without)}, clock, same=True, tick=tick, workers=workers)


@dataclass(frozen=True, slots=True)
class _Trial:
    """What every variant is measured with."""

    runner: StudyRunner
    session: Session
    incumbent: Experiment
    seeds: Sequence[int]
    earlier: Mapping[int, float]
    """Seed -> value of the incumbent's runs before the study that are as good as those in it."""

    def without(self, context: RunContext, undo: Sequence[Experiment]) -> AblationVariant:
        """Measure the incumbent without some changes."""
        numbers = tuple(e.number for e in undo)
        files = undo_all(context.git, self.incumbent.commit or "", undo)
        if isinstance(files, str):
            return AblationVariant(numbers, "conflict", files)
        if not files:
            return AblationVariant(numbers, "unclear", "nothing of it is left in the incumbent", worth=0.0)
        for path, entry in files.items():
            file = entry is not None and entry[0].startswith("100")
            problem = syntax_error(path, _content(context.git, entry[1])) if entry is not None and file else None
            if problem:
                return AblationVariant(numbers, "conflict", f"what is left does not parse: {problem}")
        with changing_git(self.runner.context.workspace):
            message = f"experiment {self.incumbent.number} without {', '.join(map(str, numbers))}"
            commit = commit_on(context.git, self.incumbent.commit or "", files, message)
        roots = mutable_paths(context.git, context.task)
        sizes = [code_size(files_of(context.git, c, roots)) for c in (commit, self.incumbent.commit or "")]
        return replace(self._measured(commit, numbers), commit=commit, smaller=sizes[0] < sizes[1])

    def _measured(self, commit: str, numbers: tuple[int, ...]) -> AblationVariant:
        theirs, ours = dict(self.earlier), dict[int, float]()
        variant = AblationVariant(numbers, "unclear", "not measured")
        here = self.incumbent
        both = ((commit, here.number, ours), (here.commit or "", here.number, theirs))
        self.runner.ahead([(made, e, seed) for seed in self.seeds for made, e, has in both if seed not in has])
        for seed in self.seeds:
            value = self.runner.value(commit, self.incumbent.number, seed)
            if isinstance(value, Measurement):
                if value.outcome == "killed":
                    raise self.runner.fail(f"the variant without {numbers}", value)
                return AblationVariant(
                    numbers, "needed", f"without it the run ends with {value.outcome}: {value.reason}"
                )
            ours[seed] = value
            if seed not in theirs:
                known = self.runner.value(self.incumbent.commit or "", self.incumbent.number, seed)
                if isinstance(known, Measurement):
                    raise self.runner.fail(f"experiment {self.incumbent.number} with seed {seed}", known)
                theirs[seed] = known
            variant = self._verdict(numbers, ours, theirs)
            if variant.verdict != "unclear" or variant.error == 0.0:
                break
        return replace(variant, seeds=len(ours))

    def _verdict(
        self, numbers: tuple[int, ...], ours: Mapping[int, float], theirs: Mapping[int, float]
    ) -> AblationVariant:
        """Judge what is known so far; the looks share ALPHA, half of it for each side."""
        mean, reference = (math.fsum(v.values()) / len(v) for v in (ours, theirs))
        worth = self.session.metric.gain(reference, mean)
        others = [
            e.on(self.session.hardware).noise_runs for e in self.session.current if e.number != self.incumbent.number
        ]
        noise = pooled([*others, tuple(theirs.values()), tuple(ours.values())])
        if noise.sd is None:
            return AblationVariant(numbers, "unclear", "the noise is unknown", worth=worth)
        error = noise.sd * math.sqrt(1 / len(ours) + 1 / len(theirs))
        needed = student(1 - ALPHA / 2 / len(self.seeds), noise.dof) * error if error else 0.0
        verdict: Verdict = "unclear" if abs(worth) <= needed else "pays" if worth > 0 else "hurts"
        return AblationVariant(numbers, verdict, f"noise {noise.sd:.2g}, needed {needed:.2g}", worth=worth, error=error)


Entry = tuple[str, str]
"""Mode and hash of a file, link or submodule."""


def undo_all(git: Git, commit: str, undo: Sequence[Experiment]) -> dict[str, Entry | None] | str:
    """Return path -> entry of what changes when the changes of `undo` are taken out of `commit`, the latest first.

    None stands for what is gone. What was merged is in the repository then. Returns what is in the way as a sentence
    when they cannot be taken out.
    """
    return carried(git, commit, [(e.commit or "", e.parent or "", f"experiment {e.number}") for e in reversed(undo)])


def carried(git: Git, commit: str, changes: Sequence[tuple[str, str, str]]) -> dict[str, Entry | None] | str:
    """Return path -> entry of what changes when `commit` gets, one after the other, what leads from one commit to
    another: (from, to, what that is called). None and a sentence stand for the same as in `undo_all`."""
    now: dict[str, Entry | None] = {}
    for begin, end, name in changes:
        paths = git.changed(begin, end)
        before, after, here = (git.entries_of(c, paths) if paths else {} for c in (begin, end, commit))
        for path in paths:
            ours, base, theirs = now.get(path, here.get(path)), before.get(path), after.get(path)
            if ours == base:
                now[path] = theirs
                continue
            if ours is None or base is None or theirs is None:
                return f"{path} of {name} was changed later on"
            mode, what = _chosen(ours[0], base[0], theirs[0]), _chosen(ours[1], base[1], theirs[1])
            if what is None and mode is not None and mode.startswith("100"):
                what = _merged(git, ours[1], base[1], theirs[1])
            if mode is None or what is None:
                return f"later changes of {path} build on {name}"
            now[path] = (mode, what)
    here = git.entries_of(commit, [*now]) if now else {}
    return {path: entry for path, entry in now.items() if entry != here.get(path)}


def _chosen(ours: str, base: str, theirs: str) -> str | None:
    """Return what only one of both sides has changed; None where both have."""
    return theirs if ours == base else ours if theirs in (base, ours) else None


def _merged(git: Git, *names: str) -> str | None:
    """Return the name of the file that a merge of ours, base and theirs makes; None when they get in each other's way.

    With an executable bit or without: only what is in them is merged.
    """
    content = merged(git, *(_content(git, name) for name in names))
    if content is None:
        return None
    write_object(git, "blob", content)
    return object_name("blob", content, names[0])


def _content(git: Git, name: str) -> bytes:
    """Return the content of a file by its hash."""
    found = git.reader.read(name)
    if found is None:
        raise MachineError(f"the git object {name[:12]} cannot be read from the repository", "see: git fsck")
    return found.content


def most_runs(kept: int, seeds: Sequence[int], earlier: Mapping[int, float]) -> int:
    """Return how many runs an ablation makes at most: each variant on each seed, the stack of several too, and the
    incumbent once on each seed of which it has no earlier run. What is decided earlier, or cannot be taken out, takes
    fewer."""
    variants = kept + 1 if kept > 1 else 1
    return variants * len(seeds) + len({*seeds} - {*earlier})


def _seeds(session: Session, incumbent: Experiment, count: int) -> list[int]:
    """Return seeds for the variants: those that the incumbent has runs of first, which cost half where these count."""
    last = next((s for s in reversed(session.studies) if s.what == "ablate"), None)
    if last is not None and last.outcome == "interrupted" and last.about.get("incumbent") == incumbent.number:
        seeds: list[int] = last.about.get("seeds", [])
        if len(seeds) == count:
            return seeds
    known = [*incumbent.on(session.hardware).comparison_runs][:count]
    return known + new_seeds(session, count - len(known))
