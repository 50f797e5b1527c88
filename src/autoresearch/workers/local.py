"""The slots of this machine: one for each GPU, or as many as are asked for on the cores of a CPU.

On a CPU each slot has cores of its own and its runs are held to them; so a slot is another machine than the whole, with
fewer cores, and the numbers of both are never compared. Where there are more slots than cores they share them.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from autoresearch.errors import MachineError, UsageError
from autoresearch.system.files import remove_tree
from autoresearch.system.hardware import BY_BUS, VISIBLE, Machine, along_cores, siblings
from autoresearch.system.limits import Limits
from autoresearch.system.process import Endings, bounded
from autoresearch.workers.base import Attempt, Ended
from autoresearch.workers.messages import read_answer, spec_fields
from autoresearch.workspace.orphans import end_run
from autoresearch.workspace.workspace import Workspace

LOOK_S = 0.02
"""Seconds between two looks at the workers; asking the kernel for one costs some microseconds."""

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
    process: subprocess.Popen[bytes]
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
        job = {"attempt": attempt.id, "root": str(here.root), "slot": slot, "slots": self.count,
               "cores": list(place.cores), "spec": spec_fields(attempt.spec)}  # fmt: skip
        env = {**os.environ, **({**BY_BUS, VISIBLE: place.gpu} if place.gpu else {})}
        # From its own folder, and not from the workspace: a module there must not become a part of the engine.
        command = [*bounded(Limits(), env), sys.executable, "-m", "autoresearch.workers.worker"]
        try:
            here.slot.mkdir(parents=True, exist_ok=True)
            with Endings(), ExitStack() as files, tempfile.TemporaryFile() as told:
                told.write(json.dumps(job).encode())
                told.seek(0)
                said = files.enter_context(tempfile.TemporaryFile())
                complained = files.enter_context(tempfile.TemporaryFile())
                process = subprocess.Popen(command, cwd=PACKAGES, env=env, stdin=told, stdout=said, stderr=complained,
                                           start_new_session=True)  # fmt: skip
                self._working[slot] = _Working(attempt, process, said, complained, files.pop_all())
        except OSError as error:
            raise MachineError(f"a worker could not be started: {error}", "see: autoresearch doctor") from error

    def poll(self, wait_s: float) -> list[Ended]:
        deadline = time.monotonic() + wait_s
        while True:
            ended = [slot for slot, working in self._working.items() if working.process.poll() is not None]
            if ended or time.monotonic() >= deadline or not self._working:
                return [self._result(slot) for slot in ended]
            time.sleep(LOOK_S)

    def cancel(self, ids: Collection[str]) -> None:
        left = {slot: working for slot, working in self._working.items() if working.attempt.id in ids}
        for working in left.values():
            with contextlib.suppress(ProcessLookupError):
                working.process.terminate()
        deadline = time.monotonic() + LEAVE_S
        for slot, working in left.items():
            try:
                working.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                working.process.kill()
                working.process.wait()
            self._clear(slot)

    def _result(self, slot: int) -> Ended:
        """Return how the attempt in a slot has ended, whose worker is gone, and free the slot."""
        working = self._working[slot]
        code = working.process.returncode
        working.said.seek(0)
        found = read_answer(working.attempt.id, working.said.read().decode("utf-8", "replace"))
        if found is None or code != 0:
            working.complained.seek(0)
            last = working.complained.read().decode("utf-8", "replace").strip().splitlines()
            how = f"died of signal {-code}" if code < 0 else f"left with {code}" + (f": {last[-1]}" if last else "")
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


PACKAGES = Path(__file__).parents[2]
"""Where the package is imported from."""
