"""`tell`: a person leaves a message; the next command that the agent calls shows it, once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from autoresearch.cli.output import JsonFlag, emit, here
from autoresearch.errors import AutoresearchError, UsageError
from autoresearch.escaping import one_line
from autoresearch.journal.events import message_line, message_shown_line
from autoresearch.journal.session import Session
from autoresearch.reports.views import MOST_LINES
from autoresearch.workspace.session_journal import append, load_session
from autoresearch.workspace.workspace import Workspace, find

UNREAD = "AUTORESEARCH_UNREAD"
"""Environment variable of a command whose output nobody reads now: it leaves messages to the next one."""

SHOWN_AT_ONCE = 5
MOST_CHARACTERS = 2000


def register(app: typer.Typer) -> None:
    app.command()(tell)


def tell(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What the agent should know.")],
    as_json: JsonFlag = False,
) -> None:
    """Leave a message for the agent.

    The next status, try, wait, next or resume shows it, once. It is in the journal with the experiments.

    Example: autoresearch tell "no more learning rates, please; try the data order"
    """
    from autoresearch.system.clock import wall_clock

    workspace = find(here())
    message = text.strip()
    if not message:
        raise UsageError("the message is empty", 'write it as: autoresearch tell "..."')
    if len(message) > MOST_CHARACTERS:
        raise UsageError(f"the message has more than {MOST_CHARACTERS} characters", "say it shorter")
    append(workspace, message_line(message, wall_clock()))
    waiting = len(load_session(workspace).mailbox.waiting)
    emit(as_json, {"waiting": waiting}, ["noted; the agent sees it with its next command"])


def emit_with_messages(
    workspace: Workspace, session: Session, as_json: bool, view: dict[str, Any], lines: Sequence[str]
) -> None:
    """Print a result as `emit` does, behind the messages that were not shown yet."""
    waiting = [] if os.environ.get(UNREAD) else session.mailbox.waiting[:SHOWN_AT_ONCE]
    texts = [message.text for message in waiting]
    told = [f"message from the person: {one_line(text, MOST_CHARACTERS)}" for text in texts]
    over = max(0, len(told) + len(lines) - MOST_LINES) if len(lines) <= MOST_LINES else 0
    data = [at for at, line in enumerate(lines) if line.startswith("  | ")][:over]
    emit(as_json, {**view, "messages": texts}, [*told, *(line for at, line in enumerate(lines) if at not in data)])
    if texts:
        from autoresearch.system.clock import wall_clock

        count = session.mailbox.shown + len(texts)
        with contextlib.suppress(OSError, AutoresearchError):  # not permitted here: then they are shown again
            append(workspace, message_shown_line(count, wall_clock()))
