"""The slots of this machine: one for each GPU, or as many as are asked for on the cores of a CPU.

On a CPU each slot has cores of its own and its runs are held to them; so a slot is another machine than the whole, with
fewer cores, and the numbers of both are never compared. Where there are more slots than cores they share them.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import IO

from autoresearch.errors import MachineError, UsageError
from autoresearch.system.files import remove_tree
from autoresearch.system.hardware import BY_BUS, VISIBLE, Machine, along_cores, siblings
from autoresearch.system.process import Endings
from autoresearch.workers.base import Attempt, Ended
from autoresearch.workers.messages import read_answer, spec_fields
from autoresearch.workers.starter import Starter
from autoresearch.workspace.lock import leaves, takes
from autoresearch.workspace.orphans import end_run
from autoresearch.workspace.workspace import Workspace

LEAVE_S = 10.0
"""Seconds that a worker has to end its run and itself when it is not wanted any more; a run ends in a fraction."""


@dataclass(frozen=True, slots=True)
class Place:
    """What one slot has of the machine."""

    cores: tuple[int, ...] = ()
    """By number; empty for all of them."""
    gpu: str = ""
    """As `CUDA_VISIBLE_DEVICES` names it; empty where there is none."""


def places(
    slots: int, machine: Machine, cores: tuple[int, ...], same: Mapping[int, str]
) -> tuple[Machine, list[Place]]:
    """Return what each of so many slots is as a machine, and what it has of this one.

    `cores` are the numbers of those that this process may use, empty where the system does not hold a process to some;
    `same` has one word for those that are threads of one core. Raises `UsageError` when there are not so many alike.
    """
    if machine.gpus:
        alike = tuple(gpu for gpu in machine.gpus if gpu.name == machine.gpus[0].name)
        if slots > len(alike):
            count = f"{len(alike)} GPU{'s' if len(alike) != 1 else ''}"
            what = f"{slots} slots, and {count} of one kind ({alike[0].name})"
            raise UsageError(what, f"ask for fewer: --workers local:{len(alike)}")
        return replace(machine, gpus=alike), [Place(gpu=gpu.id) for gpu in alike[:slots]]
    if slots > 1 and not cores:
        raise UsageError("this system holds no process to some of the cores, so runs would disturb each other",
                         "leave out --workers")  # fmt: skip
    if not cores:
        return machine, [Place()]
    each = max(1, len(cores) // slots)
    cores = along_cores(cores, same, each)
    given = [tuple(cores[(slot * each + n) % len(cores)] for n in range(each)) for slot in range(slots)]
    return replace(machine, cores=each), [Place(cores=held) for held in given]


@dataclass(slots=True)
class _Working:
    """An attempt while its worker lives."""

    attempt: Attempt
    said: IO[bytes]
    complained: IO[bytes]
    files: ExitStack
    """Both of them, while they are open."""


class LocalWorkers:
    """Slots on this machine, for the runs of one workspace; each attempt has a process of its own."""

    def __init__(self, workspace: Workspace, slots: int, machine: Machine) -> None:
        """Raises `UsageError` when the machine has not so many."""
        cores = tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()
        self.machine, self.places = places(slots, machine, cores, siblings(cores))
        self.workspace, self.count, self.cores = workspace, slots, frozenset(cores)
        self._starter = Starter()
        self._working: dict[int, _Working] = {}
        """Slot -> what is done in it; the first slot is 1, since 0 is the engine's own."""
        self._failed: Counter[int] = Counter()
        """Slot -> how often the machine failed an attempt in it, which a broken GPU does each time."""
        self._resting: set[int] = set()
        """Slots that get nothing until an attempt has ended well in another one."""

    @property
    def slots(self) -> int:
        return self.count - len(self._resting)

    def env(self) -> Mapping[str, object]:
        return self.machine.env()

    def spare(self) -> frozenset[int]:
        held = {core for place in self.places for core in place.cores}
        if not held:
            return frozenset()
        free = [place for slot, place in enumerate(self.places, 1) if slot not in self._working]
        return (self.cores - held) or frozenset([*self.places, *free][-1].cores)

    def submit(self, attempt: Attempt) -> None:
        free = {*range(1, self.count + 1)} - self._working.keys() - self._resting
        slot = min(free, key=lambda number: (self._failed[number], number))
        place, here = self.places[slot - 1], self.workspace.at(slot)
        env = {**BY_BUS, VISIBLE: place.gpu} if place.gpu else {}
        job = {"attempt": attempt.id, "root": str(here.root), "slot": slot, "slots": self.count, "engine": os.getpid(),
               "cores": list(place.cores), "env": env, "spec": spec_fields(attempt.spec)}  # fmt: skip
        try:
            here.slot.mkdir(parents=True, exist_ok=True)
            with ExitStack() as files:
                said = files.enter_context(tempfile.TemporaryFile())
                complained = files.enter_context(tempfile.TemporaryFile())
                with Endings():
                    self._starter.begin(attempt.id, job, said, complained)
                    self._working[slot] = _Working(attempt, said, complained, files.pop_all())
                    takes(here)
        except OSError as error:
            raise MachineError(f"a worker could not be started: {error}", "see: autoresearch doctor") from error

    def poll(self, wait_s: float) -> list[Ended]:
        codes = self._starter.ended(wait_s) if self._working else {}
        ended = [(slot, codes[id]) for slot, each in self._working.items() if (id := each.attempt.id) in codes]
        return [self._result(slot, code) for slot, code in ended]

    def cancel(self, ids: Collection[str]) -> None:
        left = {slot: each.attempt.id for slot, each in self._working.items() if each.attempt.id in ids}
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._starter.signal(left.values(), number)
            if self._starter.gone(left.values(), LEAVE_S):
                break
        else:
            self._starter.end()
        for slot in left:
            self._clear(slot)

    def _result(self, slot: int, code: int) -> Ended:
        """Return how the attempt in a slot has ended, whose worker is gone, and free the slot."""
        working = self._working[slot]
        working.said.seek(0)
        found = read_answer(working.attempt.id, working.said.read().decode("utf-8", "replace"))
        if found is None or code != 0:
            working.complained.seek(0)
            said = working.complained.read().decode("utf-8", "replace").strip().splitlines()
            last = said[-1] if said else self._starter.complaint
            how = f"died of signal {-code}" if code < 0 else f"left with {code}" + (f": {last}" if last else "")
            found = Ended(working.attempt.id, lost=f"its worker {how}")
        self._clear(slot)
        killed = found.measurement is not None and found.measurement.outcome == "killed"
        if killed or isinstance(found.error, MachineError):
            self._failed[slot] += 1
            if self.slots > 1:
                self._resting.add(slot)
        elif not found.lost:  # a worker that somebody has killed says nothing of its slot
            self._resting.clear()
        return found

    def _clear(self, slot: int) -> None:
        """Free a slot, and end whatever the run in it has left because its worker was killed."""
        working, here = self._working.pop(slot), self.workspace.at(slot)
        working.files.close()
        end_run(here)
        remove_tree(here.scratch)
        here.running.unlink(missing_ok=True)
        leaves(here)
