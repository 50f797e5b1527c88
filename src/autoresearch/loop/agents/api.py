"""What agents that ask a model by its API share: the tools, the conversation with its one repair round, the bill."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from autoresearch.journal.ledger import Usage
from autoresearch.loop.agents.answer import CHANGES, edit_of, object_in, schema
from autoresearch.loop.agents.base import NOTHING, AgentGone, AgentResting, Brief, Edit, ProposalFailed
from autoresearch.loop.edit import Change, EditRefused, Replacement, WholeFile, apply
from autoresearch.loop.prompt import Prompt, code_files
from autoresearch.models.endpoint import EndpointFailed, EndpointGone, EndpointResting, EndpointSilent, fields
from autoresearch.models.prices import Prices

MODEL = "AUTORESEARCH_MODEL"
"""Environment variable with the model, where the agent's name does not say it (`anthropic:MODEL`)."""

OUTPUT = 16_000
"""Tokens that one answer may have: a whole file of 600 lines, or many edits."""

LEAST_OUTPUT = 2_000
"""Below this an answer would be cut off, and so for nothing."""

SMALL = 16_000
"""Characters of code up to which a whole file may be given instead of edits; about 4,000 tokens."""

REPAIR = 4_000
"""Bytes that the refusal of an edit adds to the second request, at most."""

HOW_EDITS = """Call the tool `propose` once. Each of its edits names a file, an old text and a new one. The old text
must be in the file exactly once, copied with its blanks: take in as many lines as that needs, and no more. Edits are
made in their order; all of them or none."""

HOW_FILES = """ Where most of a file changes, call `propose_files` instead, with each such file whole."""

TOOLS = {
    "propose": ("Propose one experiment as edits of the files.", schema(edits=CHANGES["edits"])),
    "propose_files": ("Propose one experiment as whole files.", schema(files=CHANGES["files"])),
}
"""Name -> what it says of itself, and the schema of its arguments."""


KINDS = (("edits", Replacement, ("path", "old", "new")), ("files", WholeFile, ("path", "content")))
"""Field of the arguments, the change that each of its items is, and the texts that it has."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered."""

    arguments: Any
    """Those of the tool call; None when there was none that could be read."""
    text: str
    usage: Usage
    """Of this request alone, with its price."""
    cut: str = ""
    """Why it is not whole, when it is not: too long, refused."""


class Conversation(Protocol):
    """A model being asked for one proposal; it keeps what was said."""

    def ask(self, complaint: str, output: int, limit_s: float) -> Answer:
        """Send the prompt, or after it a complaint about the last answer, and return what comes back.

        `output` are the tokens that it may have. Raises as `Endpoint.ask` does.
        """
        ...


def check_ready(why: str | None) -> None:
    """Raise `AgentGone` for what `Agent.ready` says; None is nothing."""
    if why is not None:
        said, _, fix = why.rpartition(": ")
        raise AgentGone(said, fix)


def whole_files(brief: Brief) -> bool:
    """Whether the code is small enough that a model may give files whole."""
    return sum(len(text or "") for text in code_files(brief).values()) <= SMALL


def how(brief: Brief) -> str:
    return HOW_EDITS + (HOW_FILES if whole_files(brief) else "")


def tools(brief: Brief) -> Mapping[str, tuple[str, dict[str, Any]]]:
    """Return the tools that are offered: name -> description, schema."""
    return TOOLS if whole_files(brief) else {"propose": TOOLS["propose"]}


def model_of(given: str, usual: str = "") -> str:
    """Return the model to ask: the one given, that of the environment, or the usual one."""
    return given or os.environ.get(MODEL, "") or usual


@dataclass(slots=True)
class Bill:
    """What a proposal has cost and may still cost."""

    model: str
    prices: Prices
    sent: int
    """Bytes of the prompt, tools included."""
    limit_usd: float | None
    total: Usage = field(default_factory=lambda: NOTHING)

    def at_most(self) -> float | None:
        """Return the most that both requests cost, held within the limit where an answer fits into it; None when the
        price is unknown."""
        costs = [self._request(turn, OUTPUT) for turn in (0, 1)]
        if None in costs:
            return None
        most = sum(cost for cost in costs if cost is not None)
        return min(most, self.limit_usd) if self.limit_usd is not None and self.output(0) else most

    def output(self, turn: int) -> int:
        """Return how many tokens the next answer may have, within what is left of the money; 0 for none."""
        if self.limit_usd is None:
            return OUTPUT
        least, most = self._request(turn, 0), self._request(turn, OUTPUT)
        if least is None or most is None or self.total.usd is None:
            return 0
        left = self.limit_usd - self.total.usd
        if most <= left:
            return OUTPUT
        possible = int((left - least) / (most - least) * OUTPUT) if most > least else 0
        return possible if possible >= LEAST_OUTPUT else 0

    def add(self, usage: Usage) -> None:
        both = None if self.total.usd is None or usage.usd is None else self.total.usd + usage.usd
        self.total = Usage(
            usage.model or self.total.model,
            self.total.input + usage.input,
            self.total.cached + usage.cached,
            self.total.cache_written + usage.cache_written,
            self.total.output + usage.output,
            both,
        )

    def _request(self, turn: int, output: int) -> float | None:
        # The second request sends the first answer back, which has at most four bytes a token.
        more = turn * (4 * OUTPUT + REPAIR)
        return self.prices.at_most(self.model, self.sent + more, output)


def converse(brief: Brief, conversation: Conversation, bill: Bill) -> Edit:
    """Ask for a proposal and make its edit in the folder; one that does not fit is given back once, with the reason.

    Raises as `Agent.propose` does, with what was spent until then.
    """
    ends = time.monotonic() + brief.limit_s
    complaint = why = ""
    for turn in (0, 1):
        output = bill.output(turn)
        if not output:
            raise _too_dear(brief, bill, turn, why)
        answer = _ask(conversation, complaint, output, ends - time.monotonic(), bill)
        bill.add(answer.usage)
        if answer.cut:
            raise ProposalFailed(f"the model's answer is not whole: {answer.cut}", bill.total)
        arguments = answer.arguments if answer.arguments is not None else object_in(answer.text)
        try:
            changes = changes_of(arguments)
            edit = edit_of(arguments, bill.total)
            apply(brief.folder, brief.task.files.mutable, changes)
            return edit
        except EditRefused as error:
            why = str(error)
        except ProposalFailed as error:
            why = error.message
        complaint = f"Nothing was changed: {why}. Call the tool again, with everything in it."
    raise ProposalFailed(f"the edit did not fit, nor did its correction: {why}", bill.total)


def changes_of(arguments: object) -> list[Change]:
    """Return the changes that a tool call asks for; raise `EditRefused` when they are none."""
    if not isinstance(arguments, Mapping):
        raise EditRefused("there is no tool call that can be read", "answer by calling the tool")
    changes: list[Change] = []
    for name, kind, keys in KINDS:
        listed = arguments.get(name) or []
        if not isinstance(listed, list):
            raise EditRefused(f"{name} is no list", "give a list")
        for change in listed:
            texts = [text for key in keys if isinstance(text := fields(change, key), str)]
            if len(texts) < len(keys):
                raise EditRefused(f"one of {name} has not the texts {', '.join(keys)}", "give them all")
            changes.append(kind(*texts))
    return changes


def sent_by(prompt: Prompt, offered: Mapping[str, tuple[str, dict[str, Any]]]) -> int:
    """Return the bytes that a request sends, with 2,000 for what a maker puts around tools."""
    return len(prompt.text.encode("utf-8", "replace")) + len(str(offered)) + 2000


def _ask(conversation: Conversation, complaint: str, output: int, limit_s: float, bill: Bill) -> Answer:
    try:
        return conversation.ask(complaint, output, limit_s)
    except EndpointResting as error:
        raise AgentResting(error.message, error.until, bill.total) from None
    except EndpointGone as error:
        raise AgentGone(error.message, error.fix, bill.total) from None
    except EndpointSilent as error:
        bill.add(Usage(bill.model, usd=None))
        raise ProposalFailed(error.message, bill.total) from None
    except EndpointFailed as error:
        raise ProposalFailed(error.message, bill.total) from None


def _too_dear(brief: Brief, bill: Bill, turn: int, why: str) -> Exception:
    """Return why no request may be sent within the proposal's limit of dollars."""
    if bill.prices.at_most(bill.model, 0, 1) is None:
        fix = f'give its price in autoresearch.toml: [prices] "{bill.model}" = {{ input = 3, output = 15 }}'
        return AgentGone(f"nobody knows what {bill.model} costs, and dollars are limited", fix, bill.total)
    if turn:
        return ProposalFailed(f"the edit did not fit, and no money is left to correct it: {why}", bill.total)
    return AgentGone(
        f"a proposal of {bill.model} can cost {bill.at_most() or 0:.2f} USD, and {brief.limit_usd or 0:.2f} are left",
        "raise the limit of dollars, or name a cheaper model or another agent",
        bill.total,
    )
