"""A session to kill commands in, what kills them, and an independent reader that checks what they left."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from made_once import made_once
from waiting import PATIENCE_S

from autoresearch.runs import slot

FILE = "number.txt"
"""The mutable file: a number, how long the run takes or the file that it waits for, a word that makes it a new one."""

HOLD = r"""
hold() {                              # so many seconds, or until there is a file of this name
    case "$1" in /*) until [ -e "$1" ]; do sleep 0.02; done ;; *) sleep "$1" ;; esac
}
"""

BENCH = (
    HOLD
    + r"""
read -r number pause word < number.txt
setsid sleep 60 > /dev/null 2>&1 &    # a child that leaves the group
hold "$pause"
echo "METRIC loss=$number"
"""
)

NOISY = (
    HOLD
    + r"""
read -r number pause word < number.txt
hold "$pause"
echo "METRIC loss=$(awk -v n="$number" -v s="$AUTORESEARCH_SEED" 'BEGIN { print n + (s * 37 % 11) / 100 }')"
"""
)

GUARDED = (
    NOISY
    + r"""
costs=$(awk -v n="$number" 'BEGIN { print (n < 99) ? 0.03 : 0 }')   # what is far better is less accurate
echo "METRIC acc=$(awk -v c="$costs" -v s="$AUTORESEARCH_SEED" 'BEGIN { print 0.9 - c + (s * 37 % 11) / 1000 }')"
"""
)

TRAIN = (
    HOLD
    + r"""
read -r number pause word < number.txt
hold "$pause"
echo "$number" > "$AUTORESEARCH_RUN_DIR/weights"
"""
)

JUDGE = r"""
sleep 0.05
number=$(cat "$AUTORESEARCH_RUN_DIR/weights")
told='{"outcome": "ok", "split": "%s", "metrics": {"loss": %s}}'
printf "$told" "$AUTORESEARCH_SPLIT" "$number" > "$AUTORESEARCH_RESULT"
"""

VARIANTS = {"exact": BENCH, "noisy": NOISY, "evaluated": TRAIN, "guarded": GUARDED}

DRIVER = r"""
import os, signal, sys
from autoresearch.cli import history, output  # everything that a command imports
from autoresearch.cli.app import program
from autoresearch.experiments import attempt, recovery
from autoresearch.runs import measure, slot
from autoresearch.system import files, git, process
from autoresearch.workspace import journal_mirror, session_journal

at, trace, arguments = sys.argv[1], sys.argv[2], sys.argv[3:]
passed = 0

def point(name):
    global passed
    passed += 1
    with open(trace, "a") as file:
        file.write(name + "\n")
    if at in (str(passed), name):
        os.kill(os.getpid(), signal.SIGKILL)

def wrap(owner, name, told=lambda *args: None):
    real = getattr(owner, name)
    def wrapped(*args, **kwargs):
        what = told(*args) or name
        point("before " + what)
        result = real(*args, **kwargs)
        point("after " + what)
        return result
    for module in [owner, *(m for n, m in sys.modules.items() if n.startswith("autoresearch"))]:
        if getattr(module, name, None) is real:
            setattr(module, name, wrapped)

CHANGING = ("update-index", "commit", "update-ref", "reset", "checkout", "restore", "read-tree", "checkout-index",
            "unpack-objects")
real_process = git.Git.process
def git_process(self, args, **kwargs):
    name = next((a for a in args if a in CHANGING), None)
    if name: point("before git " + name)
    done = real_process(self, args, **kwargs)
    if name: point("after git " + name)
    return done
git.Git.process = git_process

wrap(session_journal, "append",
     lambda _, event: "append " + (event[0] if isinstance(event, list) else event).get("type", "run"))
wrap(journal_mirror, "_keep_up", lambda *_: "mirroring")
wrap(git.Git, "commit")
wrap(git.Git, "update_ref")
wrap(git.Git, "go_back")
wrap(files, "write_atomic", lambda path, *_: "write " + path.name)
wrap(files, "remove_tree")
wrap(slot, "undo", lambda *_: "undoing what a run left")
wrap(slot, "forget", lambda *_: "taking the record away")
wrap(process, "run_limited")
wrap(process, "_pump", lambda *_: "the command, which runs")
output.run(program(arguments), arguments)
"""
"""Runs a command and kills itself at the `at`-th point, or at the first of that name; each point that it passes is a
line of `trace`."""


@dataclass
class Lab:
    """A session with a quick command, and what a person and an independent reader know of it."""

    folder: Path
    env: dict[str, str]
    edits: list[str] = field(default_factory=list)
    """Every version of the file that was written and may not be lost."""
    given_up: set[str] = field(default_factory=set)
    """Versions that the person wrote over before they were measured."""
    words: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    least: float = float("-inf")
    """Lower numbers break a guard."""

    # --- doing ---

    def add_to_task(self, text: str) -> str:
        """Write more into the task file, before there is a baseline; return what it is then."""
        toml = self.folder / "autoresearch.toml"
        toml.write_text(toml.read_text() + text)
        return toml.read_text()

    def git(self, *args: str, check: bool = True) -> str:
        done = subprocess.run(["git", *args], cwd=self.folder, capture_output=True, text=True, env=self.env)
        assert not check or done.returncode == 0, (args, done.stderr)
        return done.stdout.strip()

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "autoresearch", *args]

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        command = self.command(*args)
        return subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, env=self.env, timeout=PATIENCE_S
        )

    def json(self, *args: str) -> dict[str, Any]:
        done = self.run(*args, "--json")
        assert done.returncode == 0, (args, done.stdout, done.stderr)
        view: dict[str, Any] = json.loads(done.stdout)
        return view

    def start(self, *args: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(*args),
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def drive(self, at: int | str, *args: str) -> list[str]:
        """Run a command that kills itself at its `at`-th point (0: never), or at the first of that name; return the
        points that it passed."""
        driver, trace = self.folder.parent / "driver.py", self.folder.parent / "trace"
        driver.write_text(DRIVER)
        trace.write_text("")
        command = [sys.executable, str(driver), str(at), str(trace), *args]
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=PATIENCE_S
        )
        points = trace.read_text().splitlines()
        if at in points or (isinstance(at, int) and 0 < at <= len(points)):
            assert done.returncode == -signal.SIGKILL, (points, done.stderr)
        return points

    def saved(self) -> Callable[[], None]:
        """Keep the session as it is now; return what brings it back."""
        kept, edits, given_up = self.folder.with_name("saved"), [*self.edits], {*self.given_up}
        shutil.copytree(self.folder, kept, symlinks=True)

        def restore() -> None:
            shutil.rmtree(self.folder)
            shutil.copytree(kept, self.folder, symlinks=True)
            copied(self)
            self.edits[:], self.given_up = edits, {*given_up}

        return restore

    def edit(self, number: float, pause: float | Path = 0.05) -> str:
        """Write a version of the file that was never there before."""
        content = f"{number} {pause} word{next(self.words)}\n"
        (self.folder / FILE).write_text(content)
        self.edits.append(content)
        return content

    def gather(self) -> None:
        """Do what `try` asks for when there are edits on top of a commit that was not measured."""
        if self.incumbent != self.head and self.content != self.version("HEAD"):
            self.given_up.add(self.version("HEAD"))
            self.git("reset", "-q", "--soft", self.incumbent or "")

    def edit_worse(self, pause: float | Path = 0.05) -> str:
        return self.edit(self.best + 1, pause)

    def edit_better(self, pause: float | Path = 0.05) -> str:
        return self.edit(self.best - 1, pause)

    # --- asking, without the package ---

    @property
    def content(self) -> str:
        return (self.folder / FILE).read_text()

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def events(self) -> list[dict[str, Any]]:
        """Return the journal line by line; every line must be an object."""
        return [json.loads(line) for line in (self.folder / "autoresearch.jsonl").read_text().splitlines()]

    def starts(self) -> dict[int, dict[str, Any]]:
        return {e["experiment"]: e for e in self.events() if e.get("type") == "start"}

    def verdicts(self) -> dict[int, dict[str, Any]]:
        return {e["run"]: e for e in self.events() if "run" in e}

    @property
    def incumbent(self) -> str | None:
        kept = [n for n, e in self.verdicts().items() if e["status"] == "keep"]
        commit: str | None = self.starts()[kept[-1]]["commit"] if kept else None
        return commit

    @property
    def best(self) -> float:
        return float(self.version(self.incumbent or "HEAD").split()[0])

    def version(self, commit: str) -> str:
        return self.git("show", f"{commit}:{FILE}") + "\n"

    def locks(self) -> list[str]:
        return sorted(p.name for p in (self.folder / ".git").rglob("*.lock"))

    def marked(self) -> list[int]:
        """Return the processes of this session's runs."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get("AUTORESEARCH_RUN_DIR", "").startswith(str(self.folder)):
                    found.append(process.pid)
        return found

    def window(self) -> str:
        """Say where a kill has landed, from what it left."""
        try:
            events = self.events()
        except ValueError:
            return "in a journal line"
        starts = [e for e in events if e.get("type") == "start"]
        commits = {e["commit"] for e in starts}
        state = self.folder / ".autoresearch"
        done = {e["run"] for e in events if "run" in e}
        head = self.head
        if self.locks():
            return "in git: " + ", ".join(self.locks())
        if starts and starts[-1]["experiment"] not in done:
            if (state / "running.json").exists():
                seed = json.loads((state / "running.json").read_text())["seed"]
                return "during a run" if seed == 1 else "during a later run"
            number = starts[-1]["experiment"]
            has_ref = self.git("rev-parse", "--verify", "-q", f"refs/autoresearch/t/{number}", check=False)
            return "between runs" if has_ref else "between start and ref"
        if head not in commits:
            return "between commit and start"
        if starts and head == starts[-1]["commit"] != self.incumbent:
            return "between verdict and git"
        if self.git("diff", "--cached", "--name-only"):
            return "between git update-index and git commit"
        return "before the commit" if self.content != self.version("HEAD") else "after the end"

    # --- checking ---

    def resume(self) -> list[str]:
        repaired: list[str] = self.json("resume")["repaired"]
        return repaired

    def check(self, pending: str | None = None) -> None:
        """Check every promise after `resume`; `pending` is an edit that must lie in the folder as it was written."""
        events = self.events()
        numbers = [e["experiment"] for e in events if e.get("type") == "start"]
        judged = [e["run"] for e in events if "run" in e]
        assert numbers == [*range(1, len(numbers) + 1)]
        assert sorted(judged) == numbers, "each start has exactly one verdict"
        starts, verdicts = self.starts(), self.verdicts()
        commits = {e["commit"] for e in starts.values()}
        refs = dict(
            line.split()[::-1] for line in self.git("for-each-ref", "--format=%(objectname) %(refname)").splitlines()
        )
        for number in numbers:
            assert refs[f"refs/autoresearch/t/{number}"] == starts[number]["commit"]
        self._check_verdicts(starts, verdicts)
        self._check_mirror()

        head, incumbent = self.head, self.incumbent
        assert refs["refs/heads/autoresearch/t"] == head
        waiting = incumbent is not None and head != incumbent
        if waiting:
            assert head not in commits
            assert self.git("rev-list", "--parents", "-n", "1", head).split() == [head, incumbent]
        known = {*commits, *([head] if waiting else [])}
        begin = self.git("rev-list", starts[1]["commit"] if starts else head).splitlines()
        assert {*self.git("rev-list", "--all").splitlines()} <= {*known, *begin}

        found = {self.version(commit) for commit in known} | {self.content} | self.given_up
        assert {*self.edits} <= found, f"lost: { ({*self.edits} - found) }"
        # A commit that git was killed in has an object and no name: what it held must not be lost either.
        nameless = [line.split()[2] for line in self.unreachable() if "commit" in line]
        for commit in {*nameless, *self.git("rev-list", "--reflog").splitlines()} - known - {*begin}:
            assert self.version(commit) in found

        dirty = self.git("status", "--porcelain", "--untracked-files=all").splitlines()
        assert [line[3:] if line[2] == " " else line[2:] for line in dirty] in ([], [FILE])
        if dirty:
            assert self.content in self.edits
        if pending is not None:
            assert self.content == pending

        assert self.marked() == []
        assert self.locks() == []
        state = self.folder / ".autoresearch"
        assert not (state / "scratch").exists() or not [*(state / "scratch").iterdir()]
        assert not (state / "running.json").exists() and not (state / "git-at-work").exists()

    def _check_mirror(self) -> None:
        """The mirror has the journal up to its last verdict at least, byte by byte."""
        ref, journal = "refs/autoresearch/t/0-journal", (self.folder / "autoresearch.jsonl").read_bytes()
        pieces = [name for name in self.git("ls-tree", "--name-only", ref).splitlines() if name.isdigit()]
        objects = [f"{ref}:{piece}" for piece in sorted(pieces)]
        shown = subprocess.run(["git", "show", *objects], cwd=self.folder, env=self.env, capture_output=True)
        assert pieces and shown.returncode == 0
        last = max(journal.rfind(b'\n{"run":'), journal.rfind(b'{"type":"study_end"'), 0)
        assert journal.startswith(shown.stdout) and len(shown.stdout) > last, (shown.stdout[-300:], journal[-300:])

    def _check_verdicts(self, starts: dict[int, dict[str, Any]], verdicts: dict[int, dict[str, Any]]) -> None:
        """Decide every experiment again: the lower number is better, by far more than the noise."""
        best = None
        for number, verdict in verdicts.items():
            value = float(self.version(starts[number]["commit"]).split()[0])
            if verdict["outcome"] == "killed":
                assert verdict["status"] == "crash" and verdict["metric"] is None
                continue
            kept = best is None or self.least <= value < best
            assert verdict["status"] == ("keep" if kept else "discard"), (number, verdict)
            assert verdict["metric"] == pytest.approx(value, abs=0.2)
            assert starts[number]["parent"] is None or verdict["parent"] == starts[number]["parent"]
            best = value if kept else best

    def unreachable(self) -> list[str]:
        """Return the objects that no name leads to, as git tells them; every object must be whole."""
        done = subprocess.run(
            ["git", "fsck", "--unreachable", "--no-progress", "--no-dangling"],
            cwd=self.folder, env=self.env, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for compiled modules, so that each of the many processes starts as an installed program does."""
    return made_once(tmp_path_factory, "bytecode", lambda folder: None)


def environment(bytecode: Path) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "AUTORESEARCH_", "PYTHONDONTWRITE"))}
    return env | {
        "PYTHONPYCACHEPREFIX": str(bytecode),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
    }


def new_lab(folder: Path, bytecode: Path, variant: str = "exact", *, baseline: bool = True) -> Lab:
    """Make a session in a new folder; its programs are compiled into `bytecode`."""
    lab = Lab(folder, environment(bytecode))
    lab.folder.mkdir()
    lab.git("init", "-q", "-b", "main")
    lab.git("config", "user.name", "A Person")
    lab.git("config", "user.email", "person@example.org")
    (lab.folder / "bench.sh").write_text(VARIANTS[variant])
    (lab.folder / "judge.sh").write_text(JUDGE)
    (lab.folder / "notes.txt").write_text("a person's\n")
    lab.edit(100)
    lab.git("add", ".")
    lab.git("commit", "-q", "-m", "start")
    lab.json("init", ".", "--no-probe", "--command", "bash bench.sh", "--metric", "loss",
             "--direction", "lower", "--mutable", FILE, "--tag", "t")  # fmt: skip
    if variant == "evaluated":
        _add_evaluator(lab)
    if baseline:
        lab.json("baseline")
    return lab


Maker = Callable[..., Lab]


@pytest.fixture
def make_lab(tmp_path: Path, bytecode: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Maker]:
    made = []

    def make(variant: str = "exact", *, baseline: bool = True) -> Lab:
        def new(folder: Path) -> None:
            lab = new_lab(folder / "lab", bytecode, variant, baseline=baseline)
            (folder / "edits.json").write_text(json.dumps(lab.edits))

        template = made_once(tmp_path_factory, f"kill lab {variant} {baseline}", new)
        shutil.copytree(template / "lab", tmp_path / "lab", symlinks=True)
        edits = json.loads((template / "edits.json").read_text())
        words = itertools.count(len(edits) + 1)
        lab = Lab(tmp_path / "lab", environment(bytecode), edits, words=words)
        copied(lab)
        made.append(lab)
        return lab

    yield make
    for lab in made:
        for pid in lab.marked():
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).kill()


def copied(lab: Lab) -> None:
    """Tell git, and the slots of runs, that the files of a copy are other files with the same content."""
    lab.git("status")
    for path in (lab.folder / ".autoresearch/slots/0").glob("*.record"):
        kept = slot.Slot(path.with_suffix(""))
        record = kept._read()
        assert record is not None
        record.entries, record.index = dict(slot._walk(kept.folder)), slot._state_at(kept.index) or ()
        kept._write(record)


def _add_evaluator(lab: Lab) -> None:
    """Give a session its evaluator before anything is measured; `init` has no flag for it."""
    toml, log = lab.folder / "autoresearch.toml", lab.folder / "autoresearch.jsonl"
    toml.write_text(toml.read_text().replace("\nlimit_s", '\nevaluate = "bash judge.sh"\nlimit_s', 1))
    lab.git("commit", "-q", "-am", "evaluator")
    config = json.loads(log.read_text())
    config["sha256"]["autoresearch.toml"] = subprocess.run(
        ["sha256sum", str(toml)], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    log.write_text(json.dumps(config) + "\n")


def kill(process: subprocess.Popen[bytes], how: str) -> None:
    """Kill a command of ours: alone, its group, with all its descendants, or only the git that it runs."""
    if how == "git":
        engine = psutil.Process(process.pid)
        with contextlib.suppress(psutil.Error):
            while process.poll() is None:
                children = [c for c in engine.children() if c.name() == "git"]
                if children:
                    children[0].kill()
                    break
    elif how == "tree":
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    child.kill()
    if how == "group":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    elif how != "git":
        process.kill()
    process.wait(PATIENCE_S)
