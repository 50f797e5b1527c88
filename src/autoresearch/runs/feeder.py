"""What works beside a run and hands out its training data: the task's `feed` command, outside the run's sandbox."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from autoresearch.errors import MachineError
from autoresearch.system.limits import Limits
from autoresearch.system.process import bounded

FEED, STARTED = "AUTORESEARCH_FEED", "AUTORESEARCH_STARTED"
"""Environment variables: the descriptor of a connection, and when the run began by the system's monotonic clock."""

END_S = 60.0
"""How long a feeder may take to end once its run has; it has nothing left to do then."""


@dataclass
class Feeder:
    """One feeder, and the end of its connection that is the run's."""

    process: subprocess.Popen[bytes]
    connection: socket.socket
    log: Path

    @property
    def descriptor(self) -> int:
        return self.connection.fileno()

    def end(self) -> str | None:
        """Wait for its end, now that the run has ended. Return why it failed, or None."""
        self.connection.close()
        try:
            code = self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            return f"the feeder did not end within {END_S:g} s"
        if code == 0:
            return None
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"the feeder exited with {code}" + (f": {lines[-1][:200]}" if lines else "")


@contextlib.contextmanager
def feeding(command: str, folder: Path, log: Path, env: Mapping[str, str], limits: Limits) -> Iterator[Feeder]:
    """Start the feeder in the snapshot `folder`, its output into `log`. It is dead afterwards."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with theirs, log.open("wb") as sink:
            process = subprocess.Popen(
                [*bounded(limits, env), "bash", "-c", f"exec {command}"],
                cwd=folder,
                env={**env, FEED: str(theirs.fileno()), STARTED: repr(time.monotonic())},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
            )
    except OSError as error:
        ours.close()
        raise MachineError(f"the feeder could not be started: {error}", "see: autoresearch doctor") from error
    feeder = Feeder(process, ours, log)
    try:
        yield feeder
    finally:
        ours.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it has started, too: `uv run` stays before its program
        process.wait()
