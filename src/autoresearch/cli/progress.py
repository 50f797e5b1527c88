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
        """`total` is the number of steps that `done` will report, when it is known."""
        self.total = total
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

    def tick(self, phase: str, seconds: float) -> None:
        """Say what is going on (`train`, `evaluate`, ...) and for how many seconds."""
        if self._bar is not None and self._task is not None:
            with contextlib.suppress(OSError):  # the terminal is gone; what runs is not
                self._bar.update(self._task, description=f"{phase} {seconds:.0f} s")
        elif phase != self.phase:
            streams.say(f"{time.strftime('%H:%M:%S')} {phase}", patient=False)
        self.phase = phase

    def say(self, text: str, *, steps: int = 0) -> None:
        """Print a line that stays, and count `steps` as done."""
        if self._bar is not None and self._task is not None:
            with contextlib.suppress(OSError):
                self._bar.console.print(printable(text), markup=False, highlight=False)
                self._bar.advance(self._task, steps)
        else:
            streams.say(printable(text), patient=False)
