"""The lines of what a person tells the agent, `message` and `message_shown`: their builders, and their reader."""

from __future__ import annotations

from autoresearch.journal.fields import Event, seconds_at, text_at, whole_at
from autoresearch.journal.messages import Mailbox, Message


def message_line(text: str, now: int) -> Event:
    """Return a person's message to the agent."""
    return {"type": "message", "text": text, "timestamp": now}


def message_shown_line(count: int, now: int) -> Event:
    """Return that the first `count` messages of the session have been shown."""
    return {"type": "message_shown", "count": count, "timestamp": now}


def read_message(event: Event, mailbox: Mailbox) -> Mailbox:
    """Return the mailbox after a `message` or `message_shown` line; raise `ValueError` for a field of a wrong type."""
    if event["type"] == "message":
        message = Message(text_at(event, "text") or "", seconds_at(event))
        return Mailbox((*mailbox.messages, message), mailbox.shown)
    return Mailbox(mailbox.messages, max(mailbox.shown, whole_at(event, "count")))
