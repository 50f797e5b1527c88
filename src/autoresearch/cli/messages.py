"""`tell`: a person leaves a message; the next command that the agent calls shows it, once."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from autoresearch.cli.job_folders import detached_as
from autoresearch.cli.output import JsonFlag, Sections, emit, here, sections_of
from autoresearch.errors import AutoresearchError, UsageError
from autoresearch.escaping import one_line
from autoresearch.journal.message_events import message_line, message_shown_line
from autoresearch.journal.session import Session
from autoresearch.reports.views import MOST_LINES
from autoresearch.workspace.session_journal import append, load_session
from autoresearch.workspace.workspace import Workspace, find

SHOWN_AT_ONCE = 5
MOST_CHARACTERS = 2000


def register(app: typer.Typer) -> None:
    app.command()(tell)


def tell(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What the agent should know.")],
    as_json: JsonFlag = False,
) -> None:
    """Leave a message for the agent.

    The next status, baseline, try, wait or resume shows it, once. It is in the journal with the experiments.

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
    workspace: Workspace, session: Session, as_json: bool, view: dict[str, Any], lines: Sequence[str] | Sections
) -> None:
    """Print a result as `emit` does, behind the messages that were not shown yet.

    A report that fits on a screen stays so: what a run printed makes room. Nobody reads the output of a detached
    command now, so it leaves the messages to the next one.
    """
    waiting = [] if detached_as() else session.mailbox.waiting[:SHOWN_AT_ONCE]
    texts = [message.text for message in waiting]
    messages = [f"message from the person: {one_line(text, MOST_CHARACTERS)}" for text in texts]
    sections = sections_of(lines)
    count = sum(map(len, sections.values()))
    if "data" in sections and count <= MOST_LINES:
        sections["data"] = sections["data"][max(0, len(messages) + count - MOST_LINES) :]
    read = emit(as_json, {**view, "messages": texts}, {"messages": messages, **sections})
    if texts and read:
        from autoresearch.system.clock import wall_clock

        count = session.mailbox.shown + len(texts)
        with contextlib.suppress(OSError, AutoresearchError):  # not permitted here: then they are shown again
            append(workspace, message_shown_line(count, wall_clock()))
