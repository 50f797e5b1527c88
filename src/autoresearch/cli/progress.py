"""What is going on while a command takes long: a bar on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from autoresearch.cli import streams
from autoresearch.escaping import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Display:
    """Use as a context; `tick` is what the engine calls while it runs something."""

    def __init__(self, total: int | None = None) -> None:
        """`total` is the number of steps that `say` will count, when it is known; then it is told how long the rest may
        take."""
        self.total = total
        self.done = 0
        self.began = self.counted = time.monotonic()
        self.phase = ""
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Display:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

            counted = [BarColumn(bar_width=24), MofNCompleteColumn()] if self.total else []
            columns = [SpinnerColumn(), *counted, TextColumn("{task.description}")]
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("", total=self.total)
            with contextlib.suppress(OSError):
                self._bar.start()
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.stop()

    def begin(self) -> None:
        """The first step begins now: what came before it says nothing of how long the others take."""
        self.began = self.counted = time.monotonic()

    def left(self) -> str:
        """Return how long the steps that are left may take, by those that are done; empty where that is not known."""
        if not self.total or not self.done or self.done >= self.total:
            return ""
        each = (self.counted - self.began) / self.done
        seconds = max(each * (self.total - self.done) - (time.monotonic() - self.counted), 1.0)
        return f", about {seconds:.0f} s left" if seconds < 100 else f", about {seconds / 60:.0f} min left"

    def tick(self, phase: str, seconds: float) -> None:
        """Say what is going on (`experiment 2: seed 1, run 1 of 3: train`, `setup`) and for how many seconds."""
        if self._bar is not None and self._task is not None:
            with contextlib.suppress(OSError):  # the terminal is gone; what runs is not
                self._bar.update(self._task, description=f"{phase}, {seconds:.0f} s{self.left()}")
        elif phase != self.phase:
            streams.say(f"{time.strftime('%H:%M:%S')} {phase}{self.left()}", patient=False)
        self.phase = phase

    def say(self, text: str, *, steps: int = 0) -> None:
        """Print a line that stays, and count `steps` as done."""
        if steps:
            self.done, self.counted = self.done + steps, time.monotonic()
        if self._bar is not None and self._task is not None:
            with contextlib.suppress(OSError):
                self._bar.console.print(printable(text), markup=False, highlight=False)
                self._bar.advance(self._task, steps)
        else:
            streams.say(printable(text), patient=False)
