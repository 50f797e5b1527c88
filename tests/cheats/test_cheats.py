"""Cheating and broken trainers, each a small real file run by the real engine: found or harmless, and in the log.

None of them may end with a recorded metric better than the honest baseline's. Those that concern the evaluator of
the pretrain task are in `test_pretrain_cheats.py`.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from drawn import drawn
from lab import Lab, Repo, cli
from made_once import made_once

from autoresearch.runs.isolation.choice import SANDBOXES
from autoresearch.runs.isolation.sandbox import SWITCH

HERE = Path(__file__).parent
CACHE = "AUTORESEARCH_CACHE"


WHERE = ("bubblewrap", "landlock", "off")
"""What holds the trainers: a sandbox, or nothing but the tamper check."""


@dataclass(frozen=True)
class Case:
    """What must come of one trainer."""

    outcome: str
    """In a sandbox: what was not possible there is no offence."""
    says: str = ""
    """What the reason or a warning of the log says, wherever the outcome is the first one."""
    off: str | None = None
    """Outcome without a sandbox, where it is another one."""
    found: str = ""
    """What is said of it there."""
    seconds: float | None = None
    """The limit of the run, where it has to be waited for."""
    where: tuple[str, ...] = WHERE
    """Where it is worth running."""


ONCE = WHERE[:1]
HELD = WHERE[:2]
"""Where what it does is prevented."""

UNNOTICED = (
    "memorises_the_search_split",
    "memorises_the_locked_split",
    "reads_the_split_under_another_name",
    "reads_the_split_with_another_program",
    "reads_the_split_by_native_code",
    "reads_the_split_while_it_is_evaluated",
    "calls_home",
)
"""What nobody sees on a machine that has no sandbox at all; README says so, and `sandbox = "required"` is for that."""

CASES = {
    "prints_a_false_metric": Case("ok", where=ONCE),
    "writes_a_false_result": Case("ok"),
    "patches_the_evaluator_in_memory": Case("ok", "patches builtins.sum"),
    "edits_the_evaluator_and_restores_it": Case("ok", off="ok", found="judge.py was written to"),
    "edits_the_evaluator_with_another_program": Case("ok", off="tampered", found="judge.py was changed"),
    "edits_its_copy_of_the_evaluator": Case("ok", "changed its copy of judge.py"),
    "appends_to_the_journal": Case("ok", off="tampered", found="the journal was changed"),
    "rewrites_the_journal_with_another_program": Case("ok", off="tampered", found="the journal was changed"),
    "edits_another_run": Case("ok", off="tampered", found="runs/1/1/result.json"),
    "moves_the_refs_of_git": Case("ok", off="tampered", found="the ref refs/heads/autoresearch/t was changed"),
    "damages_the_objects_of_git": Case("ok", off="tampered", found="objects of git were changed"),
    "forges_the_mirror_of_the_journal": Case("ok", off="tampered", found="0-journal was changed"),
    "memorises_the_search_split": Case("ok", where=HELD),
    "memorises_the_locked_split": Case("ok", where=HELD),
    "reads_the_split_under_another_name": Case("ok", where=HELD),
    "reads_the_split_with_another_program": Case("ok", where=HELD),
    "reads_the_split_by_native_code": Case("ok", where=HELD),
    "reads_the_split_while_it_is_evaluated": Case("no_metric", "gave no answers", where=HELD),
    "changes_the_search_split": Case("ok", off="killed", found="data or evaluator are not those of the incumbent"),
    "trains_on_after_the_end": Case("ok"),
    "swaps_the_weights_late": Case("ok"),
    "returns_a_constant": Case("ok", where=ONCE),
    "returns_not_a_number": Case("no_metric", "gave no answers", where=ONCE),
    "returns_what_flatters_arithmetic": Case("no_metric", "gave no answers", where=ONCE),
    "runs_out_of_memory": Case("oom", "limit_memory_gb", where=ONCE),
    "never_ends": Case("timeout", "limit_s", seconds=0.5),
    "forks_without_end": Case("crash", "limit_processes"),
    "writes_a_huge_file": Case("crash", "exited with 1"),
    "prints_a_gigabyte": Case("ok", where=ONCE),
    "prints_instructions": Case("crash", "exited with 1", where=ONCE),
    "deletes_its_folders": Case("no_metric", "gave no answers"),
    "puts_a_link_in_place_of_its_folder": Case("no_metric"),
    "reads_the_environment": Case("ok"),
    "calls_home": Case("crash", "exited with 1", where=HELD),
    "turns_the_clock_back": Case("ok", "patches time.time", where=ONCE),
}


def points(count: int, seed: int) -> str:
    """Return points near the line 3 x + 1 as JSON."""
    rng = random.Random(seed)
    return json.dumps([(x := rng.uniform(-2, 2), 3 * x + 1 + rng.gauss(0, 0.5)) for _ in range(count)])


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session of the little task with an honest baseline, and the points beside it."""
    return made_once(tmp_path_factory, "mini", _make)


def _make(folder: Path) -> None:
    for seed, split in enumerate(("train", "search", "locked")):
        (folder / "cache/mini").mkdir(parents=True, exist_ok=True)
        (folder / f"cache/mini/{split}.json").write_text(points(60, seed))
    shutil.copytree(HERE / "task", folder / "lab")
    lab = Repo(folder / "lab")
    lab.git("init", "-q", "-b", "main")
    lab.git("config", "user.name", "A Person")
    lab.git("config", "user.email", "person@example.org")
    lab.commit("start")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, str(folder / "cache"))
        for words in (("init", ".", "--task", "command", "--tag", "t"), ("baseline",)):
            done = lab.call(*words)
            assert done.code == 0, done


@pytest.fixture
def mini(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    for name in ("lab", "cache"):
        shutil.copytree(template / name, tmp_path / name, symlinks=True)
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    lab = Lab(tmp_path / "lab")
    lab.git("status")
    return lab


@pytest.fixture
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Ask for one of `WHERE`; skip where it cannot be had."""
    for sandbox in SANDBOXES:
        if sandbox.name == request.param and (why := sandbox.missing()):
            pytest.skip(why)
    monkeypatch.setenv(SWITCH, request.param)
    return str(request.param)


@pytest.mark.slow
@pytest.mark.parametrize("where", WHERE, indirect=True)
def test_a_trainer_that_kills_the_engine_decides_nothing(mini: Lab, where: str) -> None:
    (mini.root / "train.py").write_text((HERE / "trainers/kills_its_parent.py").read_text())
    done = cli("try", "-m", "kill", cwd=mini.root)
    if where == "off":
        assert done.code == -signal.SIGKILL
        assert "experiment 2 was interrupted" in mini.call("resume").out
    else:  # it saw no process but its own, or was not allowed to
        assert done.code == 0
    run = mini.events("run")[-1]
    outcome = "crash" if where == "landlock" else "killed"
    assert (run["outcome"], run["metric"], run["status"]) == (outcome, None, "crash")
    assert mini.processes() == []
    mini.assert_clean()


def test_a_trainer_that_edits_the_journal_and_kills_the_engine_is_found_by_resume(mini: Lab) -> None:
    edit = (HERE / "trainers/rewrites_the_journal_with_another_program.py").read_text()
    kill = "    import signal\n\n    os.kill(os.getppid(), signal.SIGKILL)\n"
    (mini.root / "train.py").write_text(edit + kill)
    before = mini.events()
    assert cli("try", "-m", "kill", cwd=mini.root, env={SWITCH: "off"}).code == -signal.SIGKILL
    assert mini.events()[: len(before)] != before
    assert "the journal was changed while experiment 2 ran; it is put back" in mini.call("resume").out
    assert mini.events()[: len(before)] == before
    mini.assert_clean()


def test_a_trainer_that_changes_journal_and_mirror_and_kills_the_engine_is_found_by_resume(mini: Lab) -> None:
    source = (HERE / "trainers/forges_the_mirror_of_the_journal.py").read_text()
    source = source.replace("cp -f", "true ||")  # the ref alone: a damaged object cannot be had back from anywhere
    edit = 'sed -i \'s/"metric":[0-9.e-]*/"metric":1e9/\' {workspace}/autoresearch.jsonl\n'
    kill = "    import signal\n\n    os.kill(os.getppid(), signal.SIGKILL)\n"
    (mini.root / "train.py").write_text(source.replace('"$1")\n"""', f'"$1")\n{edit}"""') + kill)
    before, mirror = mini.events(), mini.git("rev-parse", "refs/autoresearch/t/0-journal")
    assert cli("try", "-m", "kill", cwd=mini.root, env={SWITCH: "off"}).code == -signal.SIGKILL
    assert mini.events()[: len(before)] != before
    assert mini.git("rev-parse", "refs/autoresearch/t/0-journal") != mirror
    assert "the journal was changed while experiment 2 ran; it is put back" in mini.call("resume").out
    assert mini.events()[: len(before)] == before and mini.call("check").code == 0
    assert mini.git("show", "refs/autoresearch/t/0-journal:00000") + "\n" == mini.workspace.journal.read_text()
    assert "0-journal-earlier" not in mini.git("for-each-ref")
    mini.assert_clean()


def test_of_a_journal_whose_mirror_was_damaged_too_resume_says_so(mini: Lab) -> None:
    source = (HERE / "trainers/forges_the_mirror_of_the_journal.py").read_text()
    edit = 'sed -i \'s/"metric":[0-9.e-]*/"metric":1e9/\' {workspace}/autoresearch.jsonl\n'
    kill = "    import signal\n\n    os.kill(os.getppid(), signal.SIGKILL)\n"
    (mini.root / "train.py").write_text(source.replace('"$1")\n"""', f'"$1")\n{edit}"""') + kill)
    assert cli("try", "-m", "kill", cwd=mini.root, env={SWITCH: "off"}).code == -signal.SIGKILL
    assert "and so was its mirror" in mini.call("resume").out


def limited(lab: Lab, seconds: float) -> None:
    """Give the session another limit of time, as if it had begun with it."""
    toml, log = lab.root / "autoresearch.toml", lab.root / "autoresearch.jsonl"
    before = lab.events("config")[0]["sha256"]["autoresearch.toml"]
    toml.write_text(toml.read_text().replace("limit_s = 60", f"limit_s = {seconds}"))
    log.write_text(log.read_text().replace(before, hashlib.sha256(toml.read_bytes()).hexdigest()))
    lab.git("commit", "-qam", "limit")
    commit = lab.git("rev-parse", "HEAD")
    log.write_text(log.read_text().replace(lab.session.experiments[0].commit or "", commit))
    lab.git("update-ref", "refs/autoresearch/t/1", commit)


def measure(lab: Lab, name: str) -> dict[str, object]:
    """Run one trainer as an experiment and return its line of the journal."""
    source = (HERE / "trainers" / f"{name}.py").read_text()
    (lab.root / "train.py").write_text(source)
    done = lab.call("try", "-m", name.replace("_", " "))
    assert done.code == 0, done
    assert len(done.out.splitlines()) <= 15 and all(c == "\n" or c.isprintable() for c in done.out), done.out
    return lab.events("run")[-1]


TRIALS = [(name, where) for name, case in CASES.items() for where in case.where]


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("name", "where"), drawn(TRIALS, 0.1, "cheats"), indirect=["where"])
def test_a_trainer_that(mini: Lab, name: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    if case.seconds:
        limited(mini, case.seconds)
    monkeypatch.setenv("SOME_API_KEY", "sesame")
    honest = mini.session.best
    before = mini.events()
    shared = {path: path.read_bytes() for path in (mini.root / ".autoresearch/runs/1").rglob("*") if path.is_file()}

    run = measure(mini, name)

    expected = case.off if where == "off" and case.off else case.outcome
    assert run["outcome"] == expected, (run["reason"], run["warnings"])
    said = " ".join([str(run["reason"]), *run["warnings"]])  # type: ignore[misc]
    assert (case.found if where == "off" and case.off else case.says) in said
    assert run["env"]["isolation"] == ("none" if where == "off" else where)  # type: ignore[index]
    assert honest is not None and honest.metric is not None
    assert run["status"] != "keep"
    assert run["metric"] is None or float(str(run["metric"])) > honest.metric
    best = mini.session.best
    assert best is not None and (best.number, best.metric) == (1, honest.metric)
    assert mini.events()[: len(before)] == before and len(mini.events("run")) == 2
    assert {path: path.read_bytes() for path in shared} == shared
    assert mini.processes() == []
    assert "sesame" not in "".join(p.read_text("utf-8", "replace") for p in _files(mini.workspace.run_dir(2, 1)))
    mini.assert_clean()
    assert mini.call("check").code == 0
    assert name.replace("_", " ") in mini.call("log").out


@pytest.mark.sampled(1)
@pytest.mark.parametrize("where", ["off"], indirect=True)
@pytest.mark.parametrize("name", drawn(UNNOTICED[:-1], 0.15, "unnoticed cheats"))
def test_without_a_sandbox_nobody_notices_a_trainer_that(mini: Lab, name: str, where: str) -> None:
    run = measure(mini, name)
    assert run["outcome"] == "ok" and "held out" not in " ".join([str(run["reason"]), *run["warnings"]])  # type: ignore[misc]
    assert run["env"]["isolation"] == "none"  # type: ignore[index]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size < 10**6]


def test_every_trainer_of_the_suite_is_run() -> None:
    assert {*CASES, "kills_its_parent"} == {path.stem for path in (HERE / "trainers").glob("*.py")}
