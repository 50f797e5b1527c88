"""What a person has left for the agent to read: `message` lines, and how many of them were shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    text: str
    timestamp: int | None = None


@dataclass(frozen=True, slots=True)
class Mailbox:
    """All messages of a session, in order."""

    messages: tuple[Message, ...] = ()
    shown: int = 0

    @property
    def waiting(self) -> tuple[Message, ...]:
        """Those that no command has shown yet."""
        return self.messages[self.shown :]
