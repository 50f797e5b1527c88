"""The command that gives the coding agents of the machine what they need: `install-skill`."""

from __future__ import annotations

from typing import Annotated

import typer

from autoresearch.cli.output import JsonFlag, emit
from autoresearch.errors import PreconditionError


def register(app: typer.Typer) -> None:
    app.command("install-skill")(install_skill)


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
