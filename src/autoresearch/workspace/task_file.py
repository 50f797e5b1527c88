"""`autoresearch.toml`: what a task says about itself, read with a schema."""

from __future__ import annotations

import functools
import math
import shlex
import shutil
import tomllib
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from autoresearch.errors import PreconditionError
from autoresearch.metrics import Direction, Metric
from autoresearch.statistics.rules import Against, Guard, Rules
from autoresearch.workspace.metric_names import direction_of
from autoresearch.workspace.metric_source import MetricName, MetricTable, Table

NAME = "autoresearch.toml"

Scalar = str | int | float | bool

Word = Annotated[str, Field(pattern=r"[^\s*]")]
"""A word, or several, in which `*` stands for any letters."""

FamilyName = Annotated[str, Field(min_length=1, max_length=24)]

_RULES = Rules()

BANNED = ("input", "breakpoint", "os.system", "os.popen", "os.fork", "os.forkpty", "os.kill", "os.killpg", "os._exit",
          "os.abort", "os.setsid", "pty.spawn", "signal.pause")  # fmt: skip
"""Calls that no training needs: they wait for a person, or leave what holds a run."""

OLD_MEMORY_GUARD = "peak_vram_mb"
"""The metric that `max_memory_mb`, an old key of `[keep]`, is about."""


class Task(Table):
    name: str
    title: str = ""
    needs: str = ""
    """What one must have for it, in a line of `autoresearch tasks`."""
    reading: tuple[str, ...] = ()
    """What of the files to read first, and for what; `resume` says it to an agent that is new to them."""
    harness: bool = False
    """Whether the workspace has a copy of `assets/harness`: then a feeder hands out the training data and has the
    clock, and a grader, which imports nothing of the trainer, takes the metric from a model process."""


class Budget(Table):
    """What one training may spend; exactly one of them."""

    seconds: Annotated[float, Field(gt=0)] | None = None
    tokens: Annotated[int, Field(gt=0)] | None = None
    steps: Annotated[int, Field(gt=0)] | None = None
    flops: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Budget:
        if sum(value is not None for value in (self.seconds, self.tokens, self.steps, self.flops)) != 1:
            raise ValueError("give exactly one of seconds, tokens, steps, flops")
        return self


class Run(Table):
    command: Annotated[str, Field(min_length=1)]
    setup: str | None = None
    """Run once by `init` and before a baseline, in the workspace: download and prepare data."""
    evaluate: str | None = None
    smoke: str | None = None
    """Without a harness: what `autoresearch smoke` runs in place of the command, some seconds of it."""
    feed: str | None = None
    """With a harness: what works beside each run, outside its sandbox, and hands out the training data."""
    checks: str | None = None
    budget: Budget | None = None
    weights: Annotated[str, Field(pattern=r"^[\w.\-]+$")] | None = None
    """Name of the file that a run leaves its weights in; deleted again unless the experiment is kept."""
    limit_s: Annotated[float, Field(gt=0)] = 600
    checks_limit_s: Annotated[float, Field(gt=0)] = 300
    limit_memory_gb: Annotated[float, Field(gt=0)] | None = None
    """What all processes of a run may hold together; None is nine tenths of the machine's memory."""
    limit_file_gb: Annotated[float, Field(gt=0)] = 64
    """Size of the largest file that a run may write."""
    limit_processes: Annotated[int, Field(ge=1)] = 4096
    sandbox: Literal["auto", "off", "required"] = "auto"
    """`auto`: the first of bubblewrap, Landlock and sandbox-exec that works; `required`: no run without one."""
    network: bool = True
    """Whether runs have a network. Only a sandbox can take it away."""
    secrets: tuple[str, ...] = ()
    """Environment variables that look like a key or a password and that runs get all the same."""


class Files(Table):
    mutable: Annotated[tuple[str, ...], Field(min_length=1)]
    immutable: tuple[str, ...] = (NAME,)
    link: tuple[str, ...] = ()
    """Paths that git ignores and a run needs (an environment, installed packages): linked into each snapshot."""
    hidden: tuple[str, ...] = ()
    """Patterns of what the command must not read: under the cache, or absolute. `{key}` is a value of [options],
    `{stdlib}` the folder of Python's standard library."""
    locked: tuple[str, ...] = ()
    """The same for what nothing may read but an evaluation with AUTORESEARCH_SPLIT=locked."""
    readable: tuple[str, ...] = ()
    """With a harness: patterns of what the command and a model process may read of the cache, which is closed else."""
    writable: tuple[str, ...] = ()
    """Folders that a run may write in the sandbox beside its own: under the cache, absolute, or from `~`."""

    @field_validator("mutable", "immutable", "link")
    @classmethod
    def _inside(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path in paths:
            if not path or path.startswith("/") or ".." in PurePosixPath(path).parts:
                raise ValueError(f"{path!r} must be a path inside the workspace")
        return tuple(str(PurePosixPath(path)) for path in paths)


class Keep(Table):
    policy: Literal["confirm", "greedy"] = "confirm"
    seeds: Annotated[int, Field(ge=1, le=64)] = _RULES.seeds
    """Most pairs behind a verdict, each of them a fresh seed."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = _RULES.alpha
    """How often a change without effect that reached its pairs may be kept."""
    night_alpha: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    """The chance that the session keeps any change without effect, whenever it stops; it takes the place of `alpha`."""
    minimum_gain: Annotated[float, Field(ge=0)] = 0.0
    simplicity: bool = True
    """Keep a change that only removes code when it is not worse within noise."""
    max_memory_mb: Annotated[float, Field(gt=0)] | None = None
    """The old spelling of a guard: `peak_vram_mb = { max = ... }` in `[guard]`."""


class GuardTable(Table):
    """Bounds of one metric beside the one that is optimised; what is beyond them is discarded however good."""

    max: float | None = None
    min: float | None = None
    worse_by: Annotated[float, Field(ge=0)] | None = None
    """How much worse than the baseline it may be, judged with its noise."""
    direction: Direction | None = None
    """Which way it is better, where its name does not say so."""
    against: Against | None = None
    """The incumbent in place of the baseline: then losses that are each allowed may add up."""

    @model_validator(mode="after")
    def _bounded(self) -> GuardTable:
        if self.max is None and self.min is None and self.worse_by is None:
            raise ValueError("give max, min or worse_by")
        if self.worse_by is None and (self.direction is not None or self.against is not None):
            raise ValueError("direction and against say how worse_by is meant; give it, or leave them out")
        if self.max is not None and self.min is not None and self.min > self.max:
            raise ValueError(f"min = {self.min:g} is above max = {self.max:g}, so nothing could be kept")
        return self


class Stop(Table):
    max_experiments: Annotated[int, Field(ge=1)] | None = None
    max_hours: Annotated[float, Field(gt=0)] | None = None
    time_for_confirm: bool = True
    """Whether the last of the hours are kept for `confirm`, once there is a gain."""
    max_consecutive_failures: Annotated[int, Field(ge=1)] | None = None
    max_usd: Annotated[float, Field(gt=0)] | None = None
    """What the proposals of `autoresearch run` may cost in the whole session, in US dollars."""
    target: float | None = None
    """The session ends when what was kept is as good as this."""


class Search(Table):
    families: dict[FamilyName, Annotated[tuple[Word, ...], Field(min_length=1)]] = Field(default_factory=dict)
    """Families of changes that experiments and ideas are sorted by: name -> words of a description that point to it."""
    first: tuple[str, ...] = ()
    """Constants that the sampler moves before all others, one at a time: those that are known to matter, in order."""
    required: tuple[str, ...] = ()
    """Names that the mutable Python files must define at their top level, or an agent's edit is not measured."""
    banned: tuple[str, ...] = BANNED
    """Calls that an agent's edit may not bring in, as they are written: `os.system`."""

    @field_validator("families")
    @classmethod
    def _spelled(cls, families: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        # A family is also what `--asi family=` and `#tag` name, which are read in lower case with single blanks.
        for name in families:
            if name != " ".join(name.lower().split()):
                raise ValueError(f"{name!r} must be in lower case, with single blanks")
        return families


class PriceTable(Table):
    """What a model costs, in US dollars for a million tokens."""

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]
    cached: Annotated[float, Field(ge=0)] | None = None
    """Of input that is read from the cache; the price of input when it is not given."""
    cache_written: Annotated[float, Field(ge=0)] | None = None
    """Of input that is written to the cache; likewise."""


class Profile(Table):
    """A size of the task: what `init --profile` puts in place of the task's own values."""

    budget: Budget | None = None
    limit_s: Annotated[float, Field(gt=0)] | None = None
    source: str | None = None
    sources: tuple[str, ...] = ()
    """What else `init --source` may name, in any profile."""


class TaskFile(Table):
    """One `autoresearch.toml`."""

    task: Task
    metric: MetricTable
    run: Run
    files: Files
    keep: Keep = Keep()
    guard: dict[MetricName, GuardTable] = Field(default_factory=dict)
    """Metric -> the bounds that a run must keep, whatever it gains."""
    stop: Stop = Stop()
    search: Search = Search()
    prices: dict[str, PriceTable] = Field(default_factory=dict)
    """Model -> what it costs: where the list that comes with the program does not know it, or is wrong."""
    options: dict[str, Scalar] = Field(default_factory=dict)
    """What the task's own programs read; the engine does not look at it."""
    profile: dict[str, Profile] = Field(default_factory=dict)

    @field_validator("options", mode="before")
    @classmethod
    def _finite(cls, options: Any) -> Any:
        for name, value in options.items() if isinstance(options, dict) else ():
            if isinstance(value, float) and not math.isfinite(value):  # or it would be told that it is no text
                raise ValueError(f"{name} is not a finite number")
        return options

    @model_validator(mode="after")
    def _apart(self) -> TaskFile:
        for path in self.files.mutable:
            for fixed in (*self.files.immutable, NAME):
                if within(fixed, (path,)):
                    raise ValueError(f"{fixed} is immutable and lies in the mutable path {path}")
        return self

    @model_validator(mode="after")
    def _one_source(self) -> TaskFile:
        if self.run.evaluate is not None and self.metric.places:
            raise ValueError("[run] evaluate decides on the number; leave it out, or pattern and file in [metric]")
        for source in self.metric.places.values():
            fixed = next((path for path in self.files.link if within(source.file or "", (path,))), None)
            if fixed is not None:
                raise ValueError(f"[metric] file {source.file} lies in {fixed}, which is linked and not to be written")
        return self

    @model_validator(mode="after")
    def _harnessed(self) -> TaskFile:
        if self.task.harness and (self.run.evaluate is None or not within("harness", self.files.immutable)):
            raise ValueError('with harness = true, [run] evaluate is needed and "harness" in [files] immutable')
        if not self.task.harness and (self.run.feed or self.files.readable):
            raise ValueError("[run] feed and [files] readable need [task] harness = true")
        return self

    @model_validator(mode="after")
    def _guarded_once(self) -> TaskFile:
        if self.metric.name in self.guard:
            raise ValueError(f"[guard] {self.metric.name} is the metric itself, which is judged by its own rules")
        for name, bounds in self.guard.items():
            if bounds.worse_by is not None and bounds.direction is None and direction_of(name) is None:
                raise ValueError(f'[guard] {name}: which way is better? Add direction = "lower" or "higher"')
        if self.keep.max_memory_mb is not None and OLD_MEMORY_GUARD in self.guard:
            raise ValueError(f"[keep] max_memory_mb and [guard] {OLD_MEMORY_GUARD} say the same; leave out the first")
        return self

    @property
    def same_work(self) -> bool:
        """Whether a slow machine changes nothing but the seconds of a run: the harness counts work, not time."""
        return self.task.harness and self.run.budget is not None and self.run.budget.seconds is None

    @property
    def measure(self) -> Metric:
        """The metric in the words of the core."""
        return Metric(self.metric.name, self.metric.direction, self.metric.unit)

    @property
    def rules(self) -> Rules:
        """The rules of keeping in the words of the core."""
        guards = [
            Guard(name, bounds.max, bounds.min, bounds.worse_by, bounds.direction or direction_of(name) or "lower",
                  bounds.against or "baseline")
            for name, bounds in self.guard.items()
        ]  # fmt: skip
        if self.keep.max_memory_mb is not None:
            guards.append(Guard(OLD_MEMORY_GUARD, self.keep.max_memory_mb))
        kept = self.keep.model_dump(exclude={"max_memory_mb"})
        return Rules(**kept, exact=self.metric.exact, guards=tuple(guards))


def within(path: str, roots: tuple[str, ...]) -> bool:
    """Whether `path` is one of `roots` or lies in one of them."""
    return any(root == "." or path == root or path.startswith(f"{root}/") for root in roots)


@functools.lru_cache(maxsize=16)  # a task never changes, and each command reads the same text many times
def parse(text: str, name: str = NAME) -> TaskFile:
    """Return the task that `text` describes; raise `PreconditionError` that names the key that is wrong."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PreconditionError(f"{name} is not TOML: {error}", f"correct {name}") from None
    try:
        return TaskFile.model_validate(data)
    except ValidationError as error:
        raise PreconditionError(f"{name}: {_first(error)}", f"correct {name}") from None


def load(root: Path) -> TaskFile:
    """Return the task of a workspace; raise `PreconditionError` when it cannot be read."""
    path = root / NAME
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        back = f"restore it with: git checkout HEAD -- {NAME}"
        raise PreconditionError(f"there is no {NAME} in {root}", back) from None
    except (OSError, UnicodeDecodeError) as error:
        raise PreconditionError(f"{NAME} cannot be read: {error}", f"correct {NAME}") from None


def secondary_of(root: Path) -> tuple[str, ...]:
    """Return the metrics that the task of a workspace names beside its own; none where it cannot be read: a journal
    alone is enough to show what was measured."""
    try:
        return load(root).metric.secondary
    except PreconditionError:
        return ()


def rules_of(root: Path) -> Rules | None:
    """Return the rules of a task; None where it cannot be read."""
    try:
        return load(root).rules
    except PreconditionError:
        return None


def check_command(root: Path, command: str, path: str, fix: str = "install it, or correct --command") -> None:
    """Raise `PreconditionError` when a plain command begins with no program on `path` and no file in `root`.

    `fix` is how one comes to another command where this one was given.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise PreconditionError(f"the command {command!r} cannot be read: {error}", "correct its quotes") from None
    if not words:
        raise PreconditionError("the command is empty", "give one with --command")
    first = words[0]
    if any(char in first for char in "=$`(){};&|<>*?[!~") or first in _BUILTINS:
        return
    if shutil.which(first, path=path) is None and not (root / first).exists():
        raise PreconditionError(f"command not found: {first}", fix)


_BUILTINS = {"cd", "exec", "export", "set", "source", ".", "test", "time", "if", "for", "while", "ulimit", "eval", ":"}


def _first(error: ValidationError) -> str:
    """Return the first problem in one line: table, key, what is wrong, what is known."""
    problem = error.errors(include_url=False)[0]
    where = [str(part) for part in problem["loc"]]
    key = f"[{'.'.join(where[:-1])}] {where[-1]}" if len(where) > 1 else f"[{where[0]}]" if where else "the task"
    if problem["type"] == "extra_forbidden":
        known = _keys(where[:-1])
        return f"{key}: unknown key" + (f"; known are {', '.join(known)}" if known else "")
    if problem["type"] == "missing":
        return f"{key} is missing"
    if problem["type"] == "tuple_type":
        return f'{key}: it is a list, written with brackets, such as ["train.py"]'
    return f"{key}: {problem['msg'].removeprefix('Value error, ')}"


def _keys(tables: list[str]) -> list[str]:
    """Return the keys that the schema knows in a table."""
    model: Any = TaskFile
    words = iter(tables)
    for table in words:
        field = getattr(model, "model_fields", {}).get(table)
        annotation: Any = field.annotation if field is not None else None
        if getattr(annotation, "__origin__", None) is dict:
            next(words, None)  # a name of the person's own
        inner = getattr(annotation, "__args__", ())
        model = next((a for a in inner if hasattr(a, "model_fields")), annotation)
    return sorted(getattr(model, "model_fields", {}))
