"""Models behind Chat Completions, played by functions: one that writes data, and what may go wrong on the way."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from json_server import Said, Server, serving
from lab import Called, call

from autoresearch.models.calls import Calls

Body = dict[str, Any]
Play = Callable[[Body], Said]

READ, CACHED, WROTE = 1000, 400, 50
"""Tokens that every answer says it has read, has had in its cache, and has written."""
PRICE = "3,15"
COST = (READ * 3 + WROTE * 15) / 1e6
"""US dollars of one answer at that price: without a price of its own, the cache's tokens cost as much as others."""

KEY = "sk-a-secret-key-0123456789"


def completion(text: str | None, finish: str = "stop", **more: object) -> Said:
    usage = {"prompt_tokens": READ, "prompt_tokens_details": {"cached_tokens": CACHED}, "completion_tokens": WROTE,
             "total_tokens": READ + WROTE}  # fmt: skip
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return Said({**body, **more})


def refused(status: int, message: str, code: str = "x", **headers: str) -> Said:
    told = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Said({"error": {"message": message, "code": code, "type": code, "param": None}}, status, told)


def last(body: Body) -> str:
    return str(body["messages"][-1]["content"])


def wanted(body: Body) -> str:
    """Return the name of the schema that a request asks for; empty for none."""
    return str((body.get("response_format") or {}).get("json_schema", {}).get("name", ""))


def name_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def writer(body: Body) -> Said:
    """Write what `generate` asks for: always the same for the same request."""
    kind, text = wanted(body), last(body)
    if kind == "subtypes":
        count = int(re.search(r"Name (\d+) subtypes", text)[1])  # type: ignore[index]
        return completion(json.dumps({"subtypes": [f"kind {n}" for n in range(count)]}))
    if kind in ("prompts", "conversations"):
        count = int(re.search(r"Write (\d+) prompts", text)[1])  # type: ignore[index]
        turns = re.search(r"conversation of (\d+) messages", text)
        named = [f"{name_of(text)} question {n}" for n in range(count)]
        listed = [[f"{q}, part {t}" for t in range(int(turns[1]))] for q in named] if turns else named
        return completion(json.dumps({"prompts": listed}))
    return completion(f"answer {name_of(json.dumps(body['messages']))} to {text}")


@dataclass
class Desk:
    """A folder in which the commands are called, and the server that they ask."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    server: Server = field(default_factory=lambda: Server([]))
    rested: list[float] = field(default_factory=list)
    """The seconds between attempts, which are not slept."""

    @contextmanager
    def asking(self, play: Play | list[Said]) -> Iterator[Server]:
        """Serve by a function, as OPENAI_BASE_URL; no test sleeps between attempts."""
        with serving(play) as self.server:
            self.monkeypatch.setenv("OPENAI_BASE_URL", self.server.url + "/v1")
            yield self.server

    def call(self, *words: str) -> Called:
        return call(*words, cwd=self.folder)

    def rows(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]

    def lines(self, kind: str, folder: str = "out") -> list[dict[str, Any]]:
        return [line for line in self.rows(f"{folder}/calls.jsonl") if line["type"] == kind]

    def write_rows(self, name: str, rows: list[Mapping[str, object]]) -> None:
        (self.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    @property
    def files(self) -> dict[str, str]:
        """All files that there are, with their text."""
        return {str(p.relative_to(self.folder)): p.read_text() for p in self.folder.rglob("*") if p.is_file()}


def desk_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    folder.mkdir()
    desk = Desk(folder, monkeypatch)
    monkeypatch.setattr(Calls, "rest", lambda _calls, seconds: desk.rested.append(seconds))
    return desk


class Counted:
    """A play that counts what it has answered, by request, and how many requests were there at the same time."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.asked: Counter[str] = Counter()
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, body: Body) -> Said:
        with self._lock:
            self.asked[json.dumps(body, sort_keys=True)] += 1
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            return self.play(body)
        finally:
            with self._lock:
                self.now -= 1


# --- judges ---


def shown(body: Body) -> tuple[str, str]:
    """Return what the assistants A and B say in the question to a judge, as one who reads the marks finds it."""
    text = last(body)
    mark = re.search(r"^=== [0-9a-f]{12}(?= conversation A$)", text, re.M)
    assert mark, text
    parts = [part.partition("\n") for part in text.split(f"{mark[0]} ")[1:]]
    said = {s: [part.removesuffix("\n") for head, _, part in parts if head == f"assistant {s}"] for s in "AB"}
    return "\n".join(said["A"]), "\n".join(said["B"])


def verdict(better: str) -> Said:
    return completion(json.dumps({"reasoning": f"{better} it is", "better": better}))


def judging(prefers: Callable[[str, str], str]) -> Play:
    """Return a judge that decides by the two texts: `prefers` returns A, B or tie."""
    return lambda body: verdict(prefers(*shown(body)))


def takes_first(a: str, b: str) -> str:
    return "A"


def takes_longer(a: str, b: str) -> str:
    return "A" if len(a) > len(b) else "B"


def by_mark(mark: str) -> Callable[[str, str], str]:
    """Return a judge that takes the answer which has this word."""

    def prefers(a: str, b: str) -> str:
        return "tie" if (mark in a) == (mark in b) else "A" if mark in a else "B"

    return prefers


def by_model(**plays: Play) -> Play:
    """Let each model play its own part."""
    return lambda body: plays[body["model"]](body)
