"""Commands around a workspace: `quickstart`, `init`, `doctor`, `tasks`."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from autoresearch.cli.output import JsonFlag, emit, finite, here, refuse_unheeded, remark
from autoresearch.cli.path_options import WithPaths
from autoresearch.cli.progress import Display
from autoresearch.errors import AutoresearchError, PreconditionError
from autoresearch.workspace.session_journal import load_session

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the workspace.", show_default=True)]


BASELINE = "autoresearch baseline"


def register(app: typer.Typer) -> None:
    for command in (quickstart, init, segment, doctor, tasks):
        app.command(cls=WithPaths if command is init else None)(command)


def init(
    folder: Folder = Path(),
    task: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The task; see: autoresearch tasks.",
            show_default="the autoresearch.toml that is committed here, else pretrain",
        ),
    ] = None,
    tag: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the session and of its branch.", show_default="today")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="S", help="Where the data comes from: a name that the task knows, or a path.", show_default=False
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="With --task sft: the model.pt of a kept run of pretrain, or a model of the hub: folder or ORG/NAME.",
            show_default="a small model that set-up trains",
        ),
    ] = None,
    profile: Annotated[
        str | None, typer.Option(metavar="P", help="auto, full, small or tiny.", show_default=False)
    ] = None,
    command: Annotated[str | None, typer.Option(help="What an experiment runs.", show_default=False)] = None,
    metric: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What counts, as the command calls it.", show_default="a trial run lists it"),
    ] = None,
    direction: Annotated[
        Literal["lower", "higher"] | None,
        typer.Option(help="Which way is better.", show_default="by the name, where that is certain"),
    ] = None,
    unit: Annotated[str | None, typer.Option(help="Unit of the metric.", show_default=False)] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Where the number is printed: one group, the last match counts.",
            show_default="found by a trial run",
        ),
    ] = None,
    stream: Annotated[
        Literal["stdout", "stderr"] | None,
        typer.Option(help="Where the pattern is looked for.", show_default="both, each by itself"),
    ] = None,
    file: Annotated[
        str | None, typer.Option(metavar="PATH", help="A file that has the number instead.", show_default=False)
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Where in the file: a path in JSON, a column, a tag.", show_default=False),
    ] = None,
    mutable: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="What experiments may change; several may follow.", show_default=False),
    ] = None,
    immutable: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="What must not change; several may follow.", show_default=False),
    ] = None,
    link: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Ignored files that a run needs; several may follow.", show_default=False),
    ] = None,
    checks: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="Tests that must pass.", show_default=False)
    ] = None,
    limit: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Wall clock of one run.", show_default=False, callback=finite),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Training budget of one run.", show_default=False, callback=finite)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="The same in batches, which repeat exactly on a CPU.", show_default=False)
    ] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="The same in tokens, likewise.", show_default=False)] = None,
    policy: Annotated[
        Literal["confirm", "greedy"] | None, typer.Option(help="How gains are judged.", show_default=False)
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, max=64, help="Most fresh seeds that confirm.", show_default=False)
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=1, help="How long the session may take, confirm included.", show_default=False, callback=finite
        ),
    ] = None,
    goal: Annotated[str | None, typer.Option(help="What you want, in plain words.", show_default=False)] = None,
    no_setup: Annotated[bool, typer.Option("--no-setup", help="Do not prepare the data now.")] = False,
    probe_limit: Annotated[
        float,
        typer.Option(min=1, metavar="SECONDS", help="With --command: when the trial run is ended.", callback=finite),
    ] = 600,
    no_probe: Annotated[bool, typer.Option("--no-probe", help="Make no trial run of the command.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a workspace.

    From a task in a new folder, or around an existing repository with --command. Then the command runs once, unless
    --pattern or --file says where its number is: what it prints and writes is looked through for the metric, and
    ignored files that it opens are linked into each run. Without --metric it is told what there is to choose from.

    Example: autoresearch init lab --task pretrain --profile tiny

    Example: autoresearch init . --command "python train.py" --metric val_loss --mutable train.py model.py
    """
    from autoresearch.cli.trial import trial
    from autoresearch.reports.brief import remember
    from autoresearch.runs.setup import setup_workspace
    from autoresearch.system.clock import wall_clock
    from autoresearch.workspace import init, task_file
    from autoresearch.workspace.init_options import InitOptions
    from autoresearch.workspace.lost_session import lost_sessions
    from autoresearch.workspace.python import past_the_snapshot, python_of, python_words

    options = InitOptions(
        task=task, tag=tag, source=source, base=base, profile=profile, command=command, metric=metric,
        direction=direction, unit=unit, pattern=pattern, stream=stream, file=file, key=key,
        mutable=tuple(mutable or ()), immutable=tuple(immutable or ()), link=tuple(link or ()),
        checks=checks, limit_s=limit, seconds=seconds, steps=steps, tokens=tokens, policy=policy, seeds=seeds,
        minutes=minutes, goal=goal,
    )  # fmt: skip
    place = shlex.quote(str(folder))
    elsewhere = (here() / folder).resolve() != here().resolve()
    try:
        workspace = init.init(here() / folder, options, wall_clock(), None if no_probe else trial(probe_limit))
    except AutoresearchError as error:
        error.folder = str((here() / folder).resolve())
        raise
    loaded = task_file.load(workspace.root)
    segment = load_session(workspace).segment
    past = past_the_snapshot(workspace, loaded, python_of(workspace, loaded))
    for line in [*lost_sessions(workspace.root, segment.tag or ""), *([past] if past else [])]:
        remark(line)
    remember(workspace, wall_clock())
    if not no_setup:
        try:
            with Display() as display:
                setup_workspace(workspace, display.tick)
        except AutoresearchError as error:
            go, what = (f"cd {place} && " if elsewhere else ""), f"the workspace is made, but {error.message}"
            wrong = source is not None and not isinstance(error, PreconditionError)  # that is about what is installed
            fix = f"correct the source, or name another in its {task_file.NAME}" if wrong else error.fix
            raise AutoresearchError(what, f"{fix}; then: {go}{BASELINE}") from None
    view = {
        "workspace": str(workspace.root),
        "branch": segment.branch,
        "tag": segment.tag,
        "task": loaded.task.name,
        "metric": loaded.metric.name,
        "direction": loaded.metric.direction,
        "source": {name: getattr(loaded.metric, name) for name in ("pattern", "stream", "file", "key")},
        "linked": list(loaded.files.link),
        "mutable": list(loaded.files.mutable),
        "immutable": list(loaded.files.immutable),
        "options": loaded.options,
        "python": dict(segment.python) or None,
        "next": "autoresearch baseline",
    }
    lines = [
        f"{workspace.root} is ready: task {loaded.task.name}, branch {segment.branch}",
        f"metric     {loaded.metric.name}, {loaded.metric.direction} is better",
        f"mutable    {', '.join(loaded.files.mutable)}",
        f"immutable  {', '.join(loaded.files.immutable)}",
    ]
    lines += [f"linked     {', '.join(loaded.files.link)}"] if loaded.files.link else []
    lines += [f"python     {python_words(segment.python)}"] if segment.python else []
    go = f"cd {place} && " if elsewhere else ""
    emit(as_json, view, [*lines, f"next       {go}{BASELINE}"])


def segment(as_json: JsonFlag = False) -> None:
    """Begin a new segment.

    For another metric, evaluator or task in the same session: change autoresearch.toml or an immutable file on the
    session's branch, commit, and call this; or only this, for another Python. Its baseline is measured anew; what came
    before stays in the log.

    Example: autoresearch segment
    """
    from autoresearch.experiments.new_segment import begin_segment
    from autoresearch.system.clock import wall_clock
    from autoresearch.workspace.workspace import find

    now = begin_segment(find(here()), wall_clock()).segment
    view = {"segment": now.number, "metric": now.metric.name, "direction": now.metric.direction, "next": BASELINE}
    summary = f"segment {now.number}: {now.metric.name}, {now.metric.direction} is better"
    emit(as_json, view, [summary, f"next       {BASELINE}"])


def tasks(as_json: JsonFlag = False) -> None:
    """List the tasks for init.

    Example: autoresearch tasks
    """
    from autoresearch.workspace import assets, task_file

    rows = [
        task_view(name, tomllib.loads((assets.task_folder(name) / task_file.NAME).read_text(encoding="utf-8")))
        for name in assets.task_names()
    ]
    lines = []
    for row in rows:
        sizes = [f"{s['profile']} {s['budget']}{s['source'] and ' on ' + s['source']}" for s in row["sizes"]]
        lines.append(f"{row['name']:<12} {row['title']}")
        lines += [f"{'':<13}metric {row['metric']}, {row['direction']} is better"] if sizes else []
        lines += [f"{'':<13}sizes  {'; '.join(sizes)}"] if sizes else []
        lines += [f"{'':<13}needs  {row['needs']}"] if row["needs"] else []
    emit(as_json, {"tasks": rows}, [*lines, "start one with: autoresearch init DIR --task NAME"])


def task_view(name: str, table: dict[str, Any]) -> dict[str, Any]:
    """Return what a task file says to somebody who chooses a task."""
    metric, profiles = table["metric"], table.get("profile", {})
    sizes = [
        {"profile": size, "budget": _in_words(own.get("budget", {})), "source": own.get("source", "")}
        for size, own in profiles.items()
    ]
    return {
        "name": name, "title": table["task"].get("title", ""), "needs": table["task"].get("needs", ""),
        "metric": metric["name"], "direction": metric["direction"],
        "profiles": list(profiles), "sizes": sizes,
    }  # fmt: skip


def _in_words(budget: dict[str, float]) -> str:
    return ", ".join(f"{amount:g} {'s' if kind == 'seconds' else kind}" for kind, amount in budget.items())


def doctor(
    context: typer.Context,
    gpu: Annotated[
        bool,
        typer.Option("--gpu", help="Measure for a minute what the GPU, or the processor, does with the task pretrain."),
    ] = False,
    workers: Annotated[
        str, typer.Option("--workers", metavar="ray://HOST:PORT", help="Ask the machines of a Ray cluster instead.")
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Check machine and workspace.

    Each problem comes with its fix. With --gpu the device instead: driver and torch, matrix products, attention, the
    compiler, a training step with its memory, two processes at once, and what runs will use. It needs no data, and its
    report names neither host nor user.

    Example: autoresearch doctor

    With --workers a cluster instead: what each of its machines has, what it lacks, and whether it asks for a token.

    Example: autoresearch doctor --gpu > gpu.txt

    Example: autoresearch doctor --workers ray://10.0.0.1:6379
    """
    if gpu:
        refuse_unheeded(context, "with --gpu", "workers")
        from autoresearch.cli.first_minute import doctor_gpu

        doctor_gpu(as_json)
        return
    from autoresearch.reports.doctor import examine

    if workers:
        from autoresearch.reports.cluster import examine_cluster

        checks = examine_cluster(here(), workers)
    else:
        checks = examine(here())
    view = {
        "ok": all(c.ok for c in checks),
        "checks": [{"name": c.name, "ok": c.ok, "found": c.found, "fix": c.fix} for c in checks],
    }
    lines = [
        f"{'ok ' if c.ok else 'BAD' if c.needed else '-  '} {c.name:<11} {c.found}" + (f"; {c.fix}" if c.fix else "")
        for c in checks
    ]
    emit(as_json, view, lines)
    if any(c.needed and not c.ok for c in checks):
        raise typer.Exit(1)


def quickstart(
    folder: Folder = Path("quickstart"),
    experiments: Annotated[int, typer.Option(min=1, max=1000, help="Experiments after the baseline.")] = 8,
    tokens: Annotated[int, typer.Option(min=4096, help="Training budget of one run.")] = 32768,
    seed: Annotated[int, typer.Option(help="Seed of the sampler.")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """Show a whole first session.

    Makes a workspace on the text of the Python installation, measures a baseline, lets the sampler run some real
    experiments, prints the table, draws the plot and writes the report. Needs no key, no GPU and no network.

    Example: autoresearch quickstart
    """
    from autoresearch.cli.quickstart import run_quickstart

    run_quickstart(here() / folder, experiments, tokens, seed, as_json)
