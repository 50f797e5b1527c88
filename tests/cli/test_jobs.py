"""`try --detach` and `wait`: the experiment outlives whoever began it, and its report can be asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from lab import Lab, cli

from autoresearch.cli.job_folders import jobs_of
from autoresearch.reports.views import MOST_LINES
from autoresearch.system.living import alive, created
from autoresearch.workspace.lock import current_run


def held_back(lab: Lab, value: int) -> Path:
    """Make the mutable script wait for a file before it prints, and return that file."""
    gate = lab.root.parent / "gate"
    lab.edit(f"while [ ! -e {gate} ]; do sleep 0.02; done\necho METRIC total_ms={value}\n")
    return gate


def test_a_detached_experiment_is_waited_for_and_reported_as_try_reports(lab: Lab) -> None:
    gate = held_back(lab, 90)
    begun = cli("try", "--detach", "-m", "faster", "--asi", "hypothesis=less work", "--json", cwd=lab.root)
    assert begun.code == 0 and begun.json == {"experiment": 2, "running": True, "next": "autoresearch wait 2"}
    assert "next         autoresearch wait" in lab.call("status").out
    brief = lab.call("resume").out
    assert "running      experiment 2: seed 1, run 1 of at most 15" in brief and "autoresearch wait" in brief
    early = lab.call("wait", "2", "--timeout", "0", "--json")
    assert early.code == 5 and early.json["error"]["kind"] == "running"
    gate.touch()
    told = lab.call("wait", "--json")
    assert told.code == 0 and told.json["experiment"] == 2 and told.json["status"] == "keep"
    assert told.json["asi"] == {"hypothesis": "less work"}
    assert lab.call("wait", "2").out.startswith("experiment 2: KEEP")
    lab.assert_clean()


def test_wait_prints_what_try_printed_also_after_later_experiments(lab: Lab) -> None:
    said = lab.attempt("echo METRIC total_ms=95\n")
    told = lab.attempt("exit 3\n", "--json")
    assert lab.call("wait", "2").out == said.out
    assert lab.call("wait", "3", "--json").out == told.out
    assert lab.call("wait").out == lab.call("wait", "3").out


def test_what_is_refused_is_refused_at_once(lab: Lab) -> None:
    refused = lab.call("try", "--detach", "-m", "nothing")
    assert refused.code == 5 and "nothing has changed" in refused.err
    assert lab.events("start") == [e for e in lab.events("start") if e["experiment"] == 1]


def test_a_detached_experiment_that_ends_at_once_is_reported_at_once_or_waited_for(lab: Lab) -> None:
    lab.prints(80)
    begun = lab.call("try", "--detach", "-m", "fast", "--json")
    assert begun.code == 0 and begun.json["experiment"] == 2
    assert lab.call("wait", "--json").json["status"] == "keep"


def test_the_end_of_the_agent_does_not_end_the_experiment(lab: Lab) -> None:
    gate = held_back(lab, 70)
    agent = subprocess.Popen(
        ["bash", "-c", f"{sys.executable} -m autoresearch try --detach -m x; exec sleep 60"],
        cwd=lab.root, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    assert agent.stdout is not None and b"experiment 2 is being measured" in agent.stdout.readline()
    now = current_run(lab.workspace)
    assert now is not None
    os.killpg(agent.pid, signal.SIGHUP)
    os.killpg(agent.pid, signal.SIGKILL)
    agent.wait()
    assert alive(now["pid"], now["created"])
    gate.touch()
    assert lab.call("wait", "2", "--json").json["metric"] == 70
    lab.assert_clean()


@pytest.mark.slow
def test_a_killed_experiment_is_told_by_wait_and_repaired_by_resume(lab: Lab) -> None:
    held_back(lab, 60)
    assert lab.call("try", "--detach", "-m", "x").code == 0
    now = current_run(lab.workspace)
    assert now is not None
    engine = psutil.Process(now["pid"])
    engine.kill()
    psutil.wait_procs([engine])
    told = lab.call("wait", "--json")
    assert told.code == 1 and told.json["error"]["fix"] == "repair it with: autoresearch resume"
    assert lab.call("resume").code == 0
    assert lab.call("wait", "2", "--json").json["outcome"] == "killed"
    lab.assert_clean()


def test_an_interrupted_experiment_ends_wait_as_it_ended_try(lab: Lab) -> None:
    held_back(lab, 60)
    assert lab.call("try", "--detach", "-m", "x").code == 0
    now = current_run(lab.workspace)
    assert now is not None
    engine = psutil.Process(now["pid"])
    engine.terminate()
    psutil.wait_procs([engine])
    told = lab.call("wait", "--json")
    assert told.code == 1 and "try --again 2" in told.json["error"]["fix"]
    (job,) = [job for job in jobs_of(lab.workspace) if job.experiment == 2]
    assert job.output == {"experiment": 2, **told.json}


def test_a_baseline_can_be_detached(lab: Lab) -> None:
    begun = lab.call("baseline", "--seeds", "4", "--detach", "--json")
    assert begun.code == 0 and begun.json["experiment"] == 1
    told = lab.call("wait", "1", "--json").json
    assert [run["seed"] for run in told["runs"]] == [1, 2, 3, 4]


@pytest.mark.parametrize("words", [("wait", "7"), ("wait", "7", "--timeout", "0")])
def test_an_experiment_that_is_not_there_cannot_be_waited_for(lab: Lab, words: tuple[str, ...]) -> None:
    assert lab.call(*words).code == 5


def test_what_looks_again_can_be_detached_and_waited_for(lab: Lab) -> None:
    lab.attempt("echo METRIC total_ms=90\n")
    begun = lab.call("replicate", "2", "--seed", "9", "--detach", "--json")
    assert begun.code == 0 and (begun.json.get("replicated") == 90 or begun.json["next"] == "autoresearch wait")
    told = lab.call("wait", "--json").json
    assert told["replicated"] == 90 and told["seed"] == 9
    assert lab.call("wait").out.startswith("experiment 2, seed 9: 90")
    assert lab.call("wait", "2").out.startswith("experiment 2: KEEP")
    lab.attempt("echo METRIC total_ms=91\n")
    assert lab.call("wait").out.startswith("experiment 3: DISCARD")


def test_a_detached_command_that_is_refused_says_why(lab: Lab) -> None:
    refused = lab.call("replicate", "7", "--detach")
    assert refused.code != 0 and "7" in refused.err
    assert lab.call("wait").code == refused.code


def test_a_job_is_a_folder_with_process_command_and_output(lab: Lab) -> None:
    printed = lab.attempt("echo METRIC total_ms=90\n", "--json")
    jobs = [*jobs_of(lab.workspace)]
    assert [job.folder for job in jobs] == [lab.root / ".autoresearch/jobs" / str(n) for n in (2, 1)]
    assert [(job.about["command"], job.experiment) for job in jobs] == [("try", 2), ("baseline", 1)]
    assert jobs[0].about["pid"] == os.getpid() and jobs[0].about["created"] == created(os.getpid())
    assert jobs[0].output["view"] == printed.json and [*jobs[0].output["sections"]] == ["verdict", "data", "next"]
    assert not any(job.runs for job in jobs)


def test_what_a_run_printed_is_a_section_that_makes_room_for_messages(lab: Lab) -> None:
    lab.attempt("for n in 1 2 3 4 5 6 7 8; do echo line $n; done; exit 3\n")
    before = lab.call("wait").out.splitlines()
    texts = [f"message {n}" for n in range(5)]
    assert all(lab.call("tell", text).code == 0 for text in texts)
    told = lab.call("wait").out.splitlines()
    assert told[:5] == [f"message from the person: {text}" for text in texts]
    left = told[5:]
    over = max(0, len(before) + 5 - MOST_LINES)
    assert over and len(told) == MOST_LINES
    data = [line for line in before if line.startswith("  | ")]
    assert left == [line for line in before if line not in data[:over]]


def test_a_try_that_was_refused_leaves_no_job(lab: Lab) -> None:
    assert lab.call("try", "-m", "nothing").code == 5
    assert [job.about["command"] for job in jobs_of(lab.workspace)] == ["baseline"]
    assert not (lab.root / ".autoresearch/jobs/2").exists()


def test_more_seeds_of_a_baseline_are_what_wait_tells_and_a_refusal_of_them_is_not(lab: Lab) -> None:
    assert lab.call("baseline", "--seeds", "4").code == 0
    assert [run["seed"] for run in lab.call("wait", "1", "--json").json["runs"]] == [1, 2, 3, 4]
    assert lab.call("baseline", "--seeds", "4").code == 5
    again = lab.call("wait", "1", "--json")
    assert again.code == 0 and again.json["experiment"] == 1


def test_a_run_does_not_inherit_where_a_detached_command_reports(lab: Lab) -> None:
    lab.edit('env > "$AUTORESEARCH_RUN_DIR/env"; echo METRIC total_ms=90\n')
    assert lab.call("try", "--detach", "-m", "x").code == 0
    assert lab.call("wait", "2").code == 0
    assert "RUN_JOB" not in (lab.root / ".autoresearch/runs/2/1/env").read_text()
