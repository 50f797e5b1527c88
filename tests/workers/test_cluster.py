"""A real Ray cluster on this machine, a head and two nodes: the verdicts of one run at a time, and every kill."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from lab import INIT, TAG, Lab, Repo, new_repo, task_file
from machines import RayLab, machines
from test_local import begin, lives, sessions_of
from waiting import wait_for

import autoresearch
from autoresearch.runs.isolation.choice import missing
from autoresearch.runs.spec import RunContext, RunSpec
from autoresearch.system.git import Git
from autoresearch.workers.base import Ended
from autoresearch.workers.board import workers_view
from autoresearch.workers.cluster.connection import Bridge, ended, survey
from autoresearch.workers.cluster.ray_workers import RayWorkers
from autoresearch.workers.pool import Pool
from autoresearch.workspace.python import python_of
from autoresearch.workspace.task_file import load

pytestmark = pytest.mark.slow

WAITS = """touch here
until [ -e ../../../GO ]; do sleep 0.2; done
echo METRIC total_ms=10$AUTORESEARCH_SEED
"""
"""A run that says that it has begun, and ends when the file GO is in its replica."""


def write_manifest(folder: Path, content: str) -> None:
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"sha256": {"rows.bin": content}}))


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayLab]:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed")
    if why := missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("machines")
    write_manifest(folder / "data", "a")
    with machines(folder) as made:
        for _ in range(2):
            made.add(AUTORESEARCH_CACHE=str(folder / "data"))
        yield made


@pytest.fixture
def cluster(started: RayLab) -> RayLab:
    """A cluster of two machines, whatever a test before has killed."""
    while len(started.raylets) < 2:
        started.add(AUTORESEARCH_CACHE=str(started.folder / "data"))
    return started


@pytest.fixture
def waiting(repo: Repo, cluster: RayLab) -> Iterator[Lab]:
    """A workspace without a baseline, whose runs wait for the file GO."""
    repo.write("src/run.sh", WAITS)
    repo.commit("runs that wait")
    assert repo.call(*INIT).code == 0
    yield Lab(repo.root)
    cluster.go()
    for path in cluster.folder.glob("autoresearch-*/*/"):
        shutil.rmtree(path, ignore_errors=True)


def two(lab: Lab, cluster: RayLab) -> subprocess.Popen[bytes]:
    """Begin a baseline of two runs, and return when both wait."""
    process = begin(lab, "baseline", "--seeds", "2", *cluster.workers)
    wait_for(lambda: len(cluster.begun()) == 2 or process.poll() is not None, "two runs at once")
    assert process.poll() is None, process.communicate()
    return process


def came_out_well(lab: Lab, process: subprocess.Popen[bytes]) -> None:
    out, err = process.communicate()
    assert process.returncode == 0, (out, err)
    (line,) = lab.events("run")
    assert (line["seeds"], line["values"], line["status"]) == ([1, 2], [101.0, 102.0], "keep")
    assert lab.processes() == [] and not [*lab.workspace.state.glob("running*")]


def test_a_baseline_is_made_on_two_machines_at_once_and_its_files_come_home(waiting: Lab, cluster: RayLab) -> None:
    process = two(waiting, cluster)
    status = waiting.call("status", "--json").json
    assert [run["seed"] for run in status["slots"]] == [1, 2] and status["next"] == "autoresearch wait"
    used, leases = status["workers"], [(each["seed"], each["attempt"]) for each in status["workers"]["leases"]]
    assert (used["slots"], leases, used["queue"]) == (2, [(1, 1), (2, 1)], 0) and 0 < used["utilisation"] <= 1
    cluster.go()
    came_out_well(waiting, process)
    for seed in (1, 2):
        folder = waiting.workspace.run_dir(1, seed)
        assert f"METRIC total_ms=10{seed}" in (folder / "run.log").read_text()
        assert json.loads((folder / "result.json").read_text())["value"] == 100 + seed
    assert waiting.events("run")[0]["env"]["isolation"] != "none"
    wait_for(lambda: not cluster.programs(), "the end of the programs")


@pytest.mark.sampled(0.1)
def test_a_worker_that_is_killed_has_its_run_made_again(waiting: Lab, cluster: RayLab) -> None:
    process = two(waiting, cluster)
    first, *_ = cluster.programs()
    worker = psutil.Process(first.ppid())
    below = first.children(recursive=True)
    worker.kill()
    wait_for(lambda: not any(map(lives, [first, *below])), "the end of all that it had started")
    wait_for(lambda: len(cluster.programs()) == 2, "another worker with that run")
    cluster.go()
    came_out_well(waiting, process)


@pytest.mark.sampled(0.1)
def test_a_machine_that_is_lost_has_its_run_made_on_another(waiting: Lab, cluster: RayLab) -> None:
    process = two(waiting, cluster)
    lost = next(iter(cluster.raylets))
    cluster.kill(lost)
    wait_for(lambda: lost[:16] not in " ".join(str(p.cmdline()) for p in cluster.programs() if lives(p)), "its end")
    cluster.go()
    came_out_well(waiting, process)


@pytest.mark.sampled(0.1)
def test_when_ray_alone_is_killed_on_a_machine_each_run_has_its_one_value(waiting: Lab, cluster: RayLab) -> None:
    process = two(waiting, cluster)
    cluster.kill_raylet(next(iter(cluster.raylets)))
    cluster.go()
    came_out_well(waiting, process)


@pytest.mark.sampled(0.1)
@pytest.mark.skipif(not shutil.which("mount") or os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_machine_whose_disk_fills_up_has_its_run_made_on_another(waiting: Lab, cluster: RayLab) -> None:
    disk = cluster.folder / "small"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        cluster.kill(next(iter(cluster.raylets)))
        small = cluster.add(TMPDIR=str(disk), AUTORESEARCH_CACHE=str(cluster.folder / "data"))
        process = two(waiting, cluster)
        with pytest.raises(OSError, match="No space left"):
            (disk / "ballast").write_bytes(bytes(2**25))
        cluster.go(disk)
        wait_for(lambda: (workers_view(waiting.workspace) or {}).get("queue") == 1, "its run, which waits again")
        cluster.go()
        came_out_well(waiting, process)
        cluster.kill(small)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


@pytest.mark.sampled(0.1)
def test_when_the_engine_is_killed_nothing_goes_on_and_the_next_command_makes_it_again(
    waiting: Lab, cluster: RayLab
) -> None:
    process = two(waiting, cluster)
    programs = cluster.programs()
    below = [each for program in programs for each in [program, *program.children(recursive=True)]]
    process.kill()
    process.communicate()
    wait_for(lambda: not any(map(lives, below)), "the end of the runs")
    assert waiting.call("resume", "--json").code == 0
    assert waiting.session.baseline is None and waiting.session.experiments[0].outcome == "killed"
    cluster.go()
    again = waiting.call("baseline", "--seeds", "2", *cluster.workers, "--json")
    assert again.code == 0 and waiting.session.baseline is not None, again
    assert waiting.session.baseline.by_seed == {1: 101.0, 2: 102.0}


def context_of(lab: Lab) -> RunContext:
    task = load(lab.root)
    return RunContext(lab.workspace, Git(lab.root), task, python=python_of(lab.workspace, task))


@contextlib.contextmanager
def cut_off_in_the_middle(lab: Lab, cluster: RayLab, cut: Callable[[], None]) -> Iterator[RayWorkers]:
    """A run that `cut` has cut off while it waited, whose lease has ended, and that another machine has made; checks
    behind what is done then that it adds nothing, and that the next run is made."""
    done = list[bool]()

    def look(_what: str, _seconds: float) -> None:
        """Once the run waits, cut it off, and let its lease end; then let the runs end."""
        if not done and len(cluster.begun()) == 1:
            cut()
            done.append(True)
            for lease in pool._leased.values():
                lease.until = 0.0
        elif len(cluster.begun()) == 2:
            cluster.go()

    workers = RayWorkers(context_of(lab), cluster.address)
    pool = Pool(workers, 1.0, tick=look)
    commit = lab.git("rev-parse", "HEAD")
    try:
        made = pool.measure(RunSpec(commit, 1, 1, lab.workspace.run_dir(1, 1)))
        assert (made.outcome, made.value) == ("ok", 101.0)
        result = lab.workspace.run_dir(1, 1) / "result.json"
        before = result.read_bytes()
        yield workers
        assert result.read_bytes() == before and [*result.parent.parent.iterdir()] == [result.parent]
        assert pool.measure(RunSpec(commit, 1, 2, lab.workspace.run_dir(1, 2))).value == 102.0
    finally:
        workers.close()


@pytest.mark.sampled(0.1)
def test_a_worker_that_is_cut_off_loses_its_lease_and_its_late_answer_counts_for_nothing(
    waiting: Lab, cluster: RayLab
) -> None:
    stopped = list[psutil.Process]()

    def cut() -> None:
        stopped.append(psutil.Process(cluster.programs()[0].ppid()))
        stopped[0].suspend()

    with cut_off_in_the_middle(waiting, cluster, cut) as workers:
        assert workers.slots == 1, "its slot is not free yet"
        stopped[0].resume()
        late = list[Ended]()
        wait_for(lambda: late.extend(workers.poll(0.1)) or workers.slots == 2, "the end of the late attempt")
        assert late == []


@pytest.mark.sampled(0.1)
def test_a_machine_that_is_cut_off_and_comes_back_has_lost_its_lease_and_adds_nothing(
    waiting: Lab, cluster: RayLab
) -> None:
    """A partition is simulated by stopping everything on a machine for longer than Ray waits for its heartbeats."""
    machine, stopped = list[str](), list[psutil.Process]()

    def cut() -> None:
        machine.append(cluster.node(next(iter(cluster.begun()))))
        stopped.extend(cluster.stop(machine[0]))

    with cut_off_in_the_middle(waiting, cluster, cut) as workers:
        wait_for(lambda: not cluster.alive(machine[0]), "the end of its heartbeats")
        assert workers.slots == 1, "what stands still is no free slot"
        for each in reversed(stopped):
            each.resume()
        late, raylet = list[Ended](), stopped[0]
        wait_for(lambda: late.extend(workers.poll(0.1)) or not lives(raylet), "the end of a machine that Ray gave up")
        assert late == []


@pytest.mark.sampled(0.1)
def test_a_session_on_a_cluster_keeps_what_one_run_at_a_time_keeps(tmp_path: Path, cluster: RayLab) -> None:
    one, several = sessions_of(tmp_path, *cluster.workers)
    assert one == several and [each[2] for each in one if each[0] == "run"] == ["keep", "keep"]


SUM = """total=0
for part in src/part?; do total=$((total + $(cat $part))); done
echo METRIC total_ms=$total
"""
"""The metric is the sum of four parts, each a file."""


@pytest.mark.sampled(0.1)
def test_candidates_of_a_loop_on_two_machines_end_in_the_keeps_of_one_after_the_other(
    tmp_path: Path, cluster: RayLab
) -> None:
    edits, said = tmp_path / "edits.jsonl", []
    steps = {1: 20, 2: 30, 3: 10, 4: 24}
    lines = [{"description": f"part {n} is {to}", "files": {f"src/part{n}": f"{to}\n"}} for n, to in steps.items()]
    edits.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, words in (("one", ()), ("two", cluster.workers)):
        repo = new_repo(tmp_path / name)
        repo.write("src/run.sh", SUM)
        for number in steps:
            repo.write(f"src/part{number}", "25\n")
        repo.write("autoresearch.toml", task_file(keep={"policy": "greedy"}))
        repo.commit("parts")
        loop = ("run", "--agent", f"replay:{edits}", "--max-experiments", "4")
        for command in (("init", ".", "--task", "command", "--tag", TAG), ("baseline", *words), (*loop, *words)):
            done = repo.call(*command)
            assert done.code == 0, done
        lab = Lab(repo.root)
        lab.assert_clean()
        said.append([(e.number, e.status, e.metric, e.description) for e in lab.session.current])
    assert said[0] == said[1] and [each[1] for each in said[0]] == ["keep", "keep", "discard", "keep", "keep"]


PREPARE = """import os, pathlib, sys
if sys.argv[1:] == ["info"]:
    print(pathlib.Path(os.environ["AUTORESEARCH_CACHE"], "manifest.json").read_text())
"""


@pytest.mark.sampled(0.1)
def test_machines_with_other_data_or_another_version_are_named_before_anything_is_measured(
    repo: Repo, cluster: RayLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(cluster.folder / "data"))
    repo.write("prepare.py", PREPARE)
    run = {"evaluate": "python prepare.py evaluate", "setup": "python prepare.py"}
    files = {"immutable": ["harness", "prepare.py", "autoresearch.toml"]}
    repo.write("autoresearch.toml", task_file(task={"harness": True}, run=run, files=files))
    repo.commit("a task with data")
    assert repo.call("init", ".", "--task", "command", "--tag", TAG).code == 0
    good = repo.call("doctor", *cluster.workers, "--json").json["checks"]
    assert [(check["name"], check["ok"]) for check in good] == [
        ("cluster", True), ("machine", True), ("machine", True), ("token", True)]  # fmt: skip
    other = cluster.folder / "other"
    shutil.copytree(Path(autoresearch.__file__).parent, other / "autoresearch")
    init = other / "autoresearch/__init__.py"
    init.write_text(init.read_text().replace(autoresearch.__version__, "0.0.9"))
    write_manifest(cluster.folder / "other data", "b")
    cluster.add(PYTHONPATH=str(other))
    cluster.add(AUTORESEARCH_CACHE=str(cluster.folder / "other data"))
    checks = repo.call("doctor", *cluster.workers, "--json").json["checks"]
    wrong = sorted(check["found"].partition(") ")[2] for check in checks if not check["ok"])
    assert wrong == [
        f"autoresearch is 0.0.9, and {autoresearch.__version__} here",
        "the prepared data is another than here",
    ]
    refused = repo.call("baseline", *cluster.workers, "--json")
    assert refused.code == 5 and Lab(repo.root).events("start") == []
    assert refused.json["error"]["message"].partition(") ")[2] in wrong and refused.json["error"]["fix"]


@pytest.mark.sampled(0.1)
def test_a_machine_that_ends_while_it_is_asked_does_not_hinder_the_others(
    waiting: Lab, cluster: RayLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, ask = next(iter(cluster.raylets)), Bridge.ask

    def asked(bridge: Bridge, **what: object) -> None:
        if what["do"] == "ask":  # it has been found in the list just now
            cluster.kill(lost)
        ask(bridge, **what)

    monkeypatch.setattr(Bridge, "ask", asked)
    found = survey(context_of(waiting), cluster.address)
    try:
        assert [node.id for node in found.nodes] == [*cluster.raylets] and found.refusals == ()
    finally:
        ended(found.bridge.process)


@pytest.mark.sampled(0.1)
def test_a_wrong_token_is_told_as_such(waiting: Lab, cluster: RayLab) -> None:
    words = [sys.executable, "-m", "autoresearch", "baseline", *cluster.workers, "--json"]
    env = {**os.environ, "RAY_AUTH_TOKEN": "b" * 64}
    done = subprocess.run(words, cwd=waiting.root, env=env, capture_output=True, text=True)
    assert done.returncode == 5 and "has another token than this machine" in json.loads(done.stdout)["error"]["message"]
