"""What a person does and has beside a session: nothing of it is deleted, changed or committed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from lab import INIT, TAG, Called, Lab, Maker, new_repo

from autoresearch.errors import MachineError, PreconditionError
from autoresearch.experiments.attempt import attempt
from autoresearch.system.clock import wall_clock


def meanwhile(lab: Lab, act: Callable[[], object], value: float = 200, *, edits: bool = True) -> Called | None:
    """Measure a change, and act in the folder while the command runs; return what the act returned."""
    go, said = lab.root.parent / "go", []
    if edits:
        lab.edit(f"until [ -e {go} ]; do sleep 0.02; done; echo METRIC total_ms={value}\n")

    def tick(_phase: str, _seconds: float) -> None:
        if not go.exists():
            said.append(act())
            go.touch()

    attempt(lab.workspace, "a change", {}, wall_clock, tick=tick)
    assert len(said) == 1
    found = said[0]
    return found if isinstance(found, Called) else None


class TestDuringARun:
    def test_another_experiment_waits(self, lab: Lab) -> None:
        done = meanwhile(lab, lambda: lab.call("try", "-m", "mine", "--json"))
        assert done is not None and done.code == 5
        assert "experiment 2" in done.json["error"]["message"] and "is running here" in done.json["error"]["message"]
        lab.assert_clean()

    def test_reading_commands_and_notes_work(self, lab: Lab) -> None:
        def act() -> Called:
            assert lab.call("note", "1", "--asi", "a=b").code == 0
            assert lab.call("log").code == 0 and lab.call("resume", "--brief").code == 0
            return lab.call("status", "--json")

        done = meanwhile(lab, act)
        assert done is not None and done.json["running"]["experiment"] == 2
        assert [e["outcome"] for e in lab.events("run")] == ["ok", "ok"]
        assert lab.session.experiments[0].asi == {"a": "b"}

    def test_edits_of_the_mutable_files_survive_the_way_back(self, lab: Lab) -> None:
        lab.write("src/new.txt", "of the experiment\n")
        lab.write("src/other.txt", "of the experiment\n")
        meanwhile(lab, lambda: lab.edit("# the next idea\n"))
        assert lab.events("run")[-1]["status"] == "discard"
        assert (lab.root / "src/run.sh").read_text() == "# the next idea\n"
        assert (lab.root / "src/other.txt").read_text() == "other\n"
        assert not (lab.root / "src/new.txt").exists()
        assert lab.git("status", "--porcelain") == " M src/run.sh"
        assert lab.git("rev-parse", "HEAD") == lab.ref(1)

    def test_the_way_back_beside_edits_knows_line_ends_and_modes(self, lab: Lab) -> None:
        lab.git("config", "core.autocrlf", "true")
        lab.write(".git/info/attributes", "*.sh -text\n")
        lab.write("src/other.txt", "one\r\ntwo\r\n")
        (lab.root / "src/judge.sh").chmod(0o755)
        meanwhile(lab, lambda: lab.edit("# the next idea\n"))
        assert lab.events("run")[-1]["status"] == "discard"
        assert lab.git("status", "--porcelain") == " M src/run.sh"
        assert (lab.root / "src/other.txt").read_bytes() == b"other\r\n"

    def test_edits_survive_a_keep_too(self, lab: Lab) -> None:
        meanwhile(lab, lambda: lab.edit("# the next idea\n"), 50)
        assert lab.events("run")[-1]["status"] == "keep"
        assert (lab.root / "src/run.sh").read_text() == "# the next idea\n"
        assert lab.git("rev-parse", "HEAD") == lab.ref(2)

    @pytest.mark.parametrize("edits", [False, True])
    def test_what_is_staged_meanwhile_stays_staged(self, lab: Lab, edits: bool) -> None:
        def act() -> None:
            lab.write("README.md", "staged\n")
            lab.git("add", "README.md")
            lab.write("README.md", "and edited since\n")
            lab.write("src/notes.txt", "staged\n")
            lab.git("add", "src/notes.txt")
            if edits:
                lab.edit("# the next idea\n")

        meanwhile(lab, act)
        assert lab.events("run")[-1]["status"] == "discard"
        assert lab.git("show", ":README.md") == "staged" and lab.git("show", ":src/notes.txt") == "staged"
        assert (lab.root / "README.md").read_text() == "and edited since\n"
        assert lab.git("rev-parse", "HEAD") == lab.ref(1)

    def test_the_way_back_beside_staged_changes_knows_every_kind_of_path(self, lab: Lab) -> None:
        names = ["with space", "new\nline", "[glob]*", os.fsdecode(b"bytes-\xff"), "-dash"]
        for name in names:
            lab.write(f"src/{name}", "kept\n")
        lab.write("src/was/folder", "kept\n")
        lab.write("src/file", "kept\n")
        (lab.root / "src/link").symlink_to("other.txt")
        assert lab.attempt("echo METRIC total_ms=90\n").code == 0
        for name in names:
            lab.write(f"src/{name}", "worse\n")
        (lab.root / "src/was/folder").unlink()
        (lab.root / "src/was").rmdir()
        lab.write("src/was", "a file now\n")
        (lab.root / "src/file").unlink()
        lab.write("src/file/deep/er", "a folder now\n")
        (lab.root / "src/link").unlink()
        (lab.root / "src/link").symlink_to("elsewhere")

        def act() -> None:
            lab.write("README.md", "staged\n")
            lab.git("add", "README.md")

        meanwhile(lab, act)
        assert lab.events("run")[-1]["status"] == "discard"
        assert lab.git("status", "--porcelain") == "M  README.md"
        assert lab.git("rev-parse", "HEAD") == lab.ref(2)
        assert (lab.root / "src/link").readlink() == Path("other.txt")

    def test_a_switch_of_the_branch_leaves_the_other_branch_alone(self, lab: Lab) -> None:
        main = lab.git("rev-parse", "main")

        def act() -> None:
            lab.git("switch", "-q", "main")
            lab.write("README.md", "mine\n")

        meanwhile(lab, act)
        assert lab.events("run")[-1]["status"] == "discard"
        assert lab.git("branch", "--show-current") == "main" and lab.git("rev-parse", "main") == main
        assert (lab.root / "README.md").read_text() == "mine\n"
        assert lab.git("rev-parse", f"autoresearch/{TAG}") == lab.ref(1)

    def test_a_commit_on_top_is_not_thrown_away(self, lab: Lab) -> None:
        def act() -> None:
            lab.write("README.md", "mine\n")
            lab.git("commit", "-qam", "mine")

        meanwhile(lab, act)
        assert lab.git("log", "-1", "--format=%s") == "mine" and (lab.root / "README.md").read_text() == "mine\n"
        done = lab.call("try", "-m", "x")
        assert done.code == 5 and "git reset" in done.err

    def test_an_interruption_by_hand_decides_nothing_and_puts_the_folder_back(self, lab: Lab) -> None:
        def act() -> None:
            raise KeyboardInterrupt

        with pytest.raises(MachineError, match="nothing was decided"):
            meanwhile(lab, act)
        assert lab.events("run")[-1]["outcome"] == "killed" and lab.events("run")[-1]["metric"] is None
        lab.assert_clean()

    def test_an_immutable_file_that_is_edited_meanwhile_is_a_persons_in_the_sandbox(
        self, make_lab: Maker, sandboxed: bool
    ) -> None:
        lab = make_lab(metric={"exact": True})  # one run: a second one would ask at once
        meanwhile(lab, lambda: lab.write("bench.sh", "echo METRIC total_ms=0\n"), 50)
        run = lab.events("run")[-1]
        if sandboxed:  # no run can have done it: the number stands, and the next command asks
            assert run["metric"] == 50
            assert lab.call("check").code == 4 and lab.call("try", "-m", "x").code == 4
        else:  # somebody did it, and it is put back; nothing is lost of what was found
            assert (run["outcome"], run["metric"]) == ("tampered", None) and "bench.sh was changed" in run["reason"]
            assert lab.call("check").code == 0
            assert "total_ms=0" in (lab.workspace.run_dir(2, 1) / "found/bench.sh").read_text()


def contents(root: Path) -> dict[str, tuple[int, str, int]]:
    """Return path -> mode, hash of the content (target of a link) and mtime of everything but git's own and ours."""
    found = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in (".git", ".autoresearch")]
        for name in [*folders, *files]:
            path = Path(folder) / name
            about = path.lstat()
            if path.is_symlink():
                content = os.fsencode(path.readlink())
            else:
                content = path.read_bytes() if path.is_file() else b"folder"
            mtime = 0 if path.is_dir() else about.st_mtime_ns
            found[str(path.relative_to(root))] = (
                stat.S_IMODE(about.st_mode), hashlib.sha256(content).hexdigest(), mtime)  # fmt: skip
    return found


OURS = {"autoresearch.toml", "autoresearch.jsonl", "autoresearch.md", "autoresearch.sh"}


FOR_AGENTS = {".agents", ".claude", ".codex", "AGENTS.md", "program.md"}
"""What `init` writes for coding agents; tests/cli/test_for_agents.py checks that none of a person's is touched."""


def inventory(lab: Lab) -> dict[str, object]:
    """Return everything a person has here, the session's own files, branch and refs left out."""
    refs = lab.git("for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    return {
        "files": {
            path: about
            for path, about in contents(lab.root).items()
            if path not in OURS and path.split("/")[0] not in FOR_AGENTS
        },
        "tree": contents(lab.root.parent / "tree"),
        "refs": [r for r in refs if not r.startswith(("refs/autoresearch/", f"refs/heads/autoresearch/{TAG} "))],
        "stash": lab.git("stash", "list"),
        "stashed": lab.git("stash", "show", "-p", "--include-untracked", "stash@{0}"),
        "status": lab.git("status", "--porcelain", "--ignored=no"),
        "config": (lab.root / ".git/config").read_text(),
        "hooks": sorted(path.name for path in (lab.root / ".git/hooks").iterdir()),
        "submodule": Lab(lab.root / "lib").git("status", "--porcelain", "--branch"),
        "tree's status": Lab(lab.root.parent / "tree").git("status", "--porcelain", "--branch"),
    }


def furnish(lab: Lab) -> None:
    """Put into a repository what people have lying around."""
    library = new_repo(lab.root.parent / "library")
    lab.write(".gitignore", "*.log\nbuild/\n/data/\n")
    lab.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library.root), "lib")
    lab.write("tool.sh", "#!/bin/sh\n", mode=0o750)
    (lab.root / "link").symlink_to("README.md")
    (lab.root / "dangling").symlink_to("nowhere")
    lab.commit("furniture")
    lab.git("worktree", "add", "-q", "-b", "second", str(lab.root.parent / "tree"))
    Lab(lab.root.parent / "tree").write("README.md", "edited in the other tree\n")
    lab.write("README.md", "stashed\n")
    lab.write("stashed-untracked", "stashed\n")
    lab.git("stash", "-q", "-u")
    lab.git("tag", "v1")
    lab.write("notes.txt", "untracked in the root\n", mode=0o600)
    lab.write("deep/er/notes.txt", "untracked in a folder\n")
    lab.write("src/mine.txt", "untracked in the mutable folder\n")
    lab.write("src/deep/mine.txt", "untracked deeper\n", mode=0o640)
    lab.write("src/run.log", "ignored in the mutable folder\n")
    lab.write("src/build/out.o", "ignored folder in the mutable folder\n")
    lab.write("data/train.bin", "ignored data\n", mode=0o444)
    lab.write("lib/mine.txt", "untracked in the submodule\n")
    lab.write("src/__pycache__/x.pyc", "cache\n")
    (lab.root / "empty/empty").mkdir(parents=True)
    (lab.root / "src/empty").mkdir()
    nested = lab.root / "src/nested"
    new_repo(nested)
    (lab.root / "README.md").chmod(0o664)
    for folder, _, files in os.walk(lab.root):
        if ".git" not in Path(folder).parts:
            for name in files:
                os.utime(Path(folder) / name, (1_500_000_000, 1_500_000_000), follow_symlinks=False)
    lab.git("status")


@pytest.mark.slow
def test_nothing_that_a_person_has_is_changed_by_a_session(tmp_path: Path) -> None:
    new_repo(tmp_path / "lab")
    lab = Lab(tmp_path / "lab")
    furnish(lab)
    before = inventory(lab)

    def step(*words: str, script: str | None = None) -> Called:
        if script is not None:
            lab.edit(script)
        done = lab.call(*words)
        assert done.code == 0, done
        return done

    step(*INIT)
    step("baseline")
    step("try", "-m", "keep", script="echo METRIC total_ms=50\n")
    step("try", "-m", "discard", script="echo METRIC total_ms=70\n")
    step("try", "-m", "crash", script="rm -rf * .git*; exit 1\n")
    lab.edit("kill -KILL $PPID; kill -KILL $$\n")
    lab.write("src/new/of the experiment", "x")
    # the engine itself dies in the middle
    child = os.fork()
    if child == 0:
        attempt(lab.workspace, "killed", {}, wall_clock, tick=lambda *_: os._exit(9))
        os._exit(0)
    os.waitpid(child, 0)
    step("resume")
    for words in (("status",), ("log",), ("show", "3", "--diff"), ("check",), ("note", "3", "--asi", "a=b"),
                  ("ideas", "--add", "an idea"), ("doctor",)):  # fmt: skip
        lab.call(*words)
    (lab.root / "autoresearch.ideas.md").unlink()
    after = inventory(lab)
    changed = {"src/run.sh"}
    for key, had in before.items():
        if key == "files":
            assert isinstance(had, dict) and isinstance(after[key], dict)
            mine = {path: about for path, about in had.items() if path not in changed}
            assert {path: about for path, about in after[key].items() if path not in changed} == mine
        else:
            assert after[key] == had, key
    made = lab.git("log", "--format=", "--name-only", "--all", "--not", "main", "second", "stash").split("\n")
    assert {*made} <= {"src/run.sh", "autoresearch.toml", "src/new/of the experiment", ""}, made


@pytest.mark.parametrize("where", ["README.md", "new.txt"])
def test_staged_changes_are_named_by_init_and_stay_staged(tmp_path: Path, where: str) -> None:
    repo = new_repo(tmp_path / "repo")
    repo.write(where, "staged\n")
    repo.git("add", where)
    repo.write(where, "edited\n")
    done = repo.call(*INIT)
    assert done.code == 5 and where in done.err
    assert repo.git("show", f":{where}") == "staged" and (repo.root / where).read_text() == "edited\n"


def test_what_lay_untracked_in_a_mutable_folder_is_never_committed(tmp_path: Path) -> None:
    new_repo(tmp_path / "lab")
    lab = Lab(tmp_path / "lab")
    lab.write("src/secret.env", "KEY=1\n")
    assert lab.call(*INIT).code == 0 and lab.call("baseline").code == 0
    lab.write("src/secret.env", "KEY=2\n")
    done = lab.call("try", "-m", "x")
    assert done.code == 5 and "nothing has changed" in done.err
    for value in (50, 70):
        lab.prints(value)
        assert lab.call("try", "-m", "x").code == 0
    assert "secret" not in lab.git("log", "--all", "--format=", "--name-only")
    assert (lab.root / "src/secret.env").read_text() == "KEY=2\n"


def test_a_refused_experiment_leaves_edits_and_index_as_they_are(lab: Lab) -> None:
    lab.write("src/bad.py", "def\n")
    lab.prints(1)
    lab.git("add", "src/run.sh")
    with pytest.raises(PreconditionError):
        attempt(lab.workspace, "x", {}, wall_clock)
    assert lab.git("status", "--porcelain").splitlines() == ["M  src/run.sh", "?? src/bad.py"]


def test_the_log_of_git_can_be_read_without_us(make_lab: Maker) -> None:
    lab = make_lab()
    lab.edit("echo METRIC total_ms=50\n")
    assert lab.call("try", "-m", "quicker", "--asi", "why=less work").code == 0
    assert lab.git("log", "-1", "--format=%an|%s|%b") == "A Person|quicker|why: less work"


def test_the_last_pattern_of_a_persons_exclude_file_stays_one(tmp_path: Path) -> None:
    repo = new_repo(tmp_path / "repo")
    exclude = repo.root / ".git/info/exclude"
    exclude.write_bytes(b"\xff.tmp\n*.pkl")
    assert repo.call(*INIT).code == 0
    lines = exclude.read_bytes().splitlines()
    assert lines[:2] == [b"\xff.tmp", b"*.pkl"] and b"/autoresearch.jsonl" in lines
