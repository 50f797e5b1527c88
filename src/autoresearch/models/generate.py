"""Data to train on, made by a model: subtypes of what it is about, prompts of each, and an answer to each prompt."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoresearch.errors import AutoresearchError
from autoresearch.models.calls import Call, Calls
from autoresearch.models.chat import Message, Model, Reply
from autoresearch.models.conversation import answered, write_rows
from autoresearch.models.endpoint import EndpointFailed
from autoresearch.models.params import GenerateParams
from autoresearch.models.shapes import S, Shaped, asked_for, read
from autoresearch.models.together import together

EXAMPLES = "examples.jsonl"
HELD_OUT = "held_out.jsonl"

BATCH = 20
"""Prompts that one answer is asked for; a longer list is cut off by the limit of tokens, and repeats itself."""

ASK_SUBTYPES = """You plan data that a language model will be trained on. It is about:

{about}

Name {count} subtypes of it. They differ in topic, situation or difficulty, and cover rare cases, too. Each is one line
that says by itself what it is."""

ASK_PROMPTS = """You write data that a language model will be trained on. It is about:

{about}

Write {count} prompts of this subtype: {subtype}

Each is what a real person would type to the model, in their own words, with whatever it needs to be answered. They
differ from each other in content, length and tone. Do not answer them.{turns}{part}"""

TURNS = """

Each prompt is a conversation of {turns} messages of that person, whose later ones follow from an answer to those before
and make sense whatever it says exactly."""

PART = """

This is list {number} of {count}: avoid what comes to mind first."""


class Subtypes(Shaped):
    subtypes: list[str]


class Prompts(Shaped):
    prompts: list[str]


class Conversations(Shaped):
    prompts: list[list[str]]


@dataclass(frozen=True, slots=True)
class Planned:
    """A prompt that was written, and is to be answered or held out."""

    subtype: str
    turns: tuple[str, ...]

    @property
    def script(self) -> list[dict[str, str]]:
        return [{"role": "user", "content": text} for text in self.turns]


@dataclass(slots=True)
class Generated:
    """What there is, and what could not be used."""

    subtypes: list[str] = field(default_factory=list)
    prompts: int = 0
    examples: int = 0
    held_out: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """Why something was left out -> how often."""

    @property
    def whole(self) -> bool:
        """Whether every call that was needed has an answer."""
        return not any(why.startswith(FAILED) for why in self.left_out)


FAILED = "a call came to nothing"


class Generator:
    """One run of `generate` in a folder."""

    def __init__(
        self, folder: Path, params: GenerateParams, model: Model, calls: Calls, tick: Callable[[str, int, int], None]
    ) -> None:
        """`tick` is told what is asked for, how many of these calls have ended, and how many there are."""
        self.folder, self.params, self.model, self.calls, self.tick = folder, params, model, calls, tick
        self.made = Generated()

    def run(self) -> Generated:
        """Ask for what is missing, and write the files. What ends the work is raised, after the examples that there are
        were written."""
        self.made.subtypes = self._subtypes()
        planned = self._prompts(self.made.subtypes)
        if not planned:  # the files of an earlier run stay
            raise self._nothing()
        held_out = [*self._held_out(planned)]
        questions = [self._question(plan) for plan in held_out]
        if questions != self._held_out_before():  # no example may have what is held out now, not for a moment
            (self.folder / EXAMPLES).unlink(missing_ok=True)
        if held_out:
            write_rows(self.folder / HELD_OUT, questions)
        else:  # what an earlier run has held out is among the examples now
            (self.folder / HELD_OUT).unlink(missing_ok=True)
        self.made.prompts, self.made.held_out = len(planned), len(held_out)
        self._answer([plan for plan in planned if plan not in {*held_out}])
        if not self.made.examples:
            raise self._nothing()
        return self.made

    def _nothing(self) -> AutoresearchError:
        why = ", ".join(self.made.left_out) or "the model wrote no prompts"
        other = "ask in another way: --about, --model or --format"
        return AutoresearchError(f"no example was made: {why}", other if self.made.whole else "type the same again")

    def _subtypes(self) -> list[str]:
        if self.params.subtypes:
            return [*dict.fromkeys(self.params.subtypes)]
        count = self.params.subtype_count
        text = ASK_SUBTYPES.format(about=self.params.about, count=count)
        listed = self._shaped("subtypes", [(text, Subtypes, 0)])[0]
        found = [*dict.fromkeys(" ".join(name.split()) for name in (listed.subtypes if listed else []) if name.strip())]
        if not found:
            why = next(iter(self.made.left_out), "the list is empty")
            message = f"the model gave no subtypes: {why}"
            raise AutoresearchError(message, "name them yourself with --subtype, or ask anew: --seed 1")
        return found[:count]

    def _prompts(self, subtypes: Sequence[str]) -> list[Planned]:
        """Return different prompts, of each subtype at most as many as were asked for."""
        kind: type[Prompts | Conversations] = Prompts if self.params.turns == 1 else Conversations
        asked = [
            (subtype, self._ask_prompts(subtype, number), kind, number)
            for subtype in subtypes
            for number in range(self._batches)
        ]
        lists = self._shaped("prompts", [(text, kind, number) for _, text, kind, number in asked])
        found: dict[tuple[str, ...], Planned] = {}
        counts: Counter[str] = Counter()
        for (subtype, _, _, number), listed in zip(asked, lists, strict=True):
            wanted = min(self.params.prompts, BATCH * (number + 1))
            for turns in _turns(listed):
                if len(turns) != self.params.turns or not all(text.strip() for text in turns):
                    self.made.left_out["a prompt was empty, or had not the messages that it should"] += 1
                elif (plain := tuple(" ".join(text.lower().split()) for text in turns)) in found:
                    self.made.left_out["a prompt was there already"] += 1
                elif counts[subtype] < wanted:
                    counts[subtype] += 1
                    found[plain] = Planned(subtype, turns)
        return [*found.values()]

    @property
    def _batches(self) -> int:
        return -(-self.params.prompts // BATCH)

    def _ask_prompts(self, subtype: str, number: int) -> str:
        count = min(BATCH, self.params.prompts - BATCH * number)
        turns = TURNS.format(turns=self.params.turns) if self.params.turns > 1 else ""
        part = PART.format(number=number + 1, count=self._batches) if number else ""
        return ASK_PROMPTS.format(about=self.params.about, subtype=subtype, count=count, turns=turns, part=part)

    def _held_out(self, planned: Sequence[Planned]) -> Iterator[Planned]:
        """Yield the last prompts of each subtype, but never all of them."""
        for subtype in self.made.subtypes:
            ours = [plan for plan in planned if plan.subtype == subtype]
            yield from ours[len(ours) - min(self.params.held_out, max(0, len(ours) - 1)) :]

    def _held_out_before(self) -> list[dict[str, Any]]:
        """Return what the file of an earlier run has."""
        with contextlib.suppress(OSError, ValueError):
            lines = (self.folder / HELD_OUT).read_text("utf-8").split("\n")
            return [json.loads(line) for line in lines if line]
        return []

    def _answer(self, planned: Sequence[Planned]) -> None:
        """Write an example for each answer that is whole."""
        found: dict[int, dict[str, Any] | str] = {}

        def job(at: int, plan: Planned, draw: int) -> Callable[[], None]:
            def answer() -> None:
                found[at] = self._example(plan, draw)

            return answer

        wanted = [(plan, draw) for plan in planned for draw in range(self.params.examples)]
        try:
            for failed in self._all("examples", [job(at, *one) for at, one in enumerate(wanted)]):
                if failed is not None:
                    self.made.left_out[f"{FAILED}: {failed.message}"] += 1
        finally:
            rows = [row for _, row in sorted(found.items()) if not isinstance(row, str)]
            self.made.left_out.update(why for why in found.values() if isinstance(why, str))
            self.made.examples = len(rows)
            if rows:
                write_rows(self.folder / EXAMPLES, rows)

    def _example(self, plan: Planned, draw: int) -> dict[str, Any] | str:
        """Return an example, or why its answer is none."""
        said, replies = answered([*self._system, *plan.script], lambda messages: self._reply("example", messages, draw))
        if any(reply.cut for reply in replies):
            return f"an answer was cut off at {self.params.max_tokens} tokens"
        if any(reply.finish == "content_filter" or not reply.text.strip() for reply in replies):
            return "an answer was empty"
        return {"messages": said, "subtype": plan.subtype, "generator": self.model.served.name}

    @property
    def _system(self) -> list[dict[str, str]]:
        return [{"role": "system", "content": self.params.system}] if self.params.system else []

    def _question(self, plan: Planned) -> dict[str, Any]:
        return {
            "messages": [*self._system, *plan.script],
            "property": plan.subtype,
            "generator": self.model.served.name,
        }

    def _shaped(self, purpose: str, asked: Sequence[tuple[str, type[S], int]]) -> list[S | None]:
        """Return what is asked for in the shape that is wanted; None for an answer that has another."""

        def job(text: str, kind: type[S], draw: int) -> Callable[[], Reply]:
            shape, words = asked_for(kind, self.params.format)
            return lambda: self._reply(purpose, [{"role": "user", "content": text + words}], draw, shape)

        found: list[S | None] = []
        for (_, kind, _), reply in zip(asked, self._all(purpose, [job(*one) for one in asked]), strict=True):
            value = None if isinstance(reply, EndpointFailed) else read(reply.text, kind)
            if isinstance(reply, EndpointFailed):
                self.made.left_out[f"{FAILED}: {reply.message}"] += 1
            elif value is None:
                cut = f"was cut off at {self.params.max_tokens} tokens" if reply.cut else "is not of the schema"
                self.made.left_out[f"a list of {purpose} {cut}"] += 1
            found.append(value)
        return found

    def _reply(self, purpose: str, messages: Sequence[Message], draw: int, shape: Any = None) -> Reply:
        params = self.params
        body = self.model.request(messages, params.max_tokens, params.temperature, shape)
        return self.calls.once(Call(self.model, body, purpose, (params.seed, draw)), params.limit_s)

    def _all(self, purpose: str, jobs: Sequence[Callable[[], Any]]) -> list[Any]:
        return together(jobs, self.calls, self.params.concurrency, lambda done: self.tick(purpose, done, len(jobs)))


def _turns(listed: Prompts | Conversations | None) -> Iterable[tuple[str, ...]]:
    """Yield the messages of each prompt in a list."""
    for prompt in listed.prompts if listed else ():
        yield (prompt,) if isinstance(prompt, str) else tuple(prompt)
