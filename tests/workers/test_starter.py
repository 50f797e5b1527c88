"""What workers are started from: one process, and how it says that one has ended."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import psutil
import pytest

from autoresearch.workers.starter import Starter


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux")
def test_each_worker_is_a_copy_of_one_process_and_dies_with_it() -> None:
    starter, me = Starter(), psutil.Process()
    before = {each.pid for each in me.children()}
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        for id in ("one", "two"):
            starter.begin(id, {"root": "/none"}, said, complained)  # no job: each ends with a complaint
        assert starter.gone(["one"], 60) and starter.gone(["two"], 60) and starter.ended(0) == {}
        (program,) = [each for each in me.children() if each.pid not in before]
        complained.seek(0)
        assert complained.read().decode().splitlines()[-1] == "KeyError: 'env'"
        starter.begin("three", {"root": "/none"}, said, complained)
        assert starter.ended(60) == {"three": 1} and program.is_running(), "and a status is told once"
        os.kill(program.pid, signal.SIGSTOP)
        starter.begin("four", {"root": "/none"}, said, complained)
        assert starter.ended(0) == {} and not starter.gone(["four"], 0)
        starter.end()
        assert starter.ended(0) == {"four": -signal.SIGKILL} and not program.is_running()
        starter.begin("five", {"root": "/none"}, said, complained)
        assert starter.ended(60) == {"five": 1}, "the next one has another"
    starter.end()
