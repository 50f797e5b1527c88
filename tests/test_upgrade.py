"""`upgrade`: workspaces as earlier states of this program left them come up to this one; what a person changed stays.

`data/sessions` has their sessions, `data/given.tar.xz` what their `init` wrote beside (benchmarks/old_sessions.py).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from drawn import drawn
from lab import TAG, Called, Lab, Maker

from autoresearch.experiments import upgrade as upgrading
from autoresearch.journal.refs import branch_of
from autoresearch.workspace import assets, task_settings

DATA = Path(__file__).parent / "data"
STATES = sorted(path.name for path in (DATA / "sessions").iterdir())
HOOK, PAGE = ".agents/hooks/autoresearch_hook.py", "program.md"
NEXT = "autoresearch upgrade --yes"


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `init` of each state wrote: `agents` beside any task, `pretrain` a whole workspace with a harness."""
    folder = tmp_path_factory.mktemp("given")
    with tarfile.open(DATA / "given.tar.xz") as archive:
        archive.extractall(folder, filter="tar")
    return folder


@pytest.fixture
def session_of(tmp_path: Path, given: Path) -> Callable[[str], Lab]:
    """Return a function that gives a session of a state, with the files for agents that it had."""

    def begin(state: str) -> Lab:
        lab = Lab(tmp_path / state)
        with tarfile.open(DATA / "sessions" / state / "rest.tar.gz") as archive:
            archive.extractall(lab.root, filter="tar")
        for name in ("autoresearch.jsonl", "autoresearch.toml"):
            shutil.copy(DATA / "sessions" / state / name, lab.root)
        if (given / state / "agents").is_dir():
            shutil.copytree(given / state / "agents", lab.root, symlinks=True, dirs_exist_ok=True)
        lab.git("status")
        return lab

    return begin


@pytest.fixture
def harnessed(tmp_path: Path, given: Path) -> Callable[[str], Lab]:
    """Return a function that gives a new workspace of the pretrain task as a state's `init` made it."""

    def begin(state: str) -> Lab:
        lab = Lab(tmp_path / state)
        shutil.copytree(given / state / "pretrain", lab.root, symlinks=True)
        subprocess.run(["git", "init", "-q", "-b", branch_of(TAG), str(lab.root)], check=True)
        for name, value in (("user.name", "A Person"), ("user.email", "person@example.org")):
            lab.git("config", name, value)
        ours = ("autoresearch.jsonl", "autoresearch.md", "autoresearch.sh", ".agents/", ".claude/", ".codex/",
                "AGENTS.md", ".autoresearch/")  # fmt: skip
        lab.write(".git/info/exclude", "\n".join([*(f"/{name}" for name in ours), "__pycache__/", ""]))
        lab.commit("autoresearch: task pretrain")
        return lab

    return begin


def whats(done: Called) -> dict[str, str]:
    return {item["path"]: item["what"] for item in done.json["items"]}


@pytest.mark.slow
@pytest.mark.sampled(1)
@pytest.mark.parametrize("state", drawn(STATES, 0.2, "upgrades"))
def test_a_session_of_each_state_gets_the_files_for_agents_and_what_was_edited_stays(
    session_of: Callable[[str], Lab], state: str
) -> None:
    lab = session_of(state)
    edited = [name for name in (HOOK, PAGE) if (lab.root / name).exists()]
    for name in edited:
        lab.write(name, (lab.root / name).read_text() + "# mine\n")
    before = {name: (lab.root / name).read_bytes() for name in (*edited, "autoresearch.jsonl", "autoresearch.toml")}
    told = lab.call("upgrade", "--json")
    assert told.code == 0 and not told.json["done"] and told.json["next"] == NEXT, told
    doctor = next(line for line in lab.call("doctor").out.splitlines() if " upgrade " in line)
    assert doctor.startswith("-  ") and doctor.endswith("see which: autoresearch upgrade"), doctor
    done = lab.call("upgrade", "--yes", "--json")
    assert done.code == 0 and whats(done) == whats(told) and done.json["next"] is None, done
    for name in edited:
        assert whats(done)[name] == "keep"
        assert (lab.root / ".autoresearch/upgrade/ours" / name).read_bytes() != before[name]
    assert {name: (lab.root / name).read_bytes() for name in before} == before
    skill = lab.root / ".agents/skills/autoresearch/SKILL.md"
    assert skill.read_bytes() == (assets.bundle_folder() / "skills/autoresearch/SKILL.md").read_bytes()
    assert (lab.root / ".claude/skills/autoresearch/SKILL.md").is_file()
    again = lab.call("upgrade", "--json").json
    assert {item["what"] for item in again["items"]} <= {"keep"} and again["next"] is None
    assert " upgrade " not in lab.call("doctor").out
    assert lab.git("status", "--porcelain") == "" and lab.call("check").code == 0


def test_settings_keep_what_is_a_persons_and_get_our_hooks(session_of: Callable[[str], Lab]) -> None:
    lab = session_of("05-guards")
    path = lab.root / ".claude/settings.json"
    settings = json.loads(path.read_text())
    settings["model"] = "x"
    settings["hooks"]["Stop"].append({"hooks": [{"type": "command", "command": "mine"}]})
    settings["hooks"]["Stop"][0]["hooks"][0]["command"] = "an earlier autoresearch_hook.py"
    path.write_text(json.dumps(settings))
    assert whats(lab.call("upgrade", "--yes", "--json"))[".claude/settings.json"] == "change"
    now = json.loads(path.read_text())
    commands = [hook["command"] for group in now["hooks"]["Stop"] for hook in group["hooks"]]
    assert now["model"] == "x" and now["permissions"] == settings["permissions"]
    assert "mine" in commands and len(commands) == 2 and not any("an earlier" in command for command in commands)
    assert (lab.root / ".autoresearch/upgrade/before/.claude/settings.json").read_text() == json.dumps(settings)
    assert ".claude/settings.json" not in whats(lab.call("upgrade", "--yes", "--json"))
    path.write_text("{ not json, autoresearch_hook.py")
    assert whats(lab.call("upgrade", "--yes", "--json"))[".claude/settings.json"] == "keep"
    assert path.read_text() == "{ not json, autoresearch_hook.py"


def test_a_changed_file_is_replaced_when_it_is_named(session_of: Callable[[str], Lab]) -> None:
    lab = session_of("04-messages")
    lab.write(PAGE, "mine\n")
    shown = lab.call("upgrade", "--diff")
    assert f"keep    {PAGE}: you changed it" in shown.out and "    -mine" in shown.out.splitlines()
    assert shown.out.splitlines()[-1] == f"next    {NEXT}"
    assert lab.call("upgrade", "--take", PAGE, "--yes").code == 0
    assert (lab.root / PAGE).read_bytes() == (assets.bundle_folder() / PAGE).read_bytes()
    assert (lab.root / ".autoresearch/upgrade/before" / PAGE).read_text() == "mine\n"
    refused = lab.call("upgrade", "--take", "nothing.md")
    assert refused.code == 2 and "nothing.md is not among what differs" in refused.err


def test_a_new_workspace_is_as_this_version_has_it_and_what_is_changed_in_it_is_known(make_lab: Maker) -> None:
    lab = make_lab()
    assert lab.call("upgrade", "--json").json["items"] == []
    lab.write("AGENTS.md", "mine\n")
    [item] = lab.call("upgrade", "--json").json["items"]
    assert (item["path"], item["why"]) == ("AGENTS.md", "you changed it")
    assert " upgrade " not in lab.call("doctor").out  # what a person wants as it is needs no upgrade


def test_files_behind_a_link_out_of_the_workspace_are_left_alone(
    session_of: Callable[[str], Lab], tmp_path: Path
) -> None:
    lab = session_of("04-messages")
    shared = tmp_path / "shared"
    shutil.move(lab.root / ".agents", shared)
    (lab.root / ".agents").symlink_to(shared)
    before = {path: path.read_bytes() for path in shared.rglob("*") if path.is_file()}
    done = lab.call("upgrade", "--yes", "--json")
    assert done.code == 0 and whats(done)[".agents/skills/autoresearch/SKILL.md"] == "keep"
    assert {path: path.read_bytes() for path in shared.rglob("*") if path.is_file()} == before


WITH_HARNESS = [state for state in STATES if state >= "06"]


@pytest.mark.slow
@pytest.mark.sampled(1)
@pytest.mark.parametrize("state", drawn(WITH_HARNESS, 0.2, "upgrades of harnesses"))
def test_a_harness_of_each_state_becomes_that_of_this_one_in_a_new_segment(
    harnessed: Callable[[str], Lab], state: str
) -> None:
    lab = harnessed(state)
    lab.write("train.py", (lab.root / "train.py").read_text() + "# an edit\n")
    refused = lab.call("upgrade", "--yes")
    assert refused.code == 5 and "train.py has changes that are not committed" in refused.err, refused
    lab.git("checkout", "-q", "--", "train.py")
    mine, segment = (lab.root / "train.py").read_bytes(), lab.session.segment.number
    done = lab.call("upgrade", "--yes", "--json")
    assert done.code == 0 and done.json["segment"] == segment + 1, done
    assert done.json["next"] == "autoresearch baseline" and whats(done)["harness/device.py"] == "change"
    folder = assets.harness_folder()
    ours = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.py")}
    here = {
        p.relative_to(lab.root / "harness").as_posix(): p.read_bytes() for p in (lab.root / "harness").rglob("*.py")
    }
    assert here == ours and (lab.root / "train.py").read_bytes() == mine
    assert (lab.root / "prepare.py").read_bytes() == (assets.task_folder("pretrain") / "prepare.py").read_bytes()
    assert lab.git("status", "--porcelain") == "" and lab.call("check").code == 0
    assert {item["what"] for item in lab.call("upgrade", "--json").json["items"]} <= {"keep"}


def test_a_harness_that_a_person_changed_stays_whole_unless_named(harnessed: Callable[[str], Lab]) -> None:
    lab = harnessed("10-any-output")
    changed = lab.root / "harness/clock.py"
    changed.write_text(changed.read_text() + "# mine\n")
    lab.commit("a clock of mine")
    assert lab.call("segment").code == 0
    done = lab.call("upgrade", "--yes", "--json")
    assert {whats(done)["harness/clock.py"], whats(done)["harness/device.py"]} == {"keep"} and not done.json[
        "begins_segment"
    ]
    [setting] = done.json["settings"]  # what the task's own file has now, and this session's not
    assert (setting["key"], setting["what"], setting["was"]) == ("search.first", "task", None) and setting["now"]
    why = {item["path"]: item["why"] for item in done.json["items"]}
    assert why["harness/clock.py"] == "you changed it" and "harness/clock.py stays" in why["harness/device.py"]
    taken = lab.call("upgrade", "--take", "harness/clock.py", "--yes", "--json")
    assert taken.json["segment"] == 2 and changed.read_bytes() == (assets.harness_folder() / "clock.py").read_bytes()


@pytest.mark.parametrize("until", ["written", "committed"])
def test_an_upgrade_that_was_killed_is_finished_by_the_next(
    harnessed: Callable[[str], Lab], monkeypatch: pytest.MonkeyPatch, until: str
) -> None:
    lab = harnessed("10-any-output")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if until == "written":
            patch.setattr(upgrading.Git, "commit", killed)
        else:
            patch.setattr(upgrading, "begin", killed)
        assert lab.call("upgrade", "--yes").code != 0
    assert lab.session.segment.number == 0
    done = lab.call("upgrade", "--yes", "--json")
    assert done.code == 0 and done.json["segment"] == 1, done
    assert lab.git("status", "--porcelain") == "" and lab.call("check").code == 0
    assert (lab.root / "harness/device.py").read_bytes() == (assets.harness_folder() / "device.py").read_bytes()


def test_a_task_file_stays_and_what_this_version_reads_otherwise_of_it_is_told_once(
    make_lab: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab()
    assert lab.call("upgrade", "--json").json["settings"] == []
    before, now = (lab.root / "autoresearch.toml").read_bytes(), task_settings.defaults()
    monkeypatch.setattr(
        task_settings, "defaults", lambda: now | {"stop.time_for_confirm": False, "keep.seeds": 9, "keep.more": True}
    )
    told = lab.call("upgrade")
    assert "new     [keep] more: true where it is not set" in told.out.splitlines()
    [changed] = [line for line in told.out.splitlines() if line.startswith("default ")]
    assert changed.startswith("default [stop] time_for_confirm: false where it is not set, as here; it was true")
    assert changed.endswith("; `time_for_confirm = true` keeps it")
    assert told.out.splitlines()[-1] == f"next    {NEXT}"
    assert "what is another now: stop.time_for_confirm" in lab.call("doctor").out
    assert lab.call("upgrade", "--yes", "--json").json["settings"][0]["was"] is not None
    assert (lab.root / "autoresearch.toml").read_bytes() == before
    again = lab.call("upgrade", "--json").json
    assert again["settings"] == [] and again["next"] is None and " upgrade " not in lab.call("doctor").out
