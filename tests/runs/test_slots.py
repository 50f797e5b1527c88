"""A snapshot folder that is kept is what its commit is, whatever the run before has done to it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from drawn import drawn
from lab import Lab, Maker, Repo

from autoresearch.runs import slot as slots
from autoresearch.runs.measure import measure
from autoresearch.runs.slot import Slot
from autoresearch.runs.spec import RunContext
from autoresearch.system.git import Git
from autoresearch.workspace.task_file import load

LIST = r"""find . -mindepth 1 -printf '%P %y %m %l\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum"""
"""Prints every entry of the present folder with its kind, mode, target and content."""

LOOK = f"({LIST}) > $AUTORESEARCH_RUN_DIR/seen\necho METRIC total_ms=200\n"

MISCHIEF = {
    "a file of the same size whose time is set back": r"""
python3 - <<'X'
import os
before = os.stat("src/other.txt")
open("src/other.txt", "r+").write("ather")
os.utime("src/other.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
X
""",
    "a file written in place with what it had": "cat README.md > copy; cat copy > README.md; rm copy",
    "a longer file": "echo more >> README.md",
    "a hard link to the outside": 'ln README.md "$AUTORESEARCH_RUN_DIR/outside" || true',
    "a file replaced by a link": "rm README.md; ln -s /etc/passwd README.md",
    "a folder replaced by a link": 'mkdir "$AUTORESEARCH_RUN_DIR/mine"; rm -r tests; '
    'ln -s "$AUTORESEARCH_RUN_DIR/mine" tests',
    "a folder moved away": 'mv tests "$AUTORESEARCH_RUN_DIR/" || true',
    "a folder moved away and a copy put in its place": "cp -a tests t; rm -r tests; mv t tests",
    "a folder moved and moved back": "mv tests t; echo x >> t/test_it.sh; mv t tests",
    "a folder in place of a file": "rm README.md; mkdir README.md; echo x > README.md/x",
    "a file in place of a folder": "rm -r tests; echo x > tests",
    "new files, ignored ones too": "echo x > new; mkdir -p src/__pycache__; echo > src/__pycache__/a.pyc; echo > .x",
    "an empty folder": "mkdir -p src/empty/deep",
    "a name with a newline": "touch $'src/a\nb'",
    "other modes": "chmod 777 README.md; chmod 700 src; chmod +x src/other.txt",
    "a folder that cannot be read": "mkdir src/shut; echo x > src/shut/x; chmod 000 tests src/shut",
    "attributes of a folder": 'python3 -c \'import os; os.setxattr("tests", "user.x", b"1")\' || true',
    "everything deleted": "rm -rf ./* .g*",
    "a child that goes on writing": "(setsid sh -c 'while sleep 0.01; do echo x >> README.md; done' &) ; sleep 0.1",
    "a child that holds a file open": "(setsid sh -c 'exec 3>>README.md; sleep 60; echo x >&3' &) ; sleep 0.1",
    "a child that holds a file mapped": r"""
cat > held.py <<'X'
import mmap, os, time
file = os.open("README.md", os.O_RDWR)
memory = mmap.mmap(file, 0)
time.sleep(60)
memory[:4] = b"held"
X
(setsid python3 held.py &); sleep 0.3
""",
}

OUTSIDE = {
    "the whole folder replaced by a link": 'cd ..; mv train away; ln -s "$AUTORESEARCH_RUN_DIR" train',
    "the whole folder replaced by a copy": "cd ..; cp -a train t; rm -r train; mv t train; echo x >> train/README.md",
    "the slots replaced by a link": 'cd ../..; mv 0 "$AUTORESEARCH_RUN_DIR/0"; ln -s "$AUTORESEARCH_RUN_DIR/0" 0',
    "a changed file in a record that says so": """
echo changed > README.md
python - <<'X'
from pathlib import Path
from autoresearch.runs import slot

pytestmark = pytest.mark.slow
here = slot.Slot(Path.cwd())
known = here._read()
known.entries = dict(slot._walk(Path.cwd()))
here._write(known)
X
""",
    "a changed file in an index that says so": "echo changed > README.md; "
    "GIT_DIR=/nowhere true; cp ../train.index i; cat i > ../train.index; rm i",
    "a record that is no record": "head -c 300 /dev/urandom > ../train.record",
    "no index": "rm ../train.index",
    "a lock": "touch ../train.index.lock; rm ../train.record",
}
"""What only a run without a sandbox can do."""


def expected(lab: Lab, commit: str) -> str:
    """Return what a run must see: the commit as git writes it into a new folder, with the session's scripts."""
    folder = lab.root.parent / f"expected {commit}"
    folder.mkdir()
    index = str(folder.with_suffix(".index"))
    command = ["git", "-c", "core.bare=false", "read-tree", "--reset", "-u", commit]
    env = {**os.environ, "GIT_INDEX_FILE": index, "GIT_WORK_TREE": str(folder), "GIT_DIR": str(lab.root / ".git")}
    subprocess.run(command, cwd=lab.root, env=env, check=True)
    shutil.copy2(lab.root / "autoresearch.sh", folder / "autoresearch.sh")
    return subprocess.run(["bash", "-c", LIST], cwd=folder, capture_output=True, text=True, check=True).stdout


def seen(lab: Lab, number: int) -> str:
    return (lab.workspace.run_dir(number, 1) / "seen").read_text()


def looked_after(lab: Lab, mischief: str) -> None:
    """Let a run do something to its folder; check what the next run sees."""
    context = RunContext(lab.workspace, Git(lab.root), load(lab.root))
    commits = []
    for script in (mischief, LOOK):
        lab.edit(f"{script}\necho METRIC total_ms=200\n")
        commits.append(lab.commit())
    measure(context, context.spec(lab.ref(1), 2, 1))
    assert measure(context, context.spec(commits[0], 3, 1)).outcome == "ok"
    assert lab.processes() == []
    outside = lab.workspace.run_dir(3, 1) / "outside"
    if outside.exists():
        outside.write_text("written later, through the link\n")
    assert measure(context, context.spec(commits[1], 4, 1)).outcome == "ok"
    assert seen(lab, 4) == expected(lab, commits[1])


@pytest.mark.slow
@pytest.mark.parametrize("what", drawn(MISCHIEF, 0.5, "mischief"))
def test_the_next_run_finds_nothing_of(lab: Lab, what: str, sandboxed: bool) -> None:
    looked_after(lab, MISCHIEF[what])


@pytest.mark.slow
@pytest.mark.parametrize("what", OUTSIDE)
def test_without_a_sandbox_the_next_run_finds_nothing_of(lab: Lab, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTORESEARCH_SANDBOX", "off")
    looked_after(lab, OUTSIDE[what])


def test_what_a_link_leads_to_is_not_deleted(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTORESEARCH_SANDBOX", "off")
    mine = tmp_path / "mine"
    (mine / "deep").mkdir(parents=True)
    (mine / "deep" / "file").write_text("a person's\n")
    looked_after(lab, f"rm -r tests; ln -s {mine} tests; rm -r ../train; ln -s {mine} ../train")
    assert (mine / "deep" / "file").read_text() == "a person's\n"
    assert sorted(path.name for path in mine.rglob("*")) == ["deep", "file"]


def test_what_no_run_has_touched_stays_the_same_file(lab: Lab) -> None:
    def numbers() -> dict[str, int]:
        folder = lab.workspace.slot / "train"
        return {str(p.relative_to(folder)): p.stat().st_ino for p in folder.rglob("*") if p.is_file()}

    lab.attempt("echo METRIC total_ms=201\n")
    before = numbers()
    lab.attempt("echo x >> README.md; echo METRIC total_ms=200\n")
    lab.attempt("echo METRIC total_ms=202\n")
    after = numbers()
    assert before.keys() == after.keys()
    assert {path for path in before if before[path] != after[path]} <= {"README.md", "src/run.sh"}  # or used again


def test_what_a_run_has_added_takes_no_space_after_it(lab: Lab) -> None:
    lab.attempt("mkdir deep src/deep; head -c 100000 /dev/zero | tee big deep/big src/deep/big > /dev/null\n")
    folder = lab.workspace.slot / "train"
    assert [p for p in folder.rglob("*") if p.name in ("big", "deep")] == []


def test_the_evaluator_has_a_folder_that_no_trainer_has_touched(make_lab: Maker, sandboxed: bool) -> None:
    lab = make_lab(run={"evaluate": "bash judge.sh"}, files={"immutable": ["bench.sh", "autoresearch.toml"]})
    for number in (2, 3):
        lab.write("src/judge.sh", LOOK + f"true {number}\n")
        touch = "for f in README.md ../evaluate/README.md; do echo x >> $f || true; done; rm -f ../evaluate/bench.sh\n"
        assert lab.attempt(f"{touch}\ntrue {number}\n").code == 0
        assert lab.events("run")[-1]["outcome"] == "ok", lab.events("run")[-1]
        assert seen(lab, number) == expected(lab, lab.ref(number))


# --- from commit to commit ---


@pytest.fixture
def slot(repo: Repo, tmp_path: Path) -> Slot:
    return Slot(tmp_path / "slots" / "train")


def holds(slot: Slot, repo: Repo, commit: str) -> bool:
    """Bring the slot to a commit, and say whether it is what git makes of it elsewhere."""
    slot.bring(Git(repo.root), commit)
    fresh = Slot(slot.folder.with_name("fresh"))
    shutil.rmtree(fresh.folder, ignore_errors=True)
    fresh.record.unlink(missing_ok=True)
    fresh.bring(Git(repo.root), commit)
    told = [
        subprocess.run(["bash", "-c", LIST], cwd=folder, capture_output=True, text=True, check=True).stdout
        for folder in (slot.folder, fresh.folder)
    ]
    entries = slot._read()
    assert entries is not None and entries.entries == dict(slots._walk(slot.folder)), "the record is not what is there"
    return told[0] == told[1]


def test_a_slot_follows_every_kind_of_change(repo: Repo, slot: Slot) -> None:
    commits = [repo.git("rev-parse", "HEAD")]

    def commit() -> None:
        commits.append(repo.commit(f"number {len(commits)}"))

    repo.write("src/run.sh", "echo another\n")
    commit()
    repo.write("new/deep/file", "x")
    (repo.root / "README.md").unlink()
    commit()
    shutil.rmtree(repo.root / "new")
    repo.write("new", "a file where a folder was")
    commit()
    (repo.root / "src/run.sh").chmod(0o755)
    (repo.root / "src/link").symlink_to("other.txt")
    commit()
    (repo.root / "src/link").unlink()
    repo.write("src/link/inside", "a folder where a link was")
    commit()
    repo.write("other/a\nb", "a name with a newline")
    commit()
    repo.write(".gitattributes", "*.txt text eol=crlf\n")
    commit()
    assert all(holds(slot, repo, c) for c in [*commits, *reversed(commits), commits[0], commits[-1], commits[2]])


def test_settings_that_change_what_git_writes_make_it_anew(repo: Repo, slot: Slot) -> None:
    head = repo.git("rev-parse", "HEAD")
    assert holds(slot, repo, head)
    repo.git("config", "core.autocrlf", "true")
    assert holds(slot, repo, head) and b"\r\n" in (slot.folder / "README.md").read_bytes()


def test_sparse_checkouts_of_a_person_do_not_reach_it(repo: Repo, slot: Slot) -> None:
    repo.git("sparse-checkout", "set", "src")
    assert holds(slot, repo, repo.git("rev-parse", "HEAD")) and (slot.folder / "tests/test_it.sh").exists()


def test_a_slot_whose_change_was_cut_short_is_made_anew(repo: Repo, slot: Slot) -> None:
    first = repo.git("rev-parse", "HEAD")
    repo.write("src/run.sh", "echo another\n")
    second = repo.commit()
    slot.bring(Git(repo.root), first)
    slots.forget(slot)  # what a kill leaves: no record, a file of the next commit, the lock of its git
    (slot.folder / "src/run.sh").write_text("half")
    (slot.folder / "left").write_text("x")
    slot.index.with_name("train.index.lock").touch()
    assert holds(slot, repo, second)


def test_a_file_system_that_keeps_whole_seconds_is_not_trusted(
    repo: Repo, slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = slots._state
    monkeypatch.setattr(slots, "_state", lambda about: (*real(about)[:-1], real(about)[-1] // 10**9 * 10**9))
    head = repo.git("rev-parse", "HEAD")
    slot.bring(Git(repo.root), head)
    assert not slot.record.exists()
    before = (slot.folder / "README.md").stat().st_ino
    (slot.folder / "README.md").write_text("x")
    slot.bring(Git(repo.root), head)
    assert (slot.folder / "README.md").read_text() == "read me\n"
    assert before


def test_a_run_begins_after_the_times_of_its_files_have_passed(repo: Repo, slot: Slot) -> None:
    slot.bring(Git(repo.root), repo.git("rev-parse", "HEAD"))
    newest = max(p.lstat().st_ctime_ns for p in slot.folder.rglob("*"))
    later = slot.folder / "written by a run"
    later.touch()
    assert later.lstat().st_ctime_ns - newest >= slots.SETTLED_NS / 2, "its time may be a tick of 10 ms behind"


def test_submodules_are_in_it_and_are_made_anew_when_touched(repo: Repo, slot: Slot, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    shutil.copytree(repo.root, inner)
    repo.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "sub")
    with_sub = repo.commit("a submodule")
    assert holds(slot, repo, with_sub) and (slot.folder / "sub/README.md").exists()
    number = (slot.folder / "sub/README.md").stat().st_ino
    repo.write("src/run.sh", "echo another\n")
    after = repo.commit()
    assert holds(slot, repo, after) and (slot.folder / "sub/README.md").stat().st_ino == number
    (slot.folder / "sub/README.md").write_text("changed")
    assert holds(slot, repo, after) and (slot.folder / "sub/README.md").read_text() == "read me\n"


def test_what_an_evaluation_has_written_cannot_be_read_by_a_later_run(make_lab: Maker, sandboxed: bool) -> None:
    lab = make_lab(run={"evaluate": "bash judge.sh"}, files={"immutable": ["bench.sh", "autoresearch.toml"]})
    lab.write("src/judge.sh", "echo secret > README.md; echo secret > new; echo METRIC total_ms=200\n")
    assert lab.attempt("true 2\n").code == 0
    lab.write("src/judge.sh", "echo METRIC total_ms=200\n")
    look = 'grep -rsh secret ../train ../evaluate > "$AUTORESEARCH_RUN_DIR/seen"; true'
    assert lab.attempt(f"{look}\n").code == 0
    assert lab.events("run")[-1]["outcome"] == "ok"
    assert [line for line in seen(lab, 3).splitlines() if line == "secret"] == []
