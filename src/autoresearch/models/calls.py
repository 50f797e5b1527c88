"""Each call of a model once: what was asked and answered is in a file, so that a kill loses nothing that is paid for.

`calls.jsonl` in the folder of a command has lines of four types. `begin`: a run of the command, with its parameters.
`ask`: a request, before it is sent, with the most that it may cost. `answer`: what came back, and what it cost.
`failed`: nothing came back that could be used. The key of a request is the hash of all that it depends on. What has an
answer is never asked again. What has failed, or was under way at a kill, is asked again when the command is; its first
asking counts whole as long as nobody knows what it cost.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from autoresearch.errors import IntegrityError, PreconditionError, StopReached
from autoresearch.journal import file
from autoresearch.journal.ledger import Cost, Entry, Usage, total
from autoresearch.models.chat import Model, Reply
from autoresearch.models.endpoint import EndpointFailed, EndpointSilent
from autoresearch.models.prices import Prices
from autoresearch.system.clock import Clock
from autoresearch.system.files import Held, held_by_us

NAME = "calls.jsonl"


@dataclass(frozen=True, slots=True)
class Call:
    """One request of one model."""

    model: Model
    body: Mapping[str, Any]
    purpose: str
    """What it is for, in one word: for whoever reads the file."""
    draw: tuple[int, int] = (0, 0)
    """Seed and number, which tell requests apart that are otherwise the same."""

    @property
    def key(self) -> str:
        """SHA-256 of all that the answer depends on: server, request, draw."""
        told = {"address": self.model.served.address, "request": self.body, "draw": self.draw}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


class Stopped(Exception):
    """Nothing more is asked: something else has ended the work."""


class Calls:
    """The calls of one folder. Threads may share it."""

    def __init__(self, folder: Path, clock: Clock, max_usd: float | None = None) -> None:
        """Read what earlier runs have left. Raises `IntegrityError` for a line that is damaged."""
        self.path, self.clock, self.max_usd = folder / NAME, clock, max_usd
        self._changed = threading.Condition()
        self._replies: dict[str, Reply] = {}
        self._entries: dict[str, Entry] = {}
        self._under_way: dict[str, str] = {}
        """Id -> key of each request that was sent and has not ended."""
        self._last = 0
        """The number in the last id."""
        self._alike: dict[str, str] = {}
        """Id -> what requests have in common that differ in their words alone."""
        self._answered_of: set[str] = set()
        """Those of which one was answered."""
        self.answered = 0
        """Requests that were sent now and answered."""
        self._stopping = threading.Event()
        self._usd = 0.0
        """What the entries count together, the open ones whole; only to be compared with the cap."""
        self.params: Mapping[str, Any] | None = None
        """Those of the last run of the command."""
        self.before = self.asked = 0
        """Requests that were answered before, and that were sent now."""
        for number, event in _lines(self.path):
            try:
                self._read(event)
            except (KeyError, TypeError, ValueError):
                raise _damaged(self.path, number) from None
        self._of_before = set(self._replies)
        """Keys that were answered by an earlier run, and not asked for in this one yet."""

    def price(self, prices: Mapping[str, Prices]) -> None:
        """Count earlier calls that told their tokens, and whose price nobody knew, by these prices of models."""
        for entry in [*self._entries.values()]:
            used = entry.usage
            if entry.settled and used.usd is None and used.input + used.output and used.model in prices:
                self._put(replace(entry, usage=prices[used.model].priced(used)))

    def begin(self, command: str, version: str, params: Mapping[str, Any]) -> None:
        """Write down that the command runs with these parameters, unless the last run had the same."""
        told = json.loads(json.dumps({"command": command, "version": version, "params": params}))
        if told != self.params:
            file.append(self.path, {"type": "begin", **told, "timestamp": self.clock()})
            self.params = told

    def stop(self) -> None:
        """Let nothing more be sent; what is under way gets its line."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()

    def rest(self, seconds: float) -> None:
        """Sleep between two attempts of a request, unless the work is stopped; then raise `Stopped`."""
        if self._stopping.wait(seconds):
            raise Stopped

    @property
    def cost(self) -> Cost:
        with self._changed:
            return total(self._entries.values())

    @property
    def assumed(self) -> int:
        """How many calls count with the most that they may have cost, since nobody knows what they did cost."""
        with self._changed:
            unknown = [e for e in self._entries.values() if not e.settled or e.usage.usd is None]
            return sum(entry.usd is not None for entry in unknown)

    def once(self, call: Call, limit_s: float) -> Reply:
        """Return the reply to a call, from the file where it has one.

        Waits while the same request is under way, and while what is under way may use up the dollars. Raises
        `StopReached` when they would not be enough, `Stopped` after `stop`, and as `Endpoint.ask` does.
        """
        key = call.key
        with self._changed:
            while (known := self._replies.get(key)) is None:
                if self._stopping.is_set():
                    raise Stopped
                most = call.model.at_most(call.body)
                if key not in self._under_way.values() and self._affordable(most):
                    id = self._ask(call, key, most)
                    break
                self._changed.wait()
            else:
                self._count(key)
                return known
        reply, why, usage = None, "", Usage(call.model.served.name)
        try:
            reply = call.model.send(call.body, limit_s)
            return reply
        except Stopped:  # between two attempts, each of which was refused
            why = "the work was stopped"
            raise
        except EndpointFailed as error:
            why = error.message
            error.others_answered = self._alike[id] in self._answered_of
            if isinstance(error, EndpointSilent):
                usage = replace(usage, usd=None)
            raise
        except BaseException as error:
            why, usage = repr(error), replace(usage, usd=None)
            raise
        finally:
            self._settle(id, key, reply, why, usage)

    def _affordable(self, most: float | None) -> bool:
        """Whether a request of this price may be sent now; raise `StopReached` when it never may."""
        if self.max_usd is None or self._usd + (most or 0.0) <= self.max_usd:
            return True
        if not self._under_way:
            left = max(0.0, self.max_usd - self._usd)
            message = f"the next call may cost {most or 0:.4f} USD, and {left:.4f} of {self.max_usd:g} are left"
            raise StopReached(message, "type the same with a higher --max-usd")
        return False

    def _ask(self, call: Call, key: str, most: float | None) -> str:
        """Write down that a request is sent, and return the id of that."""
        id = f"c{self._last + 1}"
        told: dict[str, Any] = {"type": "ask", "id": id, "key": key, "purpose": call.purpose}
        told |= {"address": call.model.served.address, "request": call.body, "draw": call.draw}
        told |= {"usd": most, "timestamp": self.clock()}
        file.append(self.path, told)
        self._read(told)
        self._under_way[id] = key
        self.asked += 1
        return id

    def _count(self, key: str) -> None:
        """Count a reply that an earlier run has left, once."""
        if key in self._of_before:
            self._of_before.discard(key)
            self.before += 1

    def _settle(self, id: str, key: str, reply: Reply | None, why: str, usage: Usage) -> None:
        used = usage if reply is None else reply.usage
        told: dict[str, Any] = {"id": id, "key": key, "usage": asdict(used), "timestamp": self.clock()}
        if reply is None:
            told = {"type": "failed", **told, "why": why}
        else:
            told = {"type": "answer", **told, "text": reply.text, "finish": reply.finish}
        with self._changed:
            try:
                file.append(self.path, told)
                self._read(told)
                self.answered += reply is not None
            finally:
                del self._under_way[id]
                self._changed.notify_all()

    def _read(self, event: Mapping[str, Any]) -> None:
        """Take in one line of the file."""
        if event["type"] == "ask":
            self._last = max(self._last, int(event["id"][1:]))
            self._alike[event["id"]] = _alike(event)
            self._put(Entry(event["id"], 0, usd=event["usd"]))
        elif event["type"] in ("answer", "failed"):
            usage, asked = Usage(**event["usage"]), self._entries.get(event["id"])
            self._put(Entry(event["id"], 0, usd=asked.usd if asked else None, settled=True, usage=usage))
            if event["type"] == "answer":
                self._replies[event["key"]] = Reply(event["text"], event["finish"], usage)
                if (alike := self._alike.get(event["id"])) is not None:
                    self._answered_of.add(alike)
        elif event["type"] == "begin":
            self.params = {name: event[name] for name in ("command", "version", "params")}

    def _put(self, entry: Entry) -> None:
        before = self._entries.get(entry.id)
        self._usd += (entry.dollars or 0.0) - ((before.dollars or 0.0) if before else 0.0)
        self._entries[entry.id] = entry


def _alike(asked: Mapping[str, Any]) -> str:
    """Return what an `ask` line has in common with others: server, purpose, all of the request but its words."""
    request = {**asked["request"], "messages": len(asked["request"].get("messages", ()))}
    return json.dumps([asked["address"], asked["purpose"], request], sort_keys=True)


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Be the only command that works in a folder, which is made; raise `PreconditionError` when another one does."""
    with contextlib.ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(held_by_us(folder / ".lock"))
        except (FileExistsError, NotADirectoryError):
            raise PreconditionError(f"{folder} is no folder", "name another one") from None
        except Held:
            raise PreconditionError(f"another command is at work in {folder}", "wait for its end") from None
        yield


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield number and object of each line; a last one that a kill has torn is passed over."""
    content = path.read_bytes() if path.exists() else b""
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        event = file.parsed(line)
        if event is not None:
            yield number, event
        elif line.endswith(b"\n") and line.strip():
            raise _damaged(path, number)


def _damaged(path: Path, number: int) -> IntegrityError:
    fix = f"take it out, and what it says is asked again: sed -i.damaged {number}d {shlex.quote(str(path))}"
    return IntegrityError(f"{path} line {number} is damaged", fix)
