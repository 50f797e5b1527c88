"""Several runs at once on this machine, with real processes: the same verdicts as one at a time, and every kill."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from lab import INIT, TAG, Lab, Repo, new_repo, task_file
from waiting import wait_for

from autoresearch.runs.isolation.choice import missing
from autoresearch.runs.isolation.sandbox import SWITCH
from autoresearch.runs.measure import check
from autoresearch.runs.spec import RunContext
from autoresearch.system.git import Git
from autoresearch.system.hardware import detect
from autoresearch.workspace.lock import current_runs
from autoresearch.workspace.task_file import load

TWO = ("--workers", "local:2")

TOGETHER = """touch here
for other in 1 2; do until [ -e ../../$other/train/here ] || [ -e ../../../GO ]; do sleep 0.1; done; done
touch beside
until [ -e ../../../GO ]; do sleep 0.1; done
echo METRIC total_ms=10$AUTORESEARCH_SEED
"""
"""A run that has seen another one beside it, in the other slot, says so, and ends when the file GO is there."""


def begin(lab: Lab, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "autoresearch", *words]
    return subprocess.Popen(command, cwd=lab.root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)  # fmt: skip


def beside_each_other(lab: Lab) -> bool:
    """Whether two runs are being made, and each has seen the other."""
    both = all((lab.workspace.at(slot).slot / "train/beside").exists() for slot in (1, 2))
    return both and {run["seed"] for run in current_runs(lab.workspace)} == {1, 2}


def program(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return what a command starts its workers from."""
    found = []
    for each in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.Error):
            found += [each] if "autoresearch.workers.worker" in each.cmdline() else []
    return found


def workers(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return [each for above in program(process) for each in above.children()]
    return []


def lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.fixture(scope="module", autouse=True)
def _in_a_sandbox() -> None:
    if why := missing():
        pytest.skip(why)


@pytest.fixture
def together(repo: Repo) -> Lab:
    """A workspace without a baseline, whose runs wait for each other and for the file GO."""
    repo.write("src/run.sh", TOGETHER)
    repo.commit("runs that wait")
    assert repo.call(*INIT).code == 0
    return Lab(repo.root)


def two(lab: Lab) -> subprocess.Popen[bytes]:
    """Begin a baseline of two runs, and return when each has seen the other."""
    process = begin(lab, "baseline", "--seeds", "2", *TWO)
    wait_for(lambda: beside_each_other(lab), "two runs at once")
    return process


def go(lab: Lab) -> None:
    lab.write(".autoresearch/GO", "")


def come_out_well(lab: Lab, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Let both runs end, see that each has given its value, and return the line of the verdict."""
    go(lab)
    _, err = process.communicate()
    assert process.returncode == 0, err
    (line,) = lab.events("run")
    assert (line["seeds"], line["values"], line["status"]) == ([1, 2], [101.0, 102.0], "keep")
    assert lab.processes() == []
    return line


@pytest.mark.slow
class TestABaselineOfTwoSeeds:
    def test_its_runs_are_made_at_once_and_come_out_as_one_by_one(self, together: Lab) -> None:
        lab, process = together, two(together)
        status = lab.call("status", "--json").json
        assert [run["seed"] for run in status["slots"]] == [1, 2] and status["next"] == "autoresearch wait"
        line = come_out_well(lab, process)
        assert line["env"]["cores"] == max(1, detect().cores // 2) and line["env"]["isolation"] != "none"
        lab.assert_clean()
        assert not [*lab.workspace.state.glob("running*")]

    def test_a_worker_that_is_killed_has_its_run_made_again(self, together: Lab) -> None:
        lab, process = together, two(together)
        first = workers(process)[0]
        first.kill()
        runs = lab.workspace.run_dir(1, 1).parent
        wait_for(lambda: [*runs.glob("*.earlier1")] and len(workers(process)) == 2, "another worker with that run")
        come_out_well(lab, process)

    def test_what_workers_are_started_from_is_started_again_when_it_is_killed(self, together: Lab) -> None:
        lab, process = together, two(together)
        (first,), below = program(process), workers(process)
        first.kill()
        runs = lab.workspace.run_dir(1, 1).parent
        wait_for(lambda: len([*runs.glob("*.earlier1")]) == len(workers(process)) == 2, "other workers with both runs")
        assert not any(map(lives, [first, *below]))
        come_out_well(lab, process)

    def test_when_the_engine_is_killed_nothing_goes_on_and_the_next_command_repairs_it(self, together: Lab) -> None:
        lab, process = together, two(together)
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.communicate()
        done = lab.call("resume", "--json")
        assert done.code == 0, done
        assert lab.processes() == [] and not any(map(lives, below))
        assert not [*lab.workspace.state.glob("running*")]
        assert lab.session.experiments[0].outcome == "killed" and lab.session.baseline is None
        go(lab)
        again = lab.call("baseline", "--seeds", "2", *TWO, "--json")
        assert again.code == 0 and lab.session.baseline is not None, again
        assert lab.session.baseline.by_seed == {1: 101.0, 2: 102.0}

    def test_a_signal_ends_all_runs_and_says_so(self, together: Lab) -> None:
        lab, process = together, two(together)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
        assert process.returncode == 1 and b"nothing was decided" in err
        assert lab.processes() == [] and not [*lab.workspace.state.glob("running*")]
        assert lab.session.unfinished is None


NOISY = "echo METRIC total_ms=$(({} + (AUTORESEARCH_SEED * 7919) % 13))\n"


def session_of(repo: Repo, *workers: str) -> list[tuple[object, ...]]:
    """Make a baseline, a good change and a confirmation; return what the journal says of them."""
    lab = Lab(repo.root)
    done = [
        lab.call("baseline", "--seeds", "2", *workers),
        lab.attempt(NOISY.format(90), *workers),
        lab.call("confirm", "--seeds", "2", *workers),
    ]
    assert [each.code for each in done] == [0] * 3, done
    lab.assert_clean()
    said = []
    for e in lab.events():
        what = [e.get(key) for key in ("run", "status", "reason", "values", "seeds", "experiment", "seed", "value")]
        result = e.get("result") and {key: e["result"][key] for key in ("gain", "holds", "seeds")}
        said.append((e.get("type", "run"), *what, result))
    return said


def sessions_of(folder: Path, *workers: str) -> list[list[tuple[object, ...]]]:
    """Return what the journal says of the same session, made one run at a time and then with these workers."""
    said = []
    for name, words in (("one", ()), ("two", workers)):
        repo = new_repo(folder / name)
        repo.write("src/run.sh", NOISY.format(100))
        repo.write("autoresearch.toml", task_file(keep={"seeds": 2}))
        repo.commit("noisy")
        assert repo.call("init", ".", "--task", "command", "--tag", TAG).code == 0
        said.append(session_of(repo, *words))
    return said


@pytest.mark.slow
def test_several_runs_at_once_end_in_the_verdicts_of_one_at_a_time(tmp_path: Path) -> None:
    one, several = sessions_of(tmp_path, *TWO)
    assert one == several
    assert [each[2] for each in one if each[0] == "run"] == ["keep", "keep"]
    assert [each[-1] is not None for each in one if each[0] == "study_end"] == [True]


def test_without_a_sandbox_there_is_one_run_at_a_time(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "off")
    assert repo.call(*INIT).code == 0
    refused = repo.call("baseline", *TWO, "--json")
    assert refused.code == 5 and "several runs at once need a sandbox" in refused.json["error"]["message"]
    assert Lab(repo.root).events("start") == [] and repo.call("baseline", "--seeds", "1").code == 0


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
def test_checks_beside_slots_are_held_to_what_these_leave(lab: Lab) -> None:
    task, told = load(lab.root), []
    task = task.model_copy(update={"run": task.run.model_copy(update={"checks": "test $(nproc) = 1"})})
    for slots in (None, SimpleNamespace(spare=lambda: {max(os.sched_getaffinity(0))})):
        context = RunContext(lab.workspace, Git(lab.root), task, slots=slots)  # type: ignore[arg-type]
        spec = context.spec(lab.git("rev-parse", "HEAD"), 9, 1)
        spec.folder.mkdir(parents=True, exist_ok=True)
        told.append(check(context, spec))
    assert told == ["the checks exited with 1" if detect().cores > 1 else None, None]


BROKEN = """case $PWD in */slots/1/*) echo "GPU is lost" >&2; exit 1;; esac
until ls ../../../runs/1/*/result.json > /dev/null 2>&1; do sleep 0.05; done
echo METRIC total_ms=10$AUTORESEARCH_SEED
"""
"""A run that the machine fails in the first slot, and that ends in the second one after that."""


@pytest.mark.slow
def test_a_slot_whose_gpu_is_broken_spoils_no_run_that_another_can_make(repo: Repo) -> None:
    repo.write("src/run.sh", BROKEN)
    repo.commit("the first slot is broken")
    assert repo.call(*INIT).code == 0
    lab = Lab(repo.root)
    done = lab.call("baseline", "--seeds", "3", *TWO, "--json")
    assert done.code == 0, done
    assert lab.events("run")[-1]["values"] == [101, 102, 103]
