"""Nights on a laptop: the times that the loop looks at, and keeping the machine from going to sleep."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from autoresearch.system.clock import Clock, steady_clock, wall_clock
from autoresearch.system.limits import Limits
from autoresearch.system.process import bounded

ANSWER_S = 5.0
"""How long systemd-inhibit may take to say that sleep is held off."""


@dataclass(frozen=True, slots=True)
class Times:
    """The clocks of the loop and its way to wait; tests give their own."""

    wall: Clock = wall_clock
    """What a person reads off; it may be set, back and forth."""
    steady: Callable[[], float] = steady_clock
    """Seconds that nobody can set; they go on while the machine sleeps."""
    sleep: Callable[[float], None] = time.sleep


@contextlib.contextmanager
def kept_awake(say: Callable[[str], None]) -> Iterator[None]:
    """Keep the machine from going to sleep where the system allows that; say where it does not."""
    holder, why = _hold_off_sleep()
    if holder is None:
        say(f"the machine may go to sleep meanwhile: {why}")
    try:
        yield
    finally:
        if holder is not None:
            holder.kill()
            holder.communicate()


def _hold_off_sleep() -> tuple[subprocess.Popen[bytes] | None, str]:
    """Return the process that holds off sleep as long as it lives, or why there is none.

    It lives no longer than this process, however that ends.
    """
    if sys.platform == "darwin":
        words = ["caffeinate", "-i", "-w", str(os.getpid())]
    else:
        # It says a word once it holds, and ends with its input, which is a pipe of ours.
        words = ["systemd-inhibit", "--what=sleep:idle", "--who=autoresearch", "--why=experiments are measured",
                 "--mode=block", "sh", "-c", "echo held; exec cat"]  # fmt: skip
    if shutil.which(words[0]) is None:
        return None, f"there is no {words[0]} here"
    try:
        holder = subprocess.Popen(
            [*bounded(Limits(), os.environ), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        return None, f"{words[0]}: {error.strerror}"
    if words[0] == "caffeinate" or _says_a_word(holder):
        return holder, ""
    holder.kill()
    holder.communicate()
    return None, f"{words[0]} is not permitted here"


def _says_a_word(process: subprocess.Popen[bytes]) -> bool:
    import selectors

    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return bool(selector.select(ANSWER_S)) and os.read(process.stdout.fileno(), 64).startswith(b"held")
