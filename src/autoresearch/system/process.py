"""Run a command in a process group of its own, with its output in a bounded log and a limit on its time."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from autoresearch.errors import MachineError
from autoresearch.system import bounded_exec
from autoresearch.system.command_output import CommandOutput, KeptStream
from autoresearch.system.limits import Limits, Meter
from autoresearch.system.standstill import Standstill

RUN_ID = "AUTORESEARCH_RUN_ID"
"""Environment variable that marks every process of one run, so that a later command can find what a kill left."""

_OOM_TEXT = re.compile(rb"out of memory|OutOfMemoryError|MemoryError|Cannot allocate memory|bad_alloc", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a command ended."""

    code: int | None
    """Exit status; None when it was ended at its limit."""
    seconds: float
    signal: int | None = None
    """The signal it died of, when it was not ours."""
    out_of_memory: bool = False
    metric_lines: tuple[str, ...] = ()
    """Every line of standard output that starts with METRIC, in order."""
    metric_lines_on_stderr: tuple[str, ...] = ()
    """The same of standard error, where they do not count."""
    tail: str = ""
    """The end of what it printed."""
    over: str = ""
    """The limit other than time that it was ended at, in words."""
    cpu_s: float = 0.0
    """Processor time of it and of its children, seconds."""
    standstill: str = ""
    """That it was ended because the machine, or all of it, stood still meanwhile, in words."""
    kept: Mapping[str, KeptStream] = field(default_factory=dict, compare=False, repr=False)
    """`stdout` and `stderr`, each by itself, where that was asked for."""

    @property
    def timed_out(self) -> bool:
        return self.code is None and not self.over and not self.standstill


def run_limited(
    command: str,
    *,
    cwd: Path,
    log: Path,
    limit_s: float,
    env: Mapping[str, str],
    tick: Callable[[float], None] | None = None,
    limits: Limits | None = None,
    prefix: Sequence[str] = (),
    pass_fds: Sequence[int] = (),
    keep: Path | None = None,
) -> Exit:
    """Run a shell command behind the words of `prefix`; every process it started is dead afterwards.

    It inherits the descriptors in `pass_fds`. With `keep`, a folder, the end of each stream is kept by itself.

    Standard output and standard error go to `log` as they arrive; only the first is looked at for METRIC lines, since
    what is drawn on the other without a line end would hide one. Past `limit_s` seconds of wall clock all is killed.
    `tick` is called a few times a second with the seconds so far. Raises `MachineError` when the machine fails
    (no space for the log, no more processes); an exception out of `tick` or a signal kills the group first.
    """
    _adopt_orphans()
    before = {child.pid for child in psutil.Process().children()}
    oom_kills, cpu_s = _oom_kills(), _cpu_of_children()
    limits = limits or Limits()
    meter = Meter(limits, before)
    started = time.monotonic()
    code: int | None = None
    standstill = ""
    try:
        output = CommandOutput(keep)
        with log.open("wb", buffering=0) as sink, Endings() as endings:
            process = subprocess.Popen(
                [*bounded(limits, env), *prefix, "bash", "-c", command],
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=pass_fds,
            )
            try:
                endings.release()
                watch = Standstill(process.pid)
                code = _pump(process, sink, output, started, limit_s, tick, meter, watch)
                standstill = watch.reason
            finally:
                try:
                    endings.hold()
                finally:
                    _kill_all(process, before)
            seconds = time.monotonic() - started
            output.drain(process, sink)
            output.finish(sink)
    except OSError as error:
        raise MachineError(f"the run could not be started or logged: {error}", "see: autoresearch doctor") from error
    died_of = _signal_of(code)
    tail = output.text()
    return Exit(
        code=code,
        seconds=seconds,
        signal=died_of,
        out_of_memory=(died_of == signal.SIGKILL and _oom_kills() > oom_kills)
        or (code not in (0, None) and _OOM_TEXT.search(bytes(output.recent)) is not None)
        or meter.memory,
        metric_lines=tuple(output.out.metrics),
        metric_lines_on_stderr=tuple(output.err.metrics),
        tail=tail,
        over=meter.over,
        cpu_s=_cpu_of_children() - cpu_s,
        standstill=standstill,
        kept=output.kept,
    )


def _pump(
    process: subprocess.Popen[bytes],
    sink: object,
    output: CommandOutput,
    started: float,
    limit_s: float,
    tick: Callable[[float], None] | None,
    meter: Meter,
    watch: Standstill,
) -> int | None:
    """Copy output until the command itself has ended; return its status, or None at a limit or after a standstill."""
    with selectors.DefaultSelector() as selector:
        for pipe, lines in output.pipes(process):
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ, lines)
        ticked = 0.0
        while True:
            if watch.look():
                return None
            elapsed = time.monotonic() - started - watch.unseen_s
            if elapsed >= limit_s:
                watch.end()
                return None
            if meter.exceeded():
                return None
            if tick is not None and elapsed - ticked > 0.2:
                ticked = elapsed
                tick(elapsed)
            ready = selector.select(min(0.05, limit_s - elapsed)) if selector.get_map() else []
            for key, _ in ready:
                if not output.take(key.fd, key.data, sink):
                    selector.unregister(key.fileobj)
            if not ready and not selector.get_map():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(min(0.05, limit_s - elapsed))
            code = process.poll()
            if code is not None:
                return code


def kill_run(run_id: str) -> int:
    """Kill every process that carries this run's mark in its environment; return how many there were."""
    count = 0
    for _ in range(100):  # one that is about to be killed may still start another
        marked = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and process.environ().get(RUN_ID) == run_id:
                    marked.append(process)
        if not marked:
            break
        _kill(marked)
        count += len(marked)
    return count


@contextlib.contextmanager
def signals_interrupt() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into `KeyboardInterrupt`, so that every way of ending cleans up the same way.

    One that is ignored stays ignored: `nohup` is how a session outlives its terminal.
    """

    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {}
    with contextlib.suppress(ValueError):  # not in the main thread: the caller's signals are not ours
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _kill_all(process: subprocess.Popen[bytes], before: set[int]) -> None:
    """Kill the command's group and whatever left the group: its descendants, and orphans that came to us."""
    try:
        descendants = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        descendants = []
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    _kill(descendants)
    process.wait()
    # Killing a parent can hand us its children; repeat until no new orphan appears.
    for _ in range(100):
        orphans = [c for c in psutil.Process().children() if c.pid not in before and c.pid != process.pid]
        if not orphans:
            break
        _kill([*orphans, *(c for o in orphans for c in _children(o))])


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=5)


def _signal_of(code: int | None) -> int | None:
    """Return the signal a command died of; a shell reports its child's as 128 + number."""
    if code is None or 0 <= code < 128:
        return None
    number = -code if code < 0 else code - 128
    return number if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP) or code < 0 else None


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            _LIBC.prctl(option, value, 0, 0, 0)


_LIBC = ctypes.CDLL(None)


def _adopt_orphans() -> None:
    """Ask Linux to hand us the orphans of our descendants, so that a double fork does not escape."""
    _prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


@contextlib.contextmanager
def held_to(cores: Collection[int]) -> Iterator[None]:
    """Hold this thread, and what it starts meanwhile, to some of the cores; to none in particular where none are named,
    or the system holds nothing to any."""
    if not cores or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def die_with_parent(parent: int) -> None:
    """Ask Linux to end this process with the one that started it; leave at once when that is gone already."""
    _prctl(bounded_exec.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def bounded(limits: Limits, env: Mapping[str, str]) -> list[str]:
    """Return the words to put before a command that this process starts with `env`, so that it dies when we do and has
    what the kernel enforces of `limits`."""
    own = [str(os.getpid()), str(limits.file or 0), f"={env['LC_CTYPE']}" if "LC_CTYPE" in env else ""]
    return [sys.executable, "-I", "-S", bounded_exec.__file__, *own]


class Endings:
    """Holds back the signals that ask us to end, from entering to leaving, except between `release` and `hold`.

    One that came while a process is started, or its group is killed, would leave processes that nobody ends. This is
    done with handlers and not with a mask, since any other thread would take what the main thread has masked.
    """

    def __init__(self) -> None:
        self.came: list[int] = []
        self.usual: dict[int, Any] = {}

    def hold(self) -> None:
        with contextlib.suppress(ValueError):  # not in the main thread, where no signal interrupts
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
                if number not in self.usual and signal.getsignal(number) != signal.SIG_IGN:
                    self.usual[number] = signal.signal(number, self._note) or signal.SIG_DFL

    def release(self) -> None:
        """Give the signals back to whom they were for, those that came meanwhile first."""
        while self.usual:
            signal.signal(*self.usual.popitem())
        while self.came:
            signal.raise_signal(self.came.pop())

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.came.append(number)

    def __enter__(self) -> Endings:
        self.hold()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _oom_kills() -> int:
    """Return how many processes this machine's kernel has killed for memory since it started; 0 where unknown."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except OSError:
        pass
    return 0
