"""What `init` was asked for, and the task file made of it."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autoresearch.errors import PreconditionError, UsageError
from autoresearch.metrics import is_name
from autoresearch.system.git import Git
from autoresearch.system.hardware import detect
from autoresearch.workspace import task_file
from autoresearch.workspace.metric_names import direction_of

HUB = "hub"
"""What a task file names as a source where the id of a model of the hub may stand, such as Qwen/Qwen3-0.6B."""

FILES = (".pt", ".pth", ".bin", ".safetensors", ".gguf", ".json", ".jsonl", ".parquet", ".txt")
"""Ends of names that are no ids of the hub."""

LINKABLE = (".venv", "venv", "node_modules")
"""Installed packages that git ignores and most commands need: linked into snapshots when they are there."""


@dataclass(frozen=True, slots=True)
class InitOptions:
    """What a person asked `init` for; None and empty mean the task's own value."""

    task: str | None = None
    """None is the task file that is committed in the folder, else `pretrain`."""
    tag: str | None = None
    source: str | None = None
    base: str | None = None
    """Of a task that tunes a model: the weights to begin with."""
    profile: str | None = None
    command: str | None = None
    metric: str | None = None
    direction: str | None = None
    unit: str | None = None
    pattern: str | None = None
    stream: str | None = None
    file: str | None = None
    key: str | None = None
    mutable: tuple[str, ...] = ()
    immutable: tuple[str, ...] = ()
    link: tuple[str, ...] = ()
    checks: str | None = None
    limit_s: float | None = None
    seconds: float | None = None
    """The training budget of one run."""
    steps: int | None = None
    """The same in batches: then a run does the same work on any machine, and can be repeated to the last digit."""
    tokens: int | None = None
    """The same in tokens, of which larger batches have no more than smaller ones."""
    policy: str | None = None
    seeds: int | None = None
    minutes: float | None = None
    """How long the session may take."""
    goal: str | None = None
    """What the person wants, in plain words; for the living document."""


def command_line(options: InitOptions, *more: str) -> str:
    """Return what to type for these options, with `more` behind them, in the folder itself."""
    words = ["autoresearch", "init", "."]
    for name, value in asdict(options).items():
        option = _spelled(name)
        if isinstance(value, list | tuple):
            words += [option, *value] if value else []
        elif value is not None:
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join([*words, *more])


def _spelled(name: str) -> str:
    return f"--{name.removesuffix('_s')}"


def about_the_task(options: InitOptions) -> list[str]:
    """Return the options that were given and say what a task file says: all but its name, the tag and the goal."""
    known = asdict(options).items()
    return [_spelled(name) for name, value in known if value not in (None, ()) and name not in ("task", "tag", "goal")]


def check_command_given(options: InitOptions) -> None:
    """Raise `UsageError` for options about the number of a command where neither that nor a task is named: the task of
    the default has a number of its own, and would be made in a repository that was to be measured as it is."""
    about = ("--metric", "--direction", "--unit", "--pattern", "--stream", "--file", "--key", "--mutable")
    given = [option for option in about_the_task(options) if option in about]
    if given:
        raise UsageError(
            f"{', '.join(given)} {'is' if len(given) == 1 else 'are'} about a command, and none was given",
            "say what an experiment runs with --command, or name a task with --task",
        )


def beside_own(options: InitOptions, given: list[str]) -> UsageError:
    """Return the error for options `given` beside a task file that is committed, which is the person's to change."""
    keys = [key for option in given for key, known in _OPTIONS.items() if known == option]
    there = f" ({', '.join(keys)})" if keys else ""
    plain = command_line(InitOptions(task=options.task, tag=options.tag, goal=options.goal))
    return UsageError(
        f"{task_file.NAME} is committed here, so {', '.join(given)} cannot change it",
        f"write that there{there} and commit it, or leave it out: {plain}",
    )


def configured(source: Path, options: InitOptions, git: Git | None) -> str:
    """Return the task's toml with what the person chose in it; comments stay."""
    import tomlkit

    document: Any = tomlkit.parse((source / task_file.NAME).read_text(encoding="utf-8"))
    profiles = document.pop("profile", {})
    table = document.get("options", {})
    if "profile" in table:
        name = options.profile or "auto"
        name = detect().profile() if name == "auto" else name
        if name not in profiles:
            raise UsageError(f"there is no profile {name!r}", f"choose one of: auto, {', '.join(profiles)}")
        table["profile"] = name
        chosen = profiles[name]
        document["run"].update({key: chosen[key] for key in ("budget", "limit_s") if key in chosen})
        if "source" in table:
            named = {str(given["source"]) for given in (table, *profiles.values()) if "source" in given}
            named |= {str(source) for given in profiles.values() for source in given.get("sources", ())}
            table["source"] = _source(options.source or str(chosen.get("source", table["source"])), named)
        elif options.source:
            raise UsageError(f"the task {options.task} makes its own data", "leave out --source")
    elif options.profile or options.source:
        raise UsageError(f"the task {options.task} has no profiles and no source", "leave out --profile and --source")
    if options.base is not None:
        table["base"] = _base(options.base, table, options.task)
    budgets = {"seconds": options.seconds, "steps": options.steps, "tokens": options.tokens}
    given = {kind: amount for kind, amount in budgets.items() if amount is not None}
    if len(given) > 1:
        raise UsageError(f"--{' and --'.join(given)} are given", "choose one: a run has one budget")
    if given:
        document["run"]["budget"] = _inline(given)
    direction = options.direction or (direction_of(options.metric) if options.metric else None)
    if options.task == "command" and options.metric is not None and is_name(options.metric) and direction is None:
        what = f"which way is better is not certain from the name {options.metric}"
        raise UsageError(what, "say --direction lower, or --direction higher")
    _set(document, "metric", name=options.metric, direction=direction, unit=options.unit, stream=options.stream,
         pattern=_literal(options.pattern), file=options.file, key=_literal(options.key))  # fmt: skip
    if options.command is not None:
        place = f" of {(git.top / git.prefix).resolve().name}" if git is not None else ""
        _set(document, "task", title=f"{document['metric']['name']}{place}")
    _set(document, "run", command=options.command, checks=options.checks, limit_s=options.limit_s)
    _set(document, "keep", policy=options.policy, seeds=options.seeds)
    if options.minutes is not None:
        document.setdefault("stop", tomlkit.table())["max_hours"] = round(options.minutes / 60, 4)
    if options.mutable:
        document["files"]["mutable"] = [_relative(path, git) for path in options.mutable]
    if not document["files"]["mutable"]:
        raise UsageError("no file was named that experiments may change", "name it with: --mutable PATH")
    if options.task == "command":
        missing = [f"--{name}" for name in ("command", "metric") if getattr(options, name) is None]
        if missing:
            raise UsageError(
                f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing", "see: autoresearch init --help"
            )
    if git is not None:
        mutable = tuple(document["files"]["mutable"])
        fixed = [*document["files"]["immutable"], *(_relative(path, git) for path in options.immutable)]
        fixed += [path for path in _named_files(options.command, git) if path not in fixed]
        document["files"]["immutable"] = [path for path in fixed if not task_file.within(path, mutable)]
        linked = [
            name for name in LINKABLE if (git.top / git.prefix / name).exists() and git.ignored(f"{git.prefix}{name}")
        ]
        linked += [path for each in options.link if (path := _relative(each, git)) not in linked]
        gone = next((path for path in linked if not (git.top / git.prefix / path).exists()), None)
        if gone is not None:
            raise PreconditionError(f"there is no {gone} to link", "correct --link")
        if linked:
            document["files"]["link"] = linked
    return tomlkit.dumps(document)


def _literal(text: str | None) -> Any:
    """Return a text as TOML shows it best: a pattern without a backslash before each backslash."""
    import tomlkit

    if text is None or "'" in text or "\\" not in text or not text.isprintable():
        return text
    return tomlkit.string(text, literal=True)


def _set(document: Any, table: str, **values: object) -> None:
    document[table].update({key: value for key, value in values.items() if value is not None})


def _inline(values: dict[str, float]) -> Any:
    import tomlkit

    table = tomlkit.inline_table()
    table.update({key: int(value) if value == int(value) else value for key, value in values.items()})
    return table


def _source(source: str, named: set[str]) -> str:
    """Return a source as the task reads it: a name that its task file knows as it is, a path made absolute; and where
    it knows `HUB`, an id of the hub that is no path here."""
    if source in named - {HUB}:
        return source
    path = Path(source).expanduser()
    if path.exists():
        return str(path.resolve())
    if HUB in named and _is_an_id(source):
        return source
    known = [name for name in sorted(named) if name != HUB] + ["ORG/NAME of the hub"] * (HUB in named)
    raise PreconditionError(f"there is no {path}", f"give --source {', '.join(known)}, or a path")


def _is_an_id(name: str) -> bool:
    """Whether a name can be one of a model of the hub: ORG/NAME."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) is not None and Path(name).suffix not in FILES


def _base(base: str, table: dict[str, Any], task: str | None) -> str:
    """Return the model to begin with as the task reads it: a path of weights, or of a model's folder, made absolute; an
    id of the hub that is no path here, or the task's own word for its own, as it is."""
    if "base" not in table:
        raise UsageError(f"the task {task} begins with no model that is there already", "leave out --base")
    if base == table["base"]:
        return base
    path = Path(base).expanduser()
    if path.is_file() or (path / "config.json").is_file():
        return str(path.resolve())
    if not path.exists() and _is_an_id(base):
        return base
    known = f"{table['base']}, a kept model.pt, or the folder or the id (ORG/NAME) of a model of the hub"
    if path.is_dir():
        raise PreconditionError(f"{path} has no config.json of a model", f"give --base {known}")
    raise PreconditionError(f"there are no weights at {path}", f"give --base {known}")


def _relative(path: str, git: Git | None) -> str:
    """Return a path that was given from the current folder relative to the workspace."""
    if git is None:
        return path
    root = (git.top / git.prefix).resolve()
    target = Path(os.path.normpath(root / path))
    try:
        return target.relative_to(root).as_posix()
    except ValueError:
        raise UsageError(f"{path} is outside {root}", "name a path inside the workspace") from None


def _named_files(command: str | None, git: Git) -> list[str]:
    """Return the tracked files that a command names: the benchmark itself must not be part of an experiment."""
    root = git.top / git.prefix
    return [w for w in own_words(command) if (root / w).is_file() and git.tracked([f"{git.prefix}{w}"])]


def own_words(command: str | None) -> list[str]:
    """Return the words of a command that could be paths inside the workspace."""
    with contextlib.suppress(ValueError):
        words = [word.removeprefix("./") for word in shlex.split(command or "")]
        return [word for word in words if len(word) < 256 and not word.startswith(("-", "/", "../"))]
    return []


def parsed(text: str, git: Git | None) -> task_file.TaskFile:
    """Return the task that was made of options; raise `PreconditionError` that names the option which is wrong."""
    try:
        return task_file.parse(text)
    except PreconditionError as error:
        message = error.message.removeprefix(f"{task_file.NAME}: ")
        option = next((option for key, option in _OPTIONS.items() if message.startswith(key)), "")
        if "lies in the mutable path" in message:
            others = _mutable_choices(git, tomllib.loads(text)["run"]["command"])
            raise PreconditionError(message, f"name what experiments may change: {others}") from None
        raise PreconditionError(message, f"correct {option}" if option else "see: autoresearch init --help") from None


_OPTIONS = {"[metric] name": "--metric", "[metric] unit": "--unit", "[metric] pattern": "--pattern",
            "[metric] file": "--file", "[metric] key": "--key", "[metric]": "--pattern, --stream, --file and --key",
            "[files] link": "--link", "[run] command": "--command",
            "[run] checks": "--checks", "[run] limit_s": "--limit", "[run.budget] seconds": "--seconds",
            "[files] mutable": "--mutable", "[files] immutable": "--immutable", "[keep] seeds": "--seeds",
            "[stop] max_hours": "--minutes"}  # fmt: skip
"""Key of the task file -> the option that gave it."""


def _mutable_choices(git: Git | None, command: str, most: int = 5) -> str:
    """Return the options that name what lies at the top of the workspace, is tracked, and is no part of the command."""
    immutable = [task_file.NAME, *(_named_files(command, git) if git is not None else [])]
    tracked = [path.removeprefix(git.prefix) for path in git.tracked([git.prefix or "."])] if git is not None else []
    names = dict.fromkeys(path.partition("/")[0] for path in tracked)
    free = [name for name in names if not any(task_file.within(fixed, (name,)) for fixed in immutable)]
    free.sort(key=lambda name: (git is not None and not (git.top / git.prefix / name).is_dir(), name))
    return (
        " ".join(f"--mutable {shlex.quote(name)}" for name in free[:most] if not name.startswith("."))
        or "--mutable PATH"
    )
