"""The task's setup command (prepare data), which runs once, in the workspace itself."""

from __future__ import annotations

from autoresearch.errors import AutoresearchError, PreconditionError
from autoresearch.escaping import excerpt
from autoresearch.runs.spec import RunContext, RunSpec, Tick, environment
from autoresearch.system.extras import install, missing_ml
from autoresearch.system.git import Git
from autoresearch.system.process import run_limited, signals_interrupt
from autoresearch.workspace.lock import lock
from autoresearch.workspace.task_file import load
from autoresearch.workspace.workspace import Workspace

LIMIT_S = 24 * 3600
"""Longer than any download of data takes."""


def setup(context: RunContext) -> None:
    """Run the task's setup command, if it has one; raise `AutoresearchError` when it fails."""
    command = context.task.run.setup
    if command is None:
        return
    state = context.workspace.state
    state.mkdir(exist_ok=True)
    env = environment(context.workspace, RunSpec("", 0, 0, state), "setup")
    del env["AUTORESEARCH_RUN_DIR"]
    tick = context.tick
    inform = None if tick is None else lambda seconds: tick("setup", seconds)
    root = context.workspace.root
    ended = run_limited(command, cwd=root, log=state / "setup.log", limit_s=LIMIT_S, env=env, tick=inform)
    if ended.code != 0:
        absent = missing_ml(root, excerpt(ended.tail, lines=1))
        if absent is not None and context.task.task.harness:
            raise PreconditionError(f"{absent} is not installed", f"install what ML tasks need: {install('ml')}")
        last = (excerpt(ended.tail, lines=1) or [f"exited with {ended.code}"])[0]
        raise AutoresearchError(f"setup failed: {last}", f"try it by hand: {command}")


def setup_workspace(root: Workspace, tick: Tick | None = None) -> None:
    """Run the setup command of a workspace's task, as `init` does."""
    with lock(root), signals_interrupt():
        setup(RunContext(root, Git(root.root), load(root.root), tick))
