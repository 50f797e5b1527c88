"""A run in whose middle the machine, or all of the run, stood still: asleep, or stopped by a signal.

Whoever looks at a run does so many times a second. Where much time has passed between two looks, the machine slept, or
this process was stopped. The run was stopped with it unless its processes have worked meanwhile; then only we did not
look, and the time is not counted to the run's limit.
"""

from __future__ import annotations

import contextlib
from time import monotonic

import psutil

from autoresearch.system.clock import steady_clock
from autoresearch.system.descendants import children

STANDSTILL_S = 5.0
"""Seconds between two looks, from which on nothing went on; a busy machine makes less of a twentieth of a second."""

AT_WORK = 0.2
"""The part of that time that a run's processes have worked, from which on they did not stand still themselves."""


class Standstill:
    """Watches the time between two looks at a run whose first process is `pid`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.reason = ""
        """What stood still and for how long; empty while nothing did."""
        self.unseen_s = 0.0
        """Seconds of `monotonic` in which only we did not look."""
        self._steady, self._awake, self._cpu_s = steady_clock(), monotonic(), 0.0
        self._counted = self._steady

    def look(self) -> bool:
        """Return whether the run stood still since the last look."""
        steady, awake = steady_clock(), monotonic()
        gap, seen = steady - self._steady, awake - self._awake
        self._steady, self._awake = steady, awake
        if gap >= STANDSTILL_S:
            if gap - seen >= STANDSTILL_S:
                self.reason = f"the machine was suspended for {gap - seen:.0f} s in the middle of the run"
            elif not self._has_ended() and self._cpu() - self._cpu_s < AT_WORK * gap:
                self.reason = f"the run was stopped for {gap:.0f} s in its middle"
            else:
                self.unseen_s += seen
        if steady - self._counted >= 1:
            self._counted, self._cpu_s = steady, self._cpu()
        return bool(self.reason)

    def end(self) -> None:
        """Look once more, at the end of the run's time: it may have been stopped by a signal, and we were not."""
        if any(_status(process) == psutil.STATUS_STOPPED for process in self._processes()):
            self.reason = "a process of the run was stopped by a signal until the end of its time"

    def _has_ended(self) -> bool:
        return [*map(_status, self._processes()[:1])] in ([], [psutil.STATUS_ZOMBIE])

    def _cpu(self) -> float:
        """Return the processor time of the run's processes so far, in seconds."""
        total = 0.0
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                used = process.cpu_times()
                total += used.user + used.system + used.children_user + used.children_system
        return total

    def _processes(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            first = psutil.Process(self.pid)
            return [first, *children(first, recursive=True)]
        return []


def _status(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return str(process.status())
    return ""
