"""The slots of a Ray cluster, for the runs of one workspace: one for each GPU of one kind, else one for each machine.

The engine decides where each attempt is made, so that it knows what shares a machine with what; Ray carries it there,
and says what became of it. A machine that is lost takes its slots with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import weakref
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoresearch import __version__
from autoresearch.errors import MachineError, error_of
from autoresearch.journal.experiment import hardware_of
from autoresearch.runs.spec import RunContext
from autoresearch.system.files import write_atomic
from autoresearch.system.living import created
from autoresearch.workers.base import Attempt, Ended
from autoresearch.workers.cluster.connection import Disconnected, ended, survey
from autoresearch.workers.cluster.nodes import Place, chosen
from autoresearch.workers.cluster.replica import Parcel
from autoresearch.workers.messages import read_answer, spec_fields
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.workspace import Workspace

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
    rests: bool = False
    """Whether the machine failed the last one: until one has ended elsewhere, nothing is made there."""

    @property
    def usable(self) -> bool:
        return self.given_up is None and not self.rests


class RayWorkers:
    """A back-end: the slots of a cluster."""

    def __init__(self, context: RunContext, address: str) -> None:
        """Connect to the cluster at `address` (`HOST:PORT`, or `auto`), and ask each machine what it is.

        Raises as `survey` does, and `PreconditionError` where a machine lacks something.
        """
        self.context, self.address = context, address
        self._slots: list[_Slot] = []
        self._env: Mapping[str, object] = {}
        self._lost: list[Ended] = []
        """What the next `poll` tells of."""
        self._left_out: tuple[str, ...] = ()
        """What the next measurement says of machines that came back from a lost connection in another state."""
        self._connect()

    @property
    def connected(self) -> bool:
        return self._bridge.process.poll() is None

    @property
    def slots(self) -> int:
        return sum(slot.usable for slot in self._slots)

    def env(self) -> Mapping[str, object]:
        return self._env

    def spare(self) -> frozenset[int]:
        return frozenset()

    def submit(self, attempt: Attempt) -> None:
        if self.connected:
            with contextlib.suppress(Disconnected):
                return self._send(attempt)
        self._connect()
        return self._send(attempt)

    def _send(self, attempt: Attempt) -> None:
        """Begin an attempt on the free slot that has lost the fewest."""
        free = [slot for slot in self._slots if slot.usable and slot.attempt is None]
        if not free:
            raise none_left()
        slot = min(free, key=lambda slot: slot.lost)
        job = {"attempt": attempt.id, "version": __version__, "node": slot.place.node.id, "slot": slot.place.number,
               "slots": slot.place.of, "commit": attempt.spec.commit, "spec": spec_fields(attempt.spec)}  # fmt: skip
        self._bridge.ask(do="submit", job=job, cpus=slot.place.cpus, gpus=slot.place.gpus)
        slot.attempt = attempt
        self._announce(slot)

    def poll(self, wait_s: float) -> list[Ended]:
        alive = self._bridge.listen(0.0 if self._bridge.said else wait_s)
        said, self._bridge.said = self._bridge.said, []
        ended = [each for one in said if (each := self._take(one)) is not None]
        if not alive:
            self._lose_all()
        ended, self._lost = ended + self._lost, []
        self._check_left(time.monotonic())
        return ended

    def cancel(self, ids: Collection[str]) -> None:
        left = [slot for slot in self._slots if slot.attempt and slot.attempt.id in ids and slot.given_up is None]
        for slot in left:
            slot.given_up = time.monotonic()
            self._here(slot).running.unlink(missing_ok=True)
        if left:
            with contextlib.suppress(Disconnected):  # then they are gone, and `poll` says so
                self._bridge.ask(do="cancel", attempts=[slot.attempt.id for slot in left if slot.attempt])

    def give_up(self) -> None:
        """End all attempts."""
        self.cancel([slot.attempt.id for slot in self._slots if slot.attempt is not None])

    def close(self) -> None:
        """Leave the cluster, which ends whatever was begun there."""
        self._end()

    def _lose_all(self) -> None:
        """Take it that all attempts are lost with their bridge."""
        why = self._bridge.gone().message
        for slot in self._slots:
            if slot.attempt is not None and slot.given_up is None:
                self._lost.append(Ended(slot.attempt.id, lost=why))
            self._clear(slot)

    def _connect(self) -> None:
        """Start a bridge, and find the slots of the cluster; what an earlier one had begun is lost. For a machine that
        lacks something all is refused at first; later it is left out while there are others."""
        if self._slots:
            self._lose_all()
        found = survey(self.context, self.address)
        self._end = weakref.finalize(self, ended, found.bridge.process)
        nodes = [node for node in found.nodes if node.refusal(found.python, found.data) is None]
        if found.refusals and (not self._env or not nodes):
            raise found.refusals[0]
        self._left_out = tuple(f"left out since the connection was lost: {each.message}" for each in found.refusals)
        self._bridge, self.parcel = found.bridge, found.parcel
        incumbent = load_session(self.context.workspace).incumbent
        known = incumbent.hardware if incumbent is not None else None
        before = hardware_of(self._env) if self._env else None
        places = chosen(nodes, before or known)
        if before is not None and places[0].node.hardware != before:  # what was measured is of that class
            raise none_left()
        self._slots = [_Slot(number, place) for number, place in enumerate(places, 1)]
        self._env = places[0].node.env

    def _take(self, said: dict[str, Any]) -> Ended | None:
        """Return how an attempt has ended by what the bridge says; None for one that was given up."""
        if "error" in said:
            raise error_of(said["error"])
        slot = next((s for s in self._slots if s.attempt is not None and s.attempt.id == said["ended"]), None)
        if "alive" in said:
            self._slots = [s for s in self._slots if s.place.node.id in said["alive"] or s.attempt is not None]
        if slot is None:
            return None
        name, given_up = slot.place.node.name, slot.given_up is not None
        beside = sum(s.attempt is not None for s in self._slots if s.place.node.id == slot.place.node.id) - 1
        self._clear(slot)
        if "alive" in said and slot.place.node.id not in said["alive"]:
            self._slots.remove(slot)
        if given_up:
            return None
        found, lost, sick = read_answer(said["ended"], said["answer"]), said["lost"], said["sick"]
        if found is not None and isinstance(found.error, MachineError):  # a full disk there is not the engine's
            lost, sick = found.error.message, True
        killed = found is not None and found.measurement is not None and found.measurement.outcome == "killed"
        here = [each for each in self._slots if each.place.node.id == slot.place.node.id]
        if found is None or lost or killed:
            slot.lost += 1
            failed = here if sick else [slot] if killed else []  # one GPU may be broken where the others are well
            if any(each.usable for each in self._slots if each not in failed):
                for each in failed:
                    each.rests = True
        else:
            for each in self._slots:
                each.rests = each.rests and each in here and each is not slot
        if found is None or lost:
            return Ended(said["ended"], lost=f"on {name}: {lost or 'its worker has answered nothing'}")
        made = found.measurement
        if made is not None:
            made, self._left_out = replace(made, remarks=(*made.remarks, *self._left_out)), ()
        return replace(found, measurement=made, beside=beside)

    def _check_left(self, now: float) -> None:
        """Raise `MachineError` when nothing is left to measure on."""
        if not any(slot.usable for slot in self._slots):  # better one that has failed than none
            for slot in self._slots:
                slot.rests = False
        stuck = [slot for slot in self._slots if slot.given_up is not None and now - slot.given_up > END_S]
        if len(stuck) == len(self._slots):
            raise none_left()

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


def none_left() -> MachineError:
    """Return the error for a cluster that has nothing more to measure on."""
    return MachineError("no slot of the Ray cluster is left", "see which machines are alive: ray status")


def cluster(context: RunContext, address: str) -> RayWorkers:
    """Return the slots of a cluster; a command that measures more than once connects to it once. Raises as `RayWorkers`
    does."""
    known = _CONNECTED.pop((context.workspace.root, address), None)
    if known is None or not known.connected or known.parcel != Parcel.of(context.workspace, context.git, context.task):
        known = RayWorkers(context, address)
    for other in _CONNECTED.values():
        other.close()
    _CONNECTED.clear()
    known.give_up()
    _CONNECTED[context.workspace.root, address] = known
    return known


_CONNECTED: dict[tuple[Path, str], RayWorkers] = {}
