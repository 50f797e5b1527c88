"""A run that may write the person's home: what is there all the same that it may not, and what it must not read."""

from __future__ import annotations

import os
import socket
import stat
import sys
from pathlib import Path

import pytest
from lab import Lab, Maker, task_file

from autoresearch.runs.isolation import policy
from autoresearch.runs.isolation.choice import SANDBOXES
from autoresearch.runs.isolation.sandbox import SWITCH
from autoresearch.runs.left_out import not_asked, not_writable
from autoresearch.system.git import Git
from autoresearch.workspace.task_file import load

HELD = ("bubblewrap", "landlock")


@pytest.fixture(params=HELD)
def held(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    sandbox = next(each for each in SANDBOXES if each.name == request.param)
    if why := sandbox.missing():
        pytest.skip(why)
    monkeypatch.setenv(SWITCH, sandbox.name)
    return sandbox.name


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The person's home, which has the repository in it, settings of git, programs, and a cache of another tool."""
    for name in ("bin", ".cache/tool", ".config/git"):
        (tmp_path / name).mkdir(parents=True)
    for name in (".gitconfig", ".config/git/config", "bin/tool"):
        (tmp_path / name).write_text("[user]\n" if "git" in name else "#!/bin/sh\necho mine\n")
    (tmp_path / "bin/tool").chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return tmp_path


def test_it_writes_there_but_not_what_git_or_the_engine_would_run(home: Path, make_lab: Maker, held: str) -> None:
    lab = make_lab(files={"writable": ["~"]})
    kept = [home / ".gitconfig", home / ".config/git/config", home / "bin/tool"]
    before = [path.read_text() for path in kept]
    lab.attempt("\n".join([
        f"for each in {' '.join(map(str, kept))}; do echo changed >> $each; rm -f $each; done",
        f"mv {home}/bin {home}/other; mv {home}/.config {home}/elsewhere; echo mine > {home}/bin/git",
        f"echo kept > {home}/.cache/tool/entry",
        "echo METRIC total_ms=50",
    ]))  # fmt: skip
    assert lab.events("run")[-1]["outcome"] == "ok", lab.events("run")[-1]
    assert [path.read_text() for path in kept] == before
    assert sorted(path.name for path in (home / "bin").iterdir()) == ["tool"]
    assert (home / ".cache/tool/entry").read_text() == "kept\n"


def test_what_is_hidden_is_hidden_where_the_repository_lies_in_it(home: Path, make_lab: Maker, held: str) -> None:
    beside = [home / "data/answers", home / ".config/answers", home / "answers"]  # the second beside what is read
    for path in beside:
        path.parent.mkdir(exist_ok=True)
        path.write_text("the answers\n")
    lab = make_lab(files={"hidden": ["~"], "writable": ["~"]})
    looks = "".join(f'cat {path} >> "$AUTORESEARCH_RUN_DIR/seen"; echo mine > {path}\n' for path in beside)
    lab.attempt(f'touch "$AUTORESEARCH_RUN_DIR/seen"\n{looks}echo METRIC total_ms=50\n')
    assert lab.events("run")[-1]["outcome"] == "ok", lab.events("run")[-1]
    assert (lab.workspace.run_dir(2, 1) / "seen").read_text() == ""
    assert {path.read_text() for path in beside} == {"the answers\n"}


def test_folders_of_path_in_tmp_and_around_the_home_change_nothing_of_what_a_run_may_write(
    home: Path, make_lab: Maker, monkeypatch: pytest.MonkeyPatch, held: str, tmp_path: Path
) -> None:
    (home / "outer/bin").mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{home}:{home.parent}:/:{os.environ['PATH']}")
    lab = make_lab(files={"writable": ["~"]})
    changed = f"echo changed > {home}/bin/tool; echo x > /dev/null && echo kept > {home}/.cache/tool/entry"
    lab.attempt(f"{changed}\necho METRIC total_ms=50\n")
    assert lab.events("run")[-1]["outcome"] == "ok", lab.events("run")[-1]
    assert (home / ".cache/tool/entry").read_text() == "kept\n"
    assert "mine" in (home / "bin/tool").read_text()


def test_a_folder_of_the_path_that_is_a_link_in_a_closed_one_is_found_by_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "versions/20/bin").mkdir(parents=True)
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed/now").symlink_to(tmp_path / "versions/20")
    past = policy.path_past((tmp_path / "closed",), {"PATH": f"{tmp_path}/closed/now/bin:/usr/bin"})
    assert past == {"PATH": f"{tmp_path}/versions/20/bin:/usr/bin"}
    assert policy.path_past((tmp_path / "closed",), {"PATH": "/usr/bin"}) == {}


def test_what_a_program_consists_of_is_its_environment_or_its_package(tmp_path: Path) -> None:
    for name in ("env/bin/python", "node/lib/node_modules/codex/bin/codex.js", "home/bin/python"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    (tmp_path / "env/pyvenv.cfg").write_text("")
    (tmp_path / "node/lib/node_modules/codex/package.json").write_text("{}")
    (tmp_path / "node/bin").mkdir()
    (tmp_path / "node/bin/codex").symlink_to("../lib/node_modules/codex/bin/codex.js")
    assert tmp_path / "env" in policy.around_of(tmp_path / "env/bin/python")
    assert tmp_path / "node/lib/node_modules/codex" in policy.around_of(tmp_path / "node/bin/codex")
    assert tmp_path / "home" not in policy.around_of(tmp_path / "home/bin/python")


def test_the_folder_of_a_persons_modules_is_no_environment_though_a_python_lies_beside_them(tmp_path: Path) -> None:
    for name in (".local/bin/python3", ".local/lib/python3.12/site-packages/mine.py", "opt/bin/python3.12",
                 "opt/lib/python3.12/os.py"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / ".local/bin/python3.12").symlink_to(tmp_path / "opt/bin/python3.12")
    assert policy.around_of(tmp_path / ".local/bin/python3") == [tmp_path / ".local/bin"]
    found = policy.around_of(tmp_path / ".local/bin/python3.12")
    assert found == [tmp_path / ".local/bin", tmp_path / "opt/bin", tmp_path / "opt"]


ASKS = """python - <<'EOF'
import socket
asked = socket.socket(socket.AF_UNIX)
try:
    asked.connect({path!r})
    print("METRIC total_ms=1")
except OSError:
    print("METRIC total_ms=200")
EOF
"""


@pytest.mark.parametrize("named", [False, True], ids=["closed", "named"])
def test_a_service_of_the_machine_is_asked_only_where_the_task_names_it(
    home: Path, make_lab: Maker, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    bubblewrap = SANDBOXES[0]
    if why := bubblewrap.missing():
        pytest.skip(why)
    monkeypatch.setenv(SWITCH, bubblewrap.name)
    path = home / "docker.sock"
    monkeypatch.setattr(policy, "SERVICES", (path,))
    with socket.socket(socket.AF_UNIX) as service:
        monkeypatch.chdir(home)
        service.bind(path.name)  # by a short name
        service.listen()
        lab = make_lab(files={"writable": [str(path)]} if named else {})
        lab.attempt("cd " + str(home) + "\n" + ASKS.format(path=path.name))
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert lab.events("run")[-1]["values"][0] == (1 if named else 200)


def test_who_may_not_ask_a_service_is_told_how_to_allow_it() -> None:
    said = "docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is it running?\n"
    assert not_asked(said) == (
        "; a run in the sandbox may not ask /run/docker.sock: "
        'add "/run/docker.sock" to writable under [files] in autoresearch.toml'
    )
    assert not_asked("no such file: data.csv\n") == ""
    assert not_asked('  File "/data/train/run/user_model.py", line 3, in connect\n') == ""
    assert not_asked("dbus is at /run/user/1000/bus\n") == ""


def test_who_may_not_write_is_told_of_the_place_and_not_of_the_program_that_says_so(lab: Lab) -> None:
    lab.write("autoresearch.toml", task_file(files={"link": ["build/"]}))
    git, task, linker = Git(lab.root), load(lab.root), sys.executable
    says = f"{linker}: cannot open output file build/pack: Permission denied\n"
    told = not_writable(says, git, task, lab.root / "snapshot")
    assert told == (
        '; build/pack is linked into the run, which may not write there: if a run makes it, take "build" out of link '
        "under [files] in autoresearch.toml"
    )
    says = f"{linker}: cannot write /var/elsewhere/out: Permission denied\n"
    assert 'add "/var/elsewhere" to writable' in not_writable(says, git, task, lab.root / "snapshot")
    assert not_writable(f"{linker}: Permission denied\n", git, task, lab.root / "snapshot") == ""


# --- what a run leaves in place of the files that are read after it ---


@pytest.mark.parametrize(
    ("left", "says"),
    [
        ('mkfifo "$AUTORESEARCH_RESULT"', "is no file"),
        (
            'echo \'{"outcome": "ok", "metrics": {"total_ms": 1}}\' > good; ln -s "$PWD/good" "$AUTORESEARCH_RESULT"',
            "cannot be read",
        ),
        ('truncate -s 200M "$AUTORESEARCH_RESULT"', "at most"),
    ],
    ids=["a pipe", "a link", "too much"],
)
def test_a_result_that_is_no_file_of_numbers_is_no_metric(make_lab: Maker, left: str, says: str) -> None:
    lab = make_lab(run={"evaluate": "bash judge.sh"})
    lab.write("src/judge.sh", f"{left}\n")
    lab.attempt("true\n")
    run = lab.events("run")[-1]
    assert run["outcome"] == "no_metric" and says in run["reason"], run


def test_what_a_run_puts_into_the_folders_of_others_is_taken_out_of_them(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, "off")
    planted = lab.workspace.run_dir(2, 77) / "result.json"
    lab.attempt(f"mkdir -p {planted.parent}; echo '{{}}' > {planted}\necho METRIC total_ms=1\n")
    assert lab.events("run")[-1]["outcome"] == "tampered"
    assert not planted.exists()
    assert (lab.workspace.run_dir(2, 1) / "found/runs/2/77/result.json").read_text() == "{}\n"
