"""A failure of the machine is not the idea's; an odd machine (clock, permissions, an old journal) loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from lab import Lab, Maker, call, task_file

from autoresearch.experiments.attempt import attempt
from autoresearch.journal import file as journal
from autoresearch.runs import machine_failure
from autoresearch.runs.machine_failure import lost_data
from autoresearch.system.process import Exit
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.task_file import load
from autoresearch.workspace.workspace import Workspace

pytestmark = pytest.mark.slow

Usage = namedtuple("Usage", "total used free")


def undecided(lab: Lab, says: str) -> None:
    run = lab.events("run")[-1]
    assert (run["outcome"], run["status"], run["metric"]) == ("killed", "crash", None), run
    assert says in run["reason"]
    lab.assert_clean()


@pytest.mark.parametrize("said", ["RuntimeError: CUDA error: uncorrectable ECC error encountered",
                                  "RuntimeError: No CUDA-capable device is detected",
                                  "NVRM: Xid 79: GPU has fallen off the bus."])  # fmt: skip
def test_a_lost_gpu_decides_nothing(lab: Lab, said: str) -> None:
    done = lab.attempt(f"echo '{said}'; exit 1\n")
    assert "Nothing was decided. Measure it again with: autoresearch try --again 2" in done.out
    undecided(lab, "the GPU was lost")


@pytest.mark.parametrize("said", ["OSError: [Errno 116] Stale file handle: 'a'", "cat: rows: Input/output error"])
def test_a_disk_that_does_not_answer_decides_nothing(lab: Lab, said: str) -> None:
    lab.attempt(f'echo "{said}" >&2; exit 1\n')
    undecided(lab, "a disk does not answer")


def test_linked_data_that_is_gone_with_its_disk_decides_nothing(make_lab: Maker, tmp_path: Path) -> None:
    lab = make_lab(files={"link": ["data"]})
    (lab.root / ".git/info/exclude").open("a").write("data\n")
    (tmp_path / "disk").mkdir()
    (lab.root / "data").symlink_to(tmp_path / "disk")
    lab.attempt("cat data/rows.txt\n")
    assert lab.events("run")[-1]["outcome"] == "crash", "it is there; what is not in it the code has wrong"
    (tmp_path / "disk").rmdir()
    lab.attempt("cat data/more.txt\n")
    undecided(lab, f"data is gone: nothing is at {tmp_path}/disk")
    lab.attempt("exit 3\n")
    assert lab.events("run")[-1]["outcome"] == "crash", "which says nothing of data"


def test_prepared_data_that_is_gone_with_its_disk_is_told_from_data_that_was_not_prepared(tmp_path: Path) -> None:
    immutable = {"immutable": ["harness", "autoresearch.toml"]}
    run = {"evaluate": "python prepare.py evaluate"}
    (tmp_path / "autoresearch.toml").write_text(task_file(task={"harness": True}, run=run, files=immutable))
    task, ended = load(tmp_path), Exit(1, 1.0, tail="prepare.py: the data is not prepared; run: python prepare.py")
    cache = tmp_path / "cache"
    assert lost_data(ended, tmp_path, task, cache) == f"the prepared data is gone: nothing is in {cache}"
    (cache / "of another task").mkdir(parents=True)
    assert lost_data(ended, tmp_path, task, cache) is None


def test_an_illegal_access_of_the_trained_code_is_a_crash(lab: Lab) -> None:
    lab.attempt("echo 'RuntimeError: CUDA error: an illegal memory access was encountered'; exit 1\n")
    assert lab.events("run")[-1]["outcome"] == "crash"


@pytest.mark.parametrize(("free", "outcome"), [(10 * 2**20, "killed"), (10 * 2**30, "crash")])
def test_no_space_is_the_machines_failure_when_there_is_none(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, free: int, outcome: str
) -> None:
    monkeypatch.setattr(machine_failure.shutil, "disk_usage", lambda _: Usage(0, 0, free))
    lab.attempt("echo 'OSError: [Errno 28] No space left on device'; exit 1\n")
    assert lab.events("run")[-1]["outcome"] == outcome


def test_a_clock_that_is_set_back_confuses_nobody(lab: Lab) -> None:
    now = [2_000_000_000]

    def clock() -> int:
        now[0] -= 100_000
        return now[0]

    for value, status in ((50, "keep"), (70, "discard"), (40, "keep")):
        lab.prints(value)
        assert attempt(lab.workspace, f"{value}", {}, clock).experiment.status == status
    assert [e["run"] for e in lab.events("run")] == [1, 2, 3, 4]
    assert lab.session.best and lab.session.best.number == 4
    for command in ("status", "log", "resume", "check", "export"):
        assert lab.call(command).code == 0, command
    lab.assert_clean()


OLD = [
    {"type": "config", "name": "old", "metricName": "total_ms", "metricUnit": "ms", "bestDirection": "lower"},
    {"run": 1, "commit": "abc1234", "metric": 100, "metrics": {}, "status": "keep", "description": "baseline",
     "timestamp": 1700000000000, "segment": 0},
    {"run": 2, "commit": "bcd2345", "metric": 0, "metrics": {}, "status": "crash", "description": "oops",
     "timestamp": 1700000100000, "segment": 0},
    {"run": 3, "commit": "cde3456", "metric": 90.5, "metrics": {"mb": 3}, "status": "keep", "description": "better",
     "timestamp": 1700000200000, "segment": 0, "asi": {"why": "less"}},
]  # fmt: skip


def test_a_journal_without_a_schema_is_read_and_gone_on_with(tmp_path: Path) -> None:
    log = tmp_path / journal.NAME
    log.write_text("".join(json.dumps(line) + "\n" for line in OLD))
    session = load_session(Workspace(tmp_path))
    assert [(e.number, e.status, e.metric) for e in session.experiments][2] == (3, "keep", 90.5)
    assert session.best and session.best.number == 3 and session.segment.branch is None
    for command in ("status", "log", "export"):
        assert call(command, cwd=tmp_path).code == 0
    assert call("note", "3", "--asi", "a=b", cwd=tmp_path).code == 0
    assert log.read_text().startswith("".join(json.dumps(line) + "\n" for line in OLD))
    assert call("show", "3", cwd=tmp_path).code == 0


def test_a_journal_of_a_newer_schema_is_refused_and_left_as_it_is(lab: Lab) -> None:
    log = lab.root / journal.NAME
    log.write_text(log.read_text().replace('"schema":1', '"schema":99'))
    before = log.read_bytes()
    lab.prints(50)
    for command in (("status",), ("try", "-m", "x"), ("resume",)):
        done = lab.call(*command)
        assert done.code == 4 and "newer" in done.err
    assert log.read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("bwrap"), reason="root may write anywhere")
def test_a_read_only_folder_can_be_looked_at_and_refuses_the_rest(lab: Lab) -> None:
    lab.prints(50)
    before = (lab.root / journal.NAME).read_bytes()
    program = [Path(sys.executable), "-m", "autoresearch"]
    cage = ["bwrap", "--dev-bind", "/", "/", "--ro-bind", str(lab.root), str(lab.root), "--chdir", str(lab.root), "--"]
    if os.geteuid() != 0:
        cage = []
        subprocess.run(["chmod", "-R", "a-w", str(lab.root)], check=True)
    try:
        for words, codes in {
            ("status",): (0,), ("log",): (0,), ("show", "1"): (0,), ("check",): (0,),
            ("try", "-m", "x"): (1, 5), ("note", "1", "--asi", "a=b"): (1, 5), ("resume",): (1, 5),
            ("tell", "hello"): (1, 5), ("import", str(lab.root / "none.tsv")): (1, 2, 5), ("baseline",): (1, 5),
        }.items():  # fmt: skip
            done = subprocess.run([*cage, *map(str, program), *words], cwd=lab.root, capture_output=True, text=True)
            assert done.returncode in codes and "Traceback" not in done.stderr, (words, done)
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(lab.root)], check=True)
    assert (lab.root / journal.NAME).read_bytes() == before


def test_imports_at_once_take_turns(lab: Lab, tmp_path: Path) -> None:
    rows = [f"{n:07x}\t0.5\t1.0\tkeep\trow {n}" for n in range(40)]
    log = tmp_path / "results.tsv"
    log.write_text("\n".join(["commit\tval_bpb\tmemory_gb\tstatus\tdescription", *rows, ""]))
    command = [sys.executable, "-m", "autoresearch", "import", str(log)]
    both = [subprocess.Popen(command, cwd=lab.root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in "ab"]
    codes = [(process.communicate(), process.returncode)[1] for process in both]
    assert 0 in codes and {*codes} <= {0, 5}
    assert [e["entry"]["description"] for e in lab.events("imported")] == [f"row {n}" for n in range(40)]
