"""The slots of a Ray cluster, for the runs of one workspace: one for each GPU of one kind, else one for each machine.

The engine decides where each attempt is made, so that it knows what shares a machine with what; Ray carries it there,
and says what became of it. A machine that is lost takes its slots with it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from autoresearch import __version__
from autoresearch.errors import MachineError, PreconditionError, error_of
from autoresearch.runs.spec import RunContext
from autoresearch.system.extras import install
from autoresearch.system.files import write_atomic
from autoresearch.system.limits import Limits
from autoresearch.system.living import created
from autoresearch.system.process import Endings, bounded
from autoresearch.workers.base import Attempt, Ended
from autoresearch.workers.cluster.manifest import manifest
from autoresearch.workers.cluster.nodes import Node, Place, chosen, refusals
from autoresearch.workers.cluster.replica import Parcel
from autoresearch.workers.local import PACKAGES
from autoresearch.workers.messages import read_answer, spec_fields
from autoresearch.workspace.python import redirected
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

CONNECT_S = 180.0
"""Seconds in which a cluster must have said what it has: its nodes start a process each for that."""

END_S = 60.0
"""Seconds after which a slot whose attempt was given up, and that is not free yet, counts as lost."""


@dataclass(slots=True)
class _Slot:
    """A place in the cluster, and what is made there."""

    number: int
    """By which `status` knows it."""
    place: Place
    attempt: Attempt | None = None
    given_up: float | None = None
    """When its attempt was, by this process's steady clock; until the worker is gone nothing else is made there."""
    lost: int = 0
    """How many attempts were lost there."""

    @property
    def usable(self) -> bool:
        return self.given_up is None


@dataclass(slots=True)
class _Bridge:
    """The process that speaks to Ray."""

    process: subprocess.Popen[bytes]
    complained: IO[bytes]
    rest: bytes = b""
    """What it has said of a line that has not ended."""
    said: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, **asked: Any) -> None:
        """Tell it something. Raises `MachineError` when it is gone."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(asked).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise self.gone() from None

    def listen(self, wait_s: float) -> bool:
        """Take in what it says within so many seconds; return False when it is gone."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, wait_s)):
                return True
        read = os.read(self.process.stdout.fileno(), 1 << 20)
        *lines, self.rest = (self.rest + read).split(b"\n")
        self.said += map(json.loads, lines)
        return bool(read)

    def answer(self, key: str, wait_s: float) -> Any:
        """Return what it answers a question with. Raises `AutoresearchError`: what it says instead, or nothing."""
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            for said in self.said:
                if "error" in said:
                    raise error_of(said["error"])
                if key in said:
                    self.said.remove(said)
                    return said[key]
            if not self.listen(deadline - time.monotonic()):
                raise self.gone()
        raise MachineError(f"the Ray cluster has not answered in {wait_s:g} s", "see how it is: ray status")

    def gone(self) -> MachineError:
        """Return the error for one that is not there any more, with the last that it said."""
        self.process.wait()
        self.complained.seek(0)
        last = self.complained.read().decode("utf-8", "replace").strip().splitlines()[-1:]
        told = f": {last[0][-200:]}" if last else ""
        return MachineError(f"the connection to the Ray cluster is lost{told}", "see how it is: ray status")


class RayWorkers:
    """A back-end: the slots of a cluster."""

    def __init__(self, context: RunContext, address: str) -> None:
        """Connect to the cluster at `address` (`HOST:PORT`, or `auto`), and ask each machine what it is.

        Raises `PreconditionError` where Ray is missing, no cluster answers, or a machine of it lacks something, and
        `MachineError` when it does not answer in time.
        """
        check_installed()
        self.context, self.address = context, address
        self._slots: list[_Slot] = []
        self._connect()

    @property
    def connected(self) -> bool:
        return self._bridge.process.poll() is None

    @property
    def slots(self) -> int:
        return sum(slot.usable for slot in self._slots)

    def env(self) -> Mapping[str, object]:
        return self._slots[0].place.node.env if self._slots else self._env

    def submit(self, attempt: Attempt) -> None:
        if not self.connected:
            self._connect()
        free = [slot for slot in self._slots if slot.usable and slot.attempt is None]
        if not free:
            raise MachineError("no slot of the Ray cluster is left", "see which machines are alive: ray status")
        slot = min(free, key=lambda slot: slot.lost)
        job = {"attempt": attempt.id, "version": __version__, "node": slot.place.node.id, "slot": slot.place.number,
               "slots": slot.place.of, "commit": attempt.spec.commit, "spec": spec_fields(attempt.spec)}  # fmt: skip
        slot.attempt = attempt
        self._announce(slot)
        self._bridge.ask(do="submit", job=job, cpus=slot.place.cpus, gpus=slot.place.gpus)

    def poll(self, wait_s: float) -> list[Ended]:
        alive = self._bridge.listen(0.0 if self._bridge.said else wait_s)
        said, self._bridge.said = self._bridge.said, []
        ended = [each for one in said if (each := self._take(one)) is not None]
        if not alive:
            why = self._bridge.gone().message
            ended += [Ended(slot.attempt.id, lost=why) for slot in self._slots if slot.attempt is not None]
            for slot in self._slots:
                self._clear(slot)
        self._check_left(time.monotonic())
        return ended

    def cancel(self, ids: Collection[str]) -> None:
        left = [slot for slot in self._slots if slot.attempt is not None and slot.attempt.id in ids and slot.usable]
        for slot in left:
            slot.given_up = time.monotonic()
        if left:
            with contextlib.suppress(MachineError):  # then they are gone, and `poll` says so
                self._bridge.ask(do="cancel", attempts=[slot.attempt.id for slot in left if slot.attempt])

    def give_up(self) -> None:
        """End all attempts."""
        self.cancel([slot.attempt.id for slot in self._slots if slot.attempt is not None])

    def _connect(self) -> None:
        """Start a bridge, and find the slots of the cluster."""
        context = self.context
        self.parcel = parcel = Parcel.of(context.workspace, context.git, context.task)
        if redirected(context.python, context.workspace, context.workspace.root, {}):
            why = "the command imports packages from the workspace itself, and other machines have none"
            raise PreconditionError(why, "measure on this one: --workers local:2")
        here = manifest(context.workspace, context.task)
        self._bridge = _started()
        self._end = weakref.finalize(self, _ended, self._bridge.process)
        self._bridge.ask(do="connect", address=self.address, root=str(context.workspace.root))
        found = {node["id"]: node for node in self._bridge.answer("nodes", CONNECT_S)}
        commit = context.git.head() or ""
        self._bridge.ask(do="ask", nodes=[*found], parcel=parcel.as_bytes().decode(), commit=commit)
        said = self._bridge.answer("said", CONNECT_S)
        nodes = [Node.of(about, said[id]) for id, about in found.items()]
        python = context.python.version if context.python is not None else None
        refused = refusals(nodes, python, here)
        if refused:
            raise refused[0]
        session = load_session(context.workspace)
        known = session.incumbent.hardware if session.incumbent is not None else None
        self._slots = [_Slot(number, place) for number, place in enumerate(chosen(nodes, known), 1)]
        self._env = self._slots[0].place.node.env

    def _take(self, said: dict[str, Any]) -> Ended | None:
        """Return how an attempt has ended by what the bridge says; None for one that was given up."""
        if "error" in said:
            raise error_of(said["error"])
        slot = next((s for s in self._slots if s.attempt is not None and s.attempt.id == said["ended"]), None)
        if "alive" in said:
            self._slots = [s for s in self._slots if s.place.node.id in said["alive"] or s.attempt is not None]
        if slot is None:
            return None
        name, given_up = slot.place.node.name, not slot.usable
        beside = sum(s.attempt is not None for s in self._slots if s.place.node.id == slot.place.node.id) - 1
        self._clear(slot)
        if "alive" in said and slot.place.node.id not in said["alive"]:
            self._slots.remove(slot)
        if given_up:
            return None
        found, lost = read_answer(said["ended"], said["answer"]), said["lost"]
        if found is not None and isinstance(found.error, MachineError):  # a full disk there is not the engine's
            lost = found.error.message
        if found is None or lost:
            slot.lost += 1
            return Ended(said["ended"], lost=f"on {name}: {lost or 'its worker has answered nothing'}")
        return Ended(found.id, found.measurement, found.error, beside=beside)

    def _check_left(self, now: float) -> None:
        """Raise `MachineError` when nothing is left to measure on."""
        stuck = [slot for slot in self._slots if slot.given_up is not None and now - slot.given_up > END_S]
        if len(stuck) == len(self._slots):
            raise MachineError("no slot of the Ray cluster is left", "see which machines are alive: ray status")

    def _announce(self, slot: _Slot) -> None:
        """Say for `status` what is measured, and where."""
        assert slot.attempt is not None
        here, spec = self._here(slot), slot.attempt.spec
        about = {"pid": os.getpid(), "created": created(os.getpid()), "experiment": spec.experiment, "seed": spec.seed,
                 "since": int(time.time()), "turn": spec_fields(spec)["turn"],
                 "node": slot.place.node.name}  # fmt: skip
        here.slot.mkdir(parents=True, exist_ok=True)
        write_atomic(here.running, json.dumps(about), durable=False)

    def _here(self, slot: _Slot) -> Workspace:
        return self.context.workspace.at(slot.number)

    def _clear(self, slot: _Slot) -> None:
        slot.attempt = slot.given_up = None
        self._here(slot).running.unlink(missing_ok=True)


def cluster(context: RunContext, address: str) -> RayWorkers:
    """Return the slots of a cluster; a command that measures more than once connects to it once. Raises as `RayWorkers`
    does."""
    known = _CONNECTED.pop((context.workspace.root, address), None)
    if known is None or not known.connected or known.parcel != Parcel.of(context.workspace, context.git, context.task):
        known = RayWorkers(context, address)
    known.give_up()
    _CONNECTED[context.workspace.root, address] = known
    return known


_CONNECTED: dict[tuple[Path, str], RayWorkers] = {}


def check_installed() -> None:
    """Raise `PreconditionError` where Ray is missing."""
    if importlib.util.find_spec("ray") is None:
        raise PreconditionError("Ray is not installed", f"install it: {install('ray')}")


def _started() -> _Bridge:
    command = [*bounded(Limits(), os.environ), sys.executable, "-m", "autoresearch.workers.cluster.bridge"]
    with Endings(), contextlib.ExitStack() as files:
        complained = files.enter_context(tempfile.TemporaryFile())
        process = subprocess.Popen(command, cwd=PACKAGES, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=complained, start_new_session=True)  # fmt: skip
        files.pop_all()
    return _Bridge(process, complained)


def _ended(process: subprocess.Popen[bytes]) -> None:
    """End a bridge: the cluster ends what it has begun."""
    if process.poll() is None:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
