"""Standard streams that are closed, full or gone: the work is done, and the exit code is that of the work."""

from __future__ import annotations

import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from drawn import drawn
from lab import Lab
from waiting import PATIENCE_S, wait_for_file

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = f"{shlex.quote(sys.executable)} -m autoresearch"


def shell(lab: Lab, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], cwd=lab.root, capture_output=True, text=True, timeout=PATIENCE_S
    )  # fmt: skip


def kept(lab: Lab, value: float) -> bool:
    last = lab.session.experiments[-1]
    return (last.status, last.metric) == ("keep", value)


CLOSED = (">&-", "2>&-", ">&- 2>&- <&-", "> /dev/full", "> /dev/full 2> /dev/full")


@pytest.mark.slow
@pytest.mark.parametrize("closed", drawn(CLOSED, 0.4, "streams"))
def test_an_experiment_is_kept_whatever_the_streams_are(lab: Lab, closed: str) -> None:
    journal = lab.workspace.journal.read_text()
    lab.prints(50)
    done = shell(lab, f"{PROGRAM} try -m x {closed}")
    assert done.returncode == 0 and "Traceback" not in done.stdout + done.stderr, done
    assert kept(lab, 50)
    assert lab.workspace.journal.read_text().startswith(journal), "nothing was printed into it"
    lab.assert_clean()


def test_reading_and_refusals_have_their_codes(lab: Lab) -> None:
    for command, code in (("status >&-", 0), ("show 9 >&- 2>&-", 2), ("--version >&-", 0)):
        done = shell(lab, f"{PROGRAM} {command}")
        assert done.returncode == code and "Traceback" not in done.stderr, (command, done)
    done = shell(lab, f"{PROGRAM} log | true; echo ${{PIPESTATUS[0]}}")
    assert done.stdout == "0\n" and done.stderr == "", done
    done = shell(lab, f"{PROGRAM} export -o - > /dev/full")
    assert done.returncode == 1 and "No space left" in done.stderr, "what is asked for is the text itself"


def test_a_message_that_nobody_could_read_waits(lab: Lab) -> None:
    lab.call("tell", "hello")
    assert shell(lab, f"{PROGRAM} status >&-").returncode == 0
    assert "message from the person: hello" in lab.call("status").out


def test_a_pipe_that_nobody_reads_holds_nothing_up(lab: Lab) -> None:
    lab.prints(50)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    while True:
        try:
            os.write(writer, b"x" * 4096)
        except BlockingIOError:
            break
    command = [*shlex.split(PROGRAM), "try", "-m", "x"]
    done = subprocess.run(command, cwd=lab.root, stdout=writer, stderr=writer, timeout=PATIENCE_S)
    os.close(reader)
    os.close(writer)
    assert done.returncode == 0 and kept(lab, 50)


def test_a_terminal_that_vanishes_holds_nothing_up(lab: Lab) -> None:
    gate = lab.root.parent
    lab.edit(f"while [ ! -e {gate}/gone ]; do sleep 0.02; done; echo METRIC total_ms=50\n")
    ours, theirs = pty.openpty()
    command = [*shlex.split(PROGRAM), "try", "-m", "x"]
    process = subprocess.Popen(command, cwd=lab.root, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    wait_for_file(lab.workspace.running, process)
    os.close(ours)
    (gate / "gone").touch()
    assert process.wait(PATIENCE_S) == 0 and kept(lab, 50)


def test_the_helpers_and_the_hook_do_their_work(lab: Lab) -> None:
    log = (f"{ROOT}/scripts/log-experiment.sh --run 2 --commit abc1234 --metric 99 --status discard --description x "
           ">&- 2>&- <&-")  # fmt: skip
    assert shell(lab, log).returncode == 0 and lab.session.experiments[-1].metric == 99
    assert shell(lab, f"{ROOT}/scripts/check-immutable.sh HEAD >&- 2>&-").returncode == 0
    assert shell(lab, f"echo METRIC a=1 | {ROOT}/scripts/parse-metrics.sh >&-").returncode == 0
    done = shell(lab, f"{ROOT}/scripts/parse-metrics.sh <&-")
    assert done.returncode == 1 and "no METRIC line" in done.stderr
    event = '{"hook_event_name": "SessionStart", "cwd": "."}'
    for stream in (">&-", "> /dev/full"):
        done = shell(lab, f"echo '{event}' | {sys.executable} {ROOT}/hooks/autoresearch_hook.py {stream}")
        assert done.returncode == 0 and done.stderr == "", done
