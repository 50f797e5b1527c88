"""The program that workers are started from. A worker takes one attempt from standard input, measures it, answers in a
line, and ends.

A process of its own for each attempt: what `run_limited` ends after a run are the orphans of its whole process, and
what it counts is the time of all of its children, so a process can make one run at a time. It is a copy of this one,
which has imported what it needs, knows what is the same for every attempt, and has measured nothing itself.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from autoresearch.errors import AutoresearchError, MachineError
from autoresearch.runs.measure import measure
from autoresearch.runs.measurement import Measurement
from autoresearch.runs.spec import RunContext, RunSpec
from autoresearch.system.files import remove_tree
from autoresearch.system.git import forget, git_at
from autoresearch.system.limits import DEFAULT_SHARE, memory_of_machine
from autoresearch.system.process import die_with_parent, signals_interrupt
from autoresearch.workers.messages import answer, spec_of
from autoresearch.workspace.python import python_of
from autoresearch.workspace.task_file import TaskFile, load
from autoresearch.workspace.workspace import Workspace


def main() -> None:
    """Start a worker for each attempt that is told of on standard input, a socket, and tell there how it has ended."""
    asked = socket.socket(fileno=os.dup(0))
    workers: dict[int, str] = {}
    """Process -> its attempt."""
    files: list[int] = []
    """Of attempts that are not begun yet: where the job is, where the answer goes, and complaints."""
    heard, known = b"", False
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([asked.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            for process, code in _dead():
                _tell(asked, workers.pop(process), code)
        if asked.fileno() not in ready:
            continue
        said, sent, _, _ = socket.recv_fds(asked, 4096, 3)
        if not said:
            return
        *lines, heard = (heard + said).split(b"\n")
        files += sent
        for about in map(json.loads, lines):
            if "signal" in about:
                for process in [each for each, attempt in workers.items() if attempt == about["signal"]]:
                    os.kill(process, about["number"])
                continue
            own, files = files[:3], files[3:]
            if not known:
                _look_around(own[0])
                known = True
            try:
                workers[_copied(own, _measure_one)] = about["begin"]
            except OSError as error:  # no more processes
                os.write(own[2], f"{error}\n".encode())
                _tell(asked, about["begin"], 1)
            for file in own:
                os.close(file)


def _tell(asked: socket.socket, attempt: str, code: int) -> None:
    """Say how the worker of an attempt has ended."""
    asked.sendall(json.dumps({"ended": attempt, "code": code}).encode() + b"\n")


def _look_around(job: int) -> None:
    """Find out what is the same for each attempt, so that every copy knows it."""
    workspace = Workspace(Path(json.loads(os.pread(job, 2**24, 0))["root"]))
    with contextlib.suppress(AutoresearchError, OSError):  # which the workers will say
        git_at(workspace.root)
        python_of(workspace, load(workspace.root))
    gc.collect()
    gc.freeze()  # so that no copy writes to what it shares


def _dead() -> Iterator[tuple[int, int]]:
    """Yield each worker that has ended, with its exit status, or the number of a signal below zero."""
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            yield found[0], os.waitstatus_to_exitcode(found[1])


def _copied(files: list[int], do: Callable[[], None]) -> int:
    """Do something in a copy of this process that dies with it, in a session of its own, with these files as its
    standard input, output and error; return its number. Raises `OSError` when there can be no more processes."""
    parent = os.getpid()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        die_with_parent(parent)
        os.setsid()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        do()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _measure_one() -> None:
    begun, job = time.monotonic(), json.load(sys.stdin)
    os.environ.update(job["env"])
    if job["cores"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, job["cores"])
    outcome: Measurement | AutoresearchError
    try:
        with signals_interrupt():
            workspace = Workspace(Path(job["root"]), job["slot"])
            outcome = measured(workspace, job["slots"], spec_of(job["spec"]), os.getppid(), owner=job["engine"])
    except AutoresearchError as error:
        outcome = error
    except OSError as error:
        outcome = MachineError(f"the run could not be made: {error}", "see: autoresearch doctor")
    except KeyboardInterrupt:
        sys.exit(1)  # whoever asked for that does not wait for an answer
    finally:
        forget()
    print(answer(job["attempt"], outcome, time.monotonic() - begun), flush=True)


def measured(
    workspace: Workspace,
    slots: int,
    spec: RunSpec,
    parent: int,
    *,
    owner: int | None = None,
    around: Path | None = None,
) -> Measurement:
    """Make a run in one of so many slots of this machine, for a process that it must not outlive. `owner` answers for
    it, where that is another one; `around` is a folder that has other workspaces beside this one.

    Raises as `measure` does, and `KeyboardInterrupt` when that process is gone.
    """
    task = shared(load(workspace.root), slots)

    def watch(_phase: str, _seconds: float) -> None:
        if os.getppid() != parent:  # Linux ends us with it, other systems do not
            raise KeyboardInterrupt

    context = RunContext(
        workspace,
        git_at(workspace.root),
        task,
        watch,
        python=python_of(workspace, task),
        owner=owner or parent,
        around=around,
    )
    try:
        return measure(context, spec)
    finally:
        remove_tree(workspace.scratch)


def shared(task: TaskFile, slots: int) -> TaskFile:
    """Return the task for one of so many slots: where it sets no limit of memory, each has a part of the machine's."""
    if task.run.limit_memory_gb is not None:
        return task
    part = DEFAULT_SHARE * memory_of_machine() / slots / 2**30
    return task.model_copy(update={"run": task.run.model_copy(update={"limit_memory_gb": part})})


if __name__ == "__main__":
    main()
