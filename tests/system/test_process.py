"""A run that is interrupted at a bad moment leaves no process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import wait_for

from autoresearch.system import limits, process
from autoresearch.system.descendants import children
from autoresearch.system.limits import Limits
from autoresearch.system.living import alive, created
from autoresearch.system.process import bounded, run_limited, signals_interrupt

ENDINGS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
SCRIPT = "sleep 600 & echo $! > pid; echo started > fifo; wait"


def started(folder: Path) -> int:
    """Wait until the script has started its child; return the child's number."""
    assert (folder / "fifo").read_text() == "started\n"
    return int((folder / "pid").read_text())


def interrupted(folder: Path) -> None:
    before = [signal.getsignal(number) for number in ENDINGS]
    with pytest.raises(KeyboardInterrupt), signals_interrupt():
        run_limited(SCRIPT, cwd=folder, log=folder / "log", limit_s=60, env=dict(os.environ))
    child = int((folder / "pid").read_text())
    assert not psutil.pid_exists(child)
    assert [signal.getsignal(number) for number in ENDINGS] == before


@pytest.mark.parametrize("number", ENDINGS)
def test_a_signal_while_the_command_is_started_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    os.mkfifo(tmp_path / "fifo")

    class Late(subprocess.Popen[bytes]):
        """The command, from which we return when it has started a child and a signal has come."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started(tmp_path)
            os.kill(os.getpid(), number)

    monkeypatch.setattr(subprocess, "Popen", Late)
    interrupted(tmp_path)


def test_a_second_signal_while_the_group_is_killed_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "fifo")
    pump, kill_all = process._pump, process._kill_all

    def first(*args: Any) -> Any:
        started(tmp_path)
        os.kill(os.getpid(), signal.SIGTERM)
        return pump(*args)

    def second(*args: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        kill_all(*args)

    monkeypatch.setattr(process, "_pump", first)
    monkeypatch.setattr(process, "_kill_all", second)
    interrupted(tmp_path)


def test_a_command_has_the_usual_signals(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert run_limited("kill -TERM $$", cwd=tmp_path, log=log, limit_s=60, env=dict(os.environ)).signal == 15
    blocked = "grep SigBlk /proc/self/status"
    before = Path("/proc/self/status").read_text().split("SigBlk:")[1].split()[0]
    assert run_limited(blocked, cwd=tmp_path, log=log, limit_s=60, env=dict(os.environ)).tail.split()[1] == before


@pytest.mark.parametrize("locale", [{}, {"LC_CTYPE": "C"}])
def test_a_command_has_the_environment_and_the_limits_that_it_is_given(tmp_path: Path, locale: dict[str, str]) -> None:
    env, log = {"PATH": os.environ["PATH"], "LANG": "C", **locale}, tmp_path / "log"
    script = "ulimit -c; ulimit -Hf; env | grep ^LC_CTYPE; head -c 4096 /dev/zero > big; echo ended with $?"
    run_limited(script, cwd=tmp_path, log=log, limit_s=60, env=env, limits=Limits(file=2048))
    said = log.read_text().splitlines()
    assert said[:2] == ["0", "2"] and [line for line in said if line.startswith("LC_")] == [
        f"LC_CTYPE={value}" for value in locale.values()
    ]
    assert f"ended with {128 + signal.SIGXFSZ}" in said and (tmp_path / "big").stat().st_size == 2048


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_a_command_whose_parent_is_gone_is_not_begun_and_one_that_is_dies_with_it(tmp_path: Path) -> None:
    words = bounded(Limits(), os.environ)
    words[4] = "1"
    assert subprocess.run([*words, "touch", str(tmp_path / "begun")]).returncode == 1
    assert not (tmp_path / "begun").exists()
    code = """
import os, subprocess, sys
from autoresearch.system.process import Limits, bounded
child = subprocess.Popen([*bounded(Limits(), os.environ), "sleep", "1000"], start_new_session=True)
print(child.pid, flush=True)
os.read(0, 1)
os._exit(0)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        wait_for(lambda: psutil.Process(child).name() == "sleep", "the command to be what it should")
        begun = created(child)
    wait_for(lambda: not alive(child, begun), "the command to die with its parent")


def test_a_session_under_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        try:
            with signals_interrupt():
                command = f"kill -HUP {os.getpid()}; echo done"
                ended = run_limited(command, cwd=tmp_path, log=tmp_path / "log", limit_s=60, env=dict(os.environ))
                os.kill(os.getpid(), signal.SIGHUP)
        except KeyboardInterrupt:
            pytest.fail("a signal that is ignored has interrupted the session")
        assert (ended.code, ended.tail) == (0, "done\n")
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, usual)


def test_a_process_is_known_by_its_number_and_when_it_was_created() -> None:
    child = subprocess.Popen(["sleep", "60"])
    when = created(child.pid)
    assert when == pytest.approx(psutil.Process(child.pid).create_time(), abs=0.5)
    assert alive(child.pid, when) and not alive(child.pid, when - 5)
    child.kill()
    wait_for(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE, "the end of the child")
    assert not alive(child.pid, when), "a process that nobody has reaped yet does not run"
    child.wait()
    assert created(child.pid) == 0.0 and not alive(child.pid, when)


def reaped(numbers: set[int]) -> bool:
    """Whether these processes are gone; those that were handed to this one, as orphans are, it must ask for."""
    for number in numbers:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(number, os.WNOHANG)
    return not any(map(psutil.pid_exists, numbers))


def test_what_a_process_has_started_is_found_without_a_look_at_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process._adopt_orphans()
    os.mkfifo(tmp_path / "fifo")
    first = subprocess.Popen(["bash", "-c", f"(bash -c '{SCRIPT}') & wait"], cwd=tmp_path, start_new_session=True)
    try:
        child, top = started(tmp_path), psutil.Process(first.pid)
        by_psutil = [{each.pid for each in top.children(recursive=deep)} for deep in (False, True)]
        assert child in by_psutil[1] - by_psutil[0]
        if Path(f"/proc/{first.pid}/task/{first.pid}/children").exists():
            monkeypatch.setattr(psutil.Process, "children", lambda *_, **__: pytest.fail("it looks at all processes"))
        assert [{each.pid for each in children(top, recursive=deep)} for deep in (False, True)] == by_psutil
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    monkeypatch.undo()
    wait_for(lambda: reaped(by_psutil[1]), "what it has started is gone")
    with pytest.raises(psutil.Error):
        children(top)


def test_what_memory_is_left_is_what_psutil_says_and_where_linux_does_not_tell_psutil_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = psutil.virtual_memory()
    assert abs(limits._available() - whole.available) < whole.total / 5
    monkeypatch.setattr(limits, "Path", lambda _: Path("/none"))
    assert abs(limits._available() - whole.available) < whole.total / 5
