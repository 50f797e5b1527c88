"""Prompts and conversations as chat JSON lines, and how a model answers a prompt of several turns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from autoresearch.errors import PreconditionError
from autoresearch.journal.file import lines_of
from autoresearch.models.chat import Message, Reply, whole
from autoresearch.system.files import write_atomic

Row = TypeVar("Row", bound=BaseModel)
Text = Annotated[str, AfterValidator(whole)]
"""What can be sent: a file of JSON may have half of a character of two."""


class Line(BaseModel):
    """One line of a conversation."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    role: Literal["system", "user", "assistant"]
    content: Text


class Prompt(BaseModel):
    """What a model is to answer. Each user's line that no assistant's line follows is answered, one after the other."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    messages: tuple[Line, ...] = Field(min_length=1)
    about: str = Field(default="", alias="property")
    """The property that it tests; results are also given by it."""
    generator: str = ""
    """The model that wrote it."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, told: Any) -> Any:
        if isinstance(told, dict) and "messages" not in told and isinstance(told.get("prompt"), str):
            return {**told, "messages": [{"role": "user", "content": told["prompt"]}]}
        return told

    @model_validator(mode="after")
    def _to_be_answered(self) -> Prompt:
        if self.messages[-1].role != "user":
            raise ValueError("the last message is not the user's, so there is nothing to answer")
        return self

    @property
    def lines(self) -> list[dict[str, str]]:
        return [line.model_dump() for line in self.messages]


class Labelled(Prompt):
    """Two answers to a prompt, and which one a person prefers."""

    a: Text
    b: Text
    label: Literal["a", "b", "tie"]
    a_by: str = ""
    """The model that wrote it, where that is known."""
    b_by: str = ""


def answered(script: Sequence[Message], ask: Callable[[list[Message]], Reply]) -> tuple[list[Message], list[Reply]]:
    """Return a script with each of its open user's lines answered, and the replies; `ask` is given all until there."""
    said: list[Message] = []
    replies: list[Reply] = []
    for at, line in enumerate(script):
        said.append(line)
        follows = script[at + 1]["role"] if at + 1 < len(script) else ""
        if line["role"] == "user" and follows != "assistant":
            replies.append(ask(said[:]))
            said.append({"role": "assistant", "content": replies[-1].text})
    return said, replies


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """Return the objects of a JSONL file; raise `PreconditionError` that names the line that is none."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise PreconditionError(f"{path} cannot be read: {why}", "name another file") from None
    rows = [*_rows(text.split("\n"), path, kind)]
    if not rows:
        raise PreconditionError(f"{path} is empty", f"write a line of JSON for each item into {path}")
    return rows


def _rows(lines: Iterable[str], path: Path, kind: type[Row]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield kind.model_validate(json.loads(line))
            except ValidationError as error:
                problem = error.errors(include_url=False, include_input=False)[0]
                where = ".".join(str(part) for part in problem["loc"])
                why = problem["msg"].removeprefix("Value error, ")
                raise _wrong(path, number, f"{where}: {why}" if where else why) from None
            except (ValueError, RecursionError):
                raise _wrong(path, number, "it is no JSON") from None


def _wrong(path: Path, number: int, why: str) -> PreconditionError:
    return PreconditionError(f"{path} line {number}: {why}", f"correct that line of {path}")


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write objects as JSON lines, all or none of them."""
    write_atomic(path, lines_of([*rows]))
