"""The engine's side of what workers are started from: one process that has imported what they need, and is copied for
each attempt. To start a Python and to import that takes half a second of processor time, a copy some milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, Any

from autoresearch.system.limits import Limits
from autoresearch.system.process import bounded

PACKAGES = Path(__file__).parents[2]
"""Where the package is imported from."""

GONE_S = 10.0
"""Seconds in which workers are gone whose starter was killed; the kernel ends them at once."""


class Starter:
    """Starts workers, and knows how each has ended. All of them end with it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._ears: socket.socket | None = None
        self.complaint = ""
        """The last that was said by what workers were started from, when that has ended."""
        self._heard = b""
        """The beginning of a line of which the rest has not come yet."""
        self._living: set[str] = set()
        self._codes: dict[str, int] = {}
        """Attempt -> how its worker has ended: its exit status, or the number of a signal below zero."""

    def begin(self, id: str, job: Mapping[str, Any], said: IO[bytes], complained: IO[bytes]) -> None:
        """Start the worker of an attempt with this job; its standard output and error go into these files.

        The caller holds signals back meanwhile (`Endings`). Raises `OSError` when that is impossible.
        """
        with tempfile.TemporaryFile() as told:
            told.write(json.dumps(job).encode())
            told.seek(0)
            files = [told.fileno(), said.fileno(), complained.fileno()]
            if self._process is None:
                self._start()
            try:
                self._tell({"begin": id}, files)
            except (BrokenPipeError, ConnectionResetError):  # it was killed, with whatever it has started
                self._end()
                self._start()
                self._tell({"begin": id}, files)
            self._living.add(id)

    def signal(self, ids: Collection[str], number: int) -> None:
        """Send a signal to the workers of these attempts that still live."""
        with contextlib.suppress(OSError):  # then they are gone, as the next look tells
            for id in self._living.intersection(ids):
                self._tell({"signal": id, "number": number})

    def ended(self, wait_s: float) -> dict[str, int]:
        """Return how the workers have ended that did so since the last call; wait for the first so long at most."""
        if not self._codes:
            self._listen(wait_s)
        codes, self._codes = self._codes, {}
        return codes

    def gone(self, ids: Collection[str], wait_s: float) -> bool:
        """Whether the workers of these attempts have all ended, after so many seconds at most; they are told of no
        more."""
        deadline = time.monotonic() + wait_s
        while not self._living.isdisjoint(ids):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._listen(left)
        for id in ids:
            self._codes.pop(id, None)
        return True

    def end(self) -> None:
        """End all workers and what they are started from, however long they would take."""
        if self._process is not None:
            self._end()

    def _start(self) -> None:
        # From the engine's own folder, and not from the workspace: a module there must not become a part of it.
        command = [*bounded(Limits(), os.environ), sys.executable, "-m", "autoresearch.workers.worker"]
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as files:
            files.callback(ours.close)
            complained = files.enter_context(tempfile.TemporaryFile())
            self._process = subprocess.Popen(command, cwd=PACKAGES, env=dict(os.environ), stdin=theirs.fileno(),
                                             stdout=subprocess.DEVNULL, stderr=complained,
                                             start_new_session=True)  # fmt: skip
            files.pop_all()
        self._ears, self._heard = ours, b""
        self._finalizer = weakref.finalize(self, _ended, self._process, ours, complained)

    def _tell(self, about: Mapping[str, Any], files: Collection[int] = ()) -> None:
        assert self._ears is not None
        self._ears.settimeout(None)
        socket.send_fds(self._ears, [json.dumps(about).encode() + b"\n"], [*files])

    def _listen(self, wait_s: float) -> None:
        """Take in what is said within some seconds."""
        if self._ears is None:
            return
        self._ears.settimeout(max(0.0, wait_s))
        try:
            said = self._ears.recv(65536)
        except (BlockingIOError, TimeoutError):
            return
        except ConnectionResetError:
            said = b""
        if not said:  # nobody has the other end any more, so none of them lives
            self._end()
            return
        *lines, self._heard = (self._heard + said).split(b"\n")
        for about in map(json.loads, lines):
            self._living.discard(about["ended"])
            self._codes[about["ended"]] = about["code"]

    def _end(self) -> None:
        """End what workers are started from, where it lives, and take it that they are gone with it."""
        assert self._process is not None
        self.complaint = self._finalizer() or ""
        self._codes |= dict.fromkeys(self._living, self._process.returncode)
        self._living.clear()
        self._process = self._ears = None


def _ended(process: subprocess.Popen[bytes], ears: socket.socket, complained: IO[bytes]) -> str:
    """End it, and its workers with it; return the last that it has said."""
    process.kill()
    process.wait()
    with ears, contextlib.suppress(OSError):
        ears.settimeout(GONE_S)
        while ears.recv(65536):  # each worker has the other end until it is gone
            pass
    with complained:
        complained.seek(0)
        return (complained.read().decode("utf-8", "replace").strip().splitlines() or [""])[-1]
