"""The commands that bring what this package has elsewhere: `install-skill` to the coding agents of the machine,
`upgrade` to a workspace."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from autoresearch.cli.output import JsonFlag, emit, here
from autoresearch.errors import PreconditionError, UsageError


def register(app: typer.Typer) -> None:
    app.command("install-skill")(install_skill)
    app.command()(upgrade)


def install_skill(
    agent: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="claude, codex, gemini, or agents: any that reads ~/.agents/skills; may be repeated.",
            show_default="those on this machine",
        ),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take away again what this command has written.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would be done.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Give your coding agents the skill, in every project.

    Copies the skills, and for Claude Code and Codex the hooks, into your own folders of the agents that are on this
    machine. What is there and not from here stays. --remove leaves the folders as they were.

    Example: autoresearch install-skill

    Example: autoresearch install-skill --agent claude --yes
    """
    from autoresearch.workspace import user_agents

    home = user_agents.home_of_the_person()
    if remove and agent:  # several agents read the same folder
        raise UsageError("--remove takes away what was written for all agents", "leave out --agent to do that")
    if remove:
        plan = user_agents.plan_removal(home)
    else:
        agents = agent or user_agents.found(home)
        if not agents:
            choices = "name one: autoresearch install-skill --agent claude --yes"
            raise PreconditionError("no coding agent was found on this machine", choices)
        plan = user_agents.plan_install(home, agents)
    again = " ".join(
        ["autoresearch install-skill", *(f"--agent {name}" for name in agent or ()), *["--remove"] * remove]
    )
    if yes and (plan.changes or remove):
        (user_agents.remove if remove else user_agents.apply)(home, plan)
    view = {
        "done": yes,
        "changes": [{"path": str(change.path), "what": change.what} for change in plan.changes],
        "left": list(plan.left),
    }
    lines = [f"{change.what:<7} {change.path}" for change in plan.changes] or ["everything is there already"]
    lines += [f"left    {text}" for text in plan.left]
    if plan.changes and not yes:
        lines.append(f"next    {again} --yes")
    elif yes and not remove:
        lines.append("next    start the agent in a project and type /autoresearch (Codex: $autoresearch)")
    emit(as_json, view, lines)


def upgrade(
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would be done.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Show what differs, line by line.")] = False,
    take: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Replace this file, too, though you changed it.", show_default="those stay"),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Bring the workspace up to this package.

    An earlier version may have begun the session: its harness, the fixed files of its task, and the skills, hooks and
    pages for agents are replaced by those of this package. What you changed stays and is named. A newer harness begins
    a segment, in which the best so far is measured again: autoresearch baseline. The task file stays as it is; keys
    that are new and defaults that are others are told.

    Example: autoresearch upgrade

    Example: autoresearch upgrade --yes
    """
    from autoresearch.experiments.upgrade import Upgraded
    from autoresearch.experiments.upgrade import upgrade as do_it
    from autoresearch.reports.upgrade import upgrade_lines, upgrade_view
    from autoresearch.system.clock import wall_clock
    from autoresearch.system.git import Git
    from autoresearch.workspace import upgrade_plan
    from autoresearch.workspace.given import version_of
    from autoresearch.workspace.session_journal import load_session
    from autoresearch.workspace.task_file import load
    from autoresearch.workspace.task_settings import changed_settings
    from autoresearch.workspace.workspace import find

    workspace = find(here())
    has = version_of(workspace)
    if yes:
        done = do_it(workspace, wall_clock(), take or ())
    else:
        items = upgrade_plan.plan(workspace, Git(workspace.root), load(workspace.root), take or ())
        done = Upgraded(tuple(items), load_session(workspace), None, tuple(changed_settings(workspace)))
    again = " ".join(["autoresearch upgrade", *(f"--take {shlex.quote(path)}" for path in take or ())])
    view = upgrade_view(done, has, again, done_now=yes)
    emit(as_json, view, upgrade_lines(view, done, workspace, with_diff=diff))
