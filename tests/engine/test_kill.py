"""A kill at any instant leaves a state that the next command repairs: real processes, real git, a model of its own."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from autoresearch.engine.repair import repair
from autoresearch.io import journal
from autoresearch.io.git import Git
from autoresearch.io.workspace import Workspace

KILLS = int(os.environ.get("AUTORESEARCH_KILLS", "10"))
KILL_SEED = os.environ.get("AUTORESEARCH_KILL_SEED", "")
"""How many kills each of the tests of random instants does; benchmarks/kills.py asks for many."""

EVERY = bool(os.environ.get("AUTORESEARCH_EVERY_KILL"))
"""Whether tests that kill at, or fail from, named steps do so at every step. Read now: the tests get a clean one."""

FILE = "number.txt"
"""The mutable file: a number, how long the run takes, a word that makes each version a new one."""

BENCH = r"""
read number pause word < number.txt
setsid sleep 60 > /dev/null 2>&1 &    # a child that leaves the group
sleep "$pause"
echo "METRIC loss=$number"
"""

NOISY = r"""
read number pause word < number.txt
sleep "$pause"
echo "METRIC loss=$(awk -v n="$number" -v s="$AUTORESEARCH_SEED" 'BEGIN { print n + (s * 37 % 11) / 100 }')"
"""

TRAIN = r"""
read number pause word < number.txt
sleep "$pause"
echo "$number" > "$AUTORESEARCH_RUN_DIR/weights"
"""

JUDGE = r"""
sleep 0.05
number=$(cat "$AUTORESEARCH_RUN_DIR/weights")
echo "{\"outcome\": \"ok\", \"metrics\": {\"loss\": $number}}" > "$AUTORESEARCH_RESULT"
"""

VARIANTS = {"exact": BENCH, "noisy": NOISY, "evaluated": TRAIN}

DRIVER = r"""
import os, signal, sys
from autoresearch.commands import cli, edge, history  # everything that a command imports
from autoresearch.engine import experiment, measure, repair
from autoresearch.io import git, process, workspace

at, trace, arguments = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
passed = 0

def point(name):
    global passed
    passed += 1
    with open(trace, "a") as file:
        file.write(name + "\n")
    if passed == at:
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

CHANGING = ("add", "commit", "update-ref", "reset", "checkout", "restore", "read-tree", "checkout-index")
real_process = git.Git._process
def git_process(self, args, **kwargs):
    name = next((a for a in args if a in CHANGING), None)
    if name: point("before git " + name)
    done = real_process(self, args, **kwargs)
    if name: point("after git " + name)
    return done
git.Git._process = git_process

wrap(workspace.Workspace, "append", lambda _, event: "append " + event.get("type", "run"))
wrap(git.Git, "commit")
wrap(git.Git, "update_ref")
wrap(git.Git, "go_back")
wrap(workspace, "write_atomic", lambda path, _: "write " + path.name)
wrap(workspace, "remove_tree")
wrap(process, "run_limited")
wrap(process, "_pump", lambda *_: "the command, which runs")
edge.run(cli.app, arguments)
"""
"""Runs a command and kills itself at the `at`-th point; each point that it passes is a line of `trace`."""


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

    # --- doing ---

    def git(self, *args: str, check: bool = True) -> str:
        done = subprocess.run(["git", *args], cwd=self.folder, capture_output=True, text=True, env=self.env)
        assert not check or done.returncode == 0, (args, done.stderr)
        return done.stdout.strip()

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "autoresearch.commands.cli", *args]

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        command = self.command(*args)
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, env=self.env, timeout=120)

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

    def drive(self, at: int, *args: str) -> list[str]:
        """Run a command that kills itself at its `at`-th point (0: never); return the points that it passed."""
        driver, trace = self.folder.parent / "driver.py", self.folder.parent / "trace"
        driver.write_text(DRIVER)
        trace.write_text("")
        command = [sys.executable, str(driver), str(at), str(trace), *args]
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=120)
        points = trace.read_text().splitlines()
        if at and len(points) >= at:
            assert done.returncode == -signal.SIGKILL, (points, done.stderr)
        return points

    def edit(self, number: float, pause: float = 0.05) -> str:
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

    def edit_worse(self, pause: float = 0.05) -> str:
        return self.edit(self.best + 1, pause)

    def edit_better(self, pause: float = 0.05) -> str:
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
            return "between git add and git commit"
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
        nameless = [line.split()[2] for line in self._fsck() if "commit" in line]
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

    def _check_verdicts(self, starts: dict[int, dict[str, Any]], verdicts: dict[int, dict[str, Any]]) -> None:
        """Decide every experiment again: the lower number is better, by far more than the noise."""
        best = None
        for number, verdict in verdicts.items():
            value = float(self.version(starts[number]["commit"]).split()[0])
            if verdict["outcome"] == "killed":
                assert verdict["status"] == "crash" and verdict["metric"] is None
                continue
            kept = best is None or value < best
            assert verdict["status"] == ("keep" if kept else "discard"), (number, verdict)
            assert verdict["metric"] == pytest.approx(value, abs=0.2)
            assert starts[number]["parent"] is None or verdict["parent"] == starts[number]["parent"]
            best = value if kept else best

    def _fsck(self) -> list[str]:
        done = subprocess.run(
            ["git", "fsck", "--unreachable", "--no-progress", "--no-dangling"],
            cwd=self.folder, env=self.env, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


@pytest.fixture(scope="module")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for compiled modules, so that each of the many processes starts as an installed program does."""
    return tmp_path_factory.mktemp("bytecode")


Maker = Callable[..., Lab]


@pytest.fixture
def make_lab(tmp_path: Path, bytecode: Path) -> Iterator[Maker]:
    made = []

    def make(variant: str = "exact", *, baseline: bool = True) -> Lab:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "AUTORESEARCH_", "PYTHONDONTWRITE"))}
        env |= {"PYTHONPYCACHEPREFIX": str(bytecode), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        lab = Lab(tmp_path / "lab", env)
        made.append(lab)
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
        lab.json("init", ".", "--task", "command", "--command", "bash bench.sh", "--metric", "loss",
                 "--direction", "lower", "--mutable", FILE, "--tag", "t")  # fmt: skip
        if variant == "evaluated":
            _add_evaluator(lab)
        if baseline:
            lab.json("baseline")
        return lab

    yield make
    for lab in made:
        for pid in lab.marked():
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).kill()


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


def wait_for(condition: Callable[[], object], what: str, limit_s: float = 60) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.01)


# --- random instants ---


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
    process.wait(60)


def hunt(lab: Lab, rounds: int, rng: random.Random) -> Counter[str]:
    """Kill `try`, and now and then the `resume` after it, at random instants; check everything after each."""
    seconds = {}
    for name, args in (("try", ("try", "-m", "unkilled")), ("resume", ("resume",))):
        lab.edit_worse() if name == "try" else None
        began = time.monotonic()
        assert lab.start(*args).wait(60) == 0
        seconds[name] = time.monotonic() - began
    windows: Counter[str] = Counter()
    for count in range(rounds):
        lab.gather()
        pending = lab.content if lab.content != lab.version("HEAD") else None
        if pending is None and lab.head == lab.incumbent:
            pending = lab.edit_better() if rng.random() < 0.5 else lab.edit_worse()
        how = rng.choice(["engine", "group", "tree"] * 2 + ["git"])
        process = lab.start("try", "-m", f"round {count}")
        time.sleep(rng.random() * seconds["try"])
        kill(process, how)
        window = lab.window()
        windows[window] += 1
        later = None
        if rng.random() < 0.15 and window != "between commit and start":
            later = lab.edit(rng.choice([lab.best - 1, lab.best + 1]))
            lab.given_up.add(pending or "")
        if rng.random() < 0.2:
            again = lab.start("resume")
            time.sleep(rng.random() * seconds["resume"])
            kill(again, rng.choice(["engine", "group", "tree"]))
        try:
            lab.resume()
            lab.check(later)
        except AssertionError as error:
            raise AssertionError(f"round {count}, {how}, {window}: {error}") from error
    lab.gather()
    if lab.content == lab.version("HEAD") and lab.head == lab.incumbent:
        lab.edit_better()
    assert lab.json("try", "-m", "the last one")["outcome"] == "ok"
    lab.check()
    return windows


def test_a_few_kills_at_random_instants_lose_nothing(make_lab: Maker) -> None:
    hunt(make_lab("exact"), 15, random.Random(1))


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_many_kills_at_random_instants_lose_nothing(make_lab: Maker, variant: str) -> None:
    windows = hunt(make_lab(variant), KILLS, random.Random(f"{variant} {KILL_SEED}"))
    for window, count in windows.most_common():
        print(f"{variant:<10} {count:>4}  {window}")


def test_an_import_that_is_killed_again_and_again_is_whole_in_the_end(make_lab: Maker, tmp_path: Path) -> None:
    lab, rng, log = make_lab(), random.Random(f"import {KILL_SEED}"), tmp_path / "results.tsv"
    rows = [f"{n:07x}\t{1 - n / 1000:.6f}\t44.0\t{'keep' if n % 3 else 'discard'}\trow {n}" for n in range(400)]
    log.write_text("\n".join(["commit\tval_bpb\tmemory_gb\tstatus\tdescription", *rows, ""]))
    command = lab.command("import", str(log))
    seconds, killed = 0.5, 0
    for _ in range(KILLS):
        process = subprocess.Popen(command, cwd=lab.folder, env=lab.env, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
        time.sleep(0.2 + rng.random() * seconds)
        process.kill()
        killed += process.wait(60) != 0
        entries = [e["imported"]["entry"] for e in _whole(lab) if "imported" in e and "run" in e]
        assert entries == [*range(1, len(entries) + 1)], "each row once, in order"
        if len(entries) == len(rows):  # begin again with other rows
            rows = [row + "x" for row in rows]
            log.write_text("\n".join(["commit\tval_bpb\tmemory_gb\tstatus\tdescription", *rows, ""]))
            _forget(lab)
    assert lab.run("import", str(log)).returncode == 0
    told = [e for e in lab.events() if "run" in e and "imported" in e]
    assert [e["description"] for e in told] == [row.split("\t")[-1] for row in rows]
    assert len({e["run"] for e in told}) == len(rows)
    assert lab.json("status")["best"]["experiment"] == 1 and killed
    print(f"import     {killed:>4}  killed")


def _whole(lab: Lab) -> list[dict[str, Any]]:
    """Return the lines of the journal but a torn last one."""
    return [event for _, event in journal.read(lab.folder / "autoresearch.jsonl")]


def _forget(lab: Lab) -> None:
    """Take everything that was imported out of the journal."""
    log = lab.folder / "autoresearch.jsonl"
    log.write_text("".join(json.dumps(e) + "\n" for e in _whole(lab) if "imported" not in e))


# --- named instants ---


def kill_everywhere(lab: Lab, prepare: Callable[[], object], *args: str) -> list[str]:
    """Kill a command before and after each step that it takes, one after another; return the steps."""
    points: list[str] = []
    for at in itertools.count(1):
        if lab.incumbent not in (None, lab.head):
            lab.json("try", "-m", "the commit that was there")
            lab.check()
        if lab.content == lab.version("HEAD"):
            prepare()
        passed = lab.drive(at, *args)
        if len(passed) < at:
            return points
        points.append(passed[-1])
        lab.resume()
        try:
            lab.check()
        except AssertionError as error:
            raise AssertionError(f"killed {passed[-1]}: {error}") from error
    raise AssertionError


EVERY_STEP = {
    "before commit", "before git add", "after git add", "before git commit", "after git commit", "after commit",
    "before append start", "after append start", "before git update-ref", "after git update-ref",
    "before write running.json", "after write running.json", "before git checkout-index", "before run_limited",
    "before the command, which runs", "after run_limited", "before write result.json", "after write result.json",
    "before append run", "after append run",
}  # fmt: skip


def test_a_kill_at_each_step_of_an_experiment_that_is_discarded_loses_nothing(make_lab: Maker) -> None:
    lab = make_lab()
    points = kill_everywhere(lab, lab.edit_worse, "try", "-m", "worse")
    assert {*points} >= EVERY_STEP | {"before go_back", "before git reset", "after git reset", "after go_back"}
    lab.check()


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["evaluated", "noisy"])
def test_a_kill_at_each_step_of_an_experiment_that_is_kept_loses_nothing(make_lab: Maker, variant: str) -> None:
    lab = make_lab(variant)
    points = kill_everywhere(lab, lab.edit_better, "try", "-m", "better")
    assert {*points} >= EVERY_STEP
    assert points.count("before run_limited") > 1
    lab.check()
    assert lab.head == lab.incumbent


@pytest.mark.slow
def test_a_kill_at_each_step_of_the_baseline_loses_nothing(make_lab: Maker) -> None:
    lab = make_lab(baseline=False)
    points = kill_everywhere(lab, lambda: None, "baseline")
    assert {*points} >= {"before append start", "before the command, which runs", "after append run"}
    lab.check()


def test_a_baseline_that_was_killed_is_measured_again_under_the_next_number(make_lab: Maker) -> None:
    lab = make_lab(baseline=False)
    points = lab.drive(0, "baseline")
    lab = _fresh(lab)
    lab.drive(points.index("after append run"), "baseline")
    (said,) = lab.resume()
    assert "experiment 1 was interrupted" in said and "autoresearch baseline" in said
    assert lab.json("baseline")["experiment"] == 2
    lab.check()
    assert lab.verdicts()[1]["outcome"] == "killed"
    assert (lab.verdicts()[2]["status"], lab.verdicts()[2]["seeds"]) == ("keep", [1, 2, 3])


def _fresh(lab: Lab) -> Lab:
    """Set a session back to where nothing was measured."""
    log = lab.folder / "autoresearch.jsonl"
    log.write_text(log.read_text().splitlines()[0] + "\n")
    shutil.rmtree(lab.folder / ".autoresearch")
    for ref in lab.git("for-each-ref", "--format=%(refname)", "refs/autoresearch").splitlines():
        lab.git("update-ref", "-d", ref)
    return lab


def test_a_kill_at_each_step_of_the_repair_itself_is_repaired_too(make_lab: Maker) -> None:
    lab = make_lab()
    points = lab.drive(0, "try", "-m", lab.edit_worse())
    for instant in ("before the command, which runs", "before go_back"):
        for at in itertools.count(1):
            lab.edit_worse()
            lab.drive(points.index(instant) + 1, "try", "-m", "worse")
            passed = lab.drive(at, "resume")
            lab.resume()
            try:
                lab.check()
            except AssertionError as error:
                raise AssertionError(f"killed at {instant}, then {passed[-1]}: {error}") from error
            if len(passed) < at:
                break
        assert "before git reset" in passed


def test_try_again_goes_on_where_a_kill_stopped_it(make_lab: Maker) -> None:
    lab = make_lab()
    points = lab.drive(0, "try", "-m", lab.edit_worse())
    content = lab.edit_better()
    lab.drive(points.index("before the command, which runs") + 1, "try", "-m", "better")
    lab.resume()
    assert lab.content == lab.version(lab.incumbent or "") != content
    again = lab.drive(0, "try", "--again", "2", "-m", "once more")
    lab.check()
    for at in range(1, again.index("after append start") + 1):
        lab.drive(at, "try", "--again", "3")
        lab.resume()
        lab.check()
    view = lab.json("try", "--again", "3")
    assert (view["outcome"], view["status"]) == ("ok", "keep")
    assert lab.content == content
    lab.check()


# --- git stopped half-way ---


@pytest.fixture
def owed(make_lab: Maker) -> Lab:
    """A session whose last verdict is a discard that git does not know of yet."""
    lab = make_lab()
    points = lab.drive(0, "try", "-m", lab.edit_worse())
    lab.edit_worse()
    lab.drive(points.index("before git reset") + 1, "try", "-m", "worse")
    assert lab.window() == "between verdict and git"
    return lab


def settled(lab: Lab) -> None:
    lab.check()
    assert lab.head == lab.incumbent and lab.content == lab.version("HEAD")
    lab.edit_better()
    assert lab.json("try", "-m", "the next one")["status"] == "keep"
    lab.check()


@pytest.mark.parametrize("done", ["file", "file and index", "index", "file removed", "file cut short", "file empty"])
def test_a_reset_that_was_stopped_half_way_is_completed(owed: Lab, done: str) -> None:
    before = owed.version("HEAD^")
    if done == "file and index":
        owed.git("read-tree", "-u", "-m", "HEAD^")
    elif done == "index":
        owed.git("read-tree", "HEAD^")
    elif done == "file removed":
        (owed.folder / FILE).unlink()
    else:
        (owed.folder / FILE).write_text(before[: {"file": None, "file cut short": 5, "file empty": 0}[done]])
    assert owed.resume() == []
    settled(owed)


@pytest.mark.parametrize("name", ["index.lock", "HEAD.lock", "refs/heads/autoresearch/t.lock"])
def test_a_lock_that_our_git_left_is_removed(owed: Lab, name: str) -> None:
    (owed.folder / ".git" / name).write_bytes(b"")
    (said,) = owed.resume()
    assert name in said
    settled(owed)


def test_a_lock_of_an_experiments_ref_is_removed(make_lab: Maker) -> None:
    lab = make_lab()
    points = lab.drive(0, "try", "-m", lab.edit_worse())
    lab.edit_worse()
    lab.drive(points.index("before git update-ref") + 1, "try", "-m", "worse")
    (lab.folder / ".git/refs/autoresearch/t/3.lock").write_bytes(b"")
    said = lab.resume()
    assert any("refs/autoresearch/t/3.lock" in line for line in said)
    settled(lab)


def test_a_lock_that_is_not_ours_is_left_alone_and_reported(owed: Lab) -> None:
    (owed.folder / ".autoresearch/git-at-work").unlink()
    lock = owed.folder / ".git/index.lock"
    lock.write_bytes(b"")
    for command in (("resume",), ("try", "-m", "x")):
        done = owed.run(*command, "--json")
        assert done.returncode == 5 and json.loads(done.stdout)["error"]["kind"] == "precondition"
        assert "lock" in done.stderr
        assert lock.exists()
    lock.unlink()
    assert owed.resume() == []
    settled(owed)


def test_a_lock_that_was_there_before_ours_is_left_alone(owed: Lab) -> None:
    lock = owed.folder / ".git/index.lock"
    lock.write_bytes(b"")
    os.utime(lock, (time.time() - 3600,) * 2)
    assert owed.run("resume").returncode == 5
    assert lock.exists()


def test_a_lock_is_left_alone_while_a_git_is_at_work_here(owed: Lab, tmp_path: Path) -> None:
    program = tmp_path / "git"
    shutil.copy(shutil.which("sleep") or "", program)
    lock = owed.folder / ".git/index.lock"
    lock.write_bytes(b"")
    with subprocess.Popen([program, "60"], cwd=owed.folder) as working:
        wait_for(lambda: psutil.Process(working.pid).name() == "git", "the program that is called git")
        assert owed.run("resume").returncode == 5
        assert lock.exists()
        working.kill()
    owed.resume()
    settled(owed)


@pytest.mark.parametrize("instant", ["before git reset", "before the command, which runs"])
def test_an_edit_made_after_the_kill_stays_in_the_folder(make_lab: Maker, instant: str) -> None:
    lab = make_lab()
    points = lab.drive(0, "try", "-m", lab.edit_worse())
    lab.edit_worse()
    lab.drive(points.index(instant) + 1, "try", "-m", "worse")
    (lab.folder / "notes.txt").write_text("more of a person's\n")
    mine = lab.edit_better()
    said = lab.resume()
    assert FILE in said[-1]
    assert lab.content == mine and lab.head == lab.incumbent
    assert (lab.folder / "notes.txt").read_text() == "more of a person's\n"
    lab.git("checkout", "-q", "--", "notes.txt")
    lab.check(mine)
    assert lab.json("try", "-m", "mine")["status"] == "keep"


# --- a torn journal ---


def test_a_verdict_that_is_torn_at_any_byte_is_whole_or_was_never_written(owed: Lab) -> None:
    log = owed.folder / "autoresearch.jsonl"
    whole = log.read_bytes()
    begin = whole.rindex(b"\n", 0, -1) + 1
    workspace, commit, parent = Workspace(owed.folder), owed.head, owed.incumbent
    git = Git(owed.folder)
    cuts = [*range(begin, len(whole), 9), len(whole) - 2, len(whole) - 1, len(whole)]
    for cut in cuts:
        log.write_bytes(whole[:cut])
        owed.git("reset", "-q", "--hard", commit)
        repaired = repair(workspace, git, 1_790_000_000)
        last = repaired.session.last
        assert last is not None and last.number == 3
        assert last.outcome == ("ok" if cut >= len(whole) - 1 else "killed"), cut
        assert owed.head == parent
        workspace.append({"type": "note", "experiment": 3, "asi": {"after": cut}})
        verdicts = [e for e in owed.events() if e.get("run") == 3]
        assert len(verdicts) == 1


def test_any_line_torn_at_any_byte_is_dropped_by_the_next_line(tmp_path: Path) -> None:
    log = tmp_path / "autoresearch.jsonl"
    lines = [{"type": "start", "experiment": 1, "commit": "ä" * 3}, {"run": 1, "status": "keep", "description": '"}\\'}]
    for line in lines:
        journal.append(log, line)
    whole = log.read_bytes()
    begin = whole.index(b"\n") + 1
    for cut in range(begin, len(whole) + 1):
        log.write_bytes(whole[:cut])
        kept = lines if cut >= len(whole) - 1 else lines[:1]
        assert [event for _, event in journal.read(log)] == kept
        journal.append(log, {"type": "note"})
        assert [json.loads(line) for line in log.read_bytes().splitlines()] == [*kept, {"type": "note"}]


@pytest.mark.parametrize("left", [0, 1, 40, -2, -1])
def test_a_start_that_is_torn_is_taken_again_or_was_written(make_lab: Maker, left: int) -> None:
    lab = make_lab()
    points = lab.drive(0, "try", "-m", lab.edit_worse())
    content = lab.edit_worse()
    lab.drive(points.index("after append start") + 1, "try", "-m", "torn")
    log = lab.folder / "autoresearch.jsonl"
    whole = log.read_bytes()
    begin = whole.rindex(b"\n", 0, -1) + 1
    log.write_bytes(whole[: begin + left] if left >= 0 else whole[:left])
    if left == -1:
        assert "experiment 3 was interrupted" in lab.resume()[0]
        lab.check()
        assert lab.json("try", "--again", "3")["experiment"] == 4
    else:
        assert lab.json("try", "-m", "torn")["experiment"] == 3
        assert lab.version(lab.starts()[3]["commit"]) == content
    lab.check()


# --- asked to end ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_an_experiment_in_order(make_lab: Maker, number: signal.Signals) -> None:
    lab = make_lab()
    content = lab.edit_better(pause=1.5)
    process = subprocess.Popen(
        lab.command("try", "-m", "slow", "--json"),
        cwd=lab.folder, env=lab.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: len(lab.marked()) >= 3, "the command and its children")
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    error = json.loads(out)["error"]
    assert error["kind"] == "machine" and "try --again 2" in error["fix"]
    verdict = lab.verdicts()[2]
    assert (verdict["status"], verdict["outcome"], verdict["metric"]) == ("crash", "killed", None)
    assert lab.head == lab.incumbent and lab.content == lab.version("HEAD") != content
    lab.check()
    assert lab.resume() == []
    view = lab.json("try", "--again", "2")
    assert (view["experiment"], view["status"]) == (3, "keep") and lab.content == content
    lab.check()


def test_a_signal_ends_a_baseline_in_order(make_lab: Maker) -> None:
    lab = make_lab(baseline=False)
    process = lab.start("baseline")
    wait_for(lambda: len(lab.marked()) >= 3, "the command and its children")
    process.terminate()
    assert process.wait(60) == 1
    lab.check()
    assert lab.verdicts()[1]["outcome"] == "killed"
    assert lab.json("baseline")["experiment"] == 2


def test_a_second_try_is_refused_while_one_runs_and_changes_nothing(make_lab: Maker) -> None:
    lab = make_lab()
    lab.edit_better(pause=1.5)
    process = lab.start("try", "-m", "slow")
    wait_for(lab.marked, "the run")
    before = lab.events()
    done = lab.run("try", "-m", "another", "--json")
    assert done.returncode == 5 and "is running here" in done.stderr
    assert lab.events() == before
    assert lab.json("resume")["running"]["experiment"] == 2 and lab.marked()
    assert process.wait(60) == 0
    assert lab.verdicts()[2]["status"] == "keep"


def test_an_engine_that_is_dead_and_not_reaped_yet_is_not_taken_for_running(make_lab: Maker) -> None:
    lab = make_lab()
    lab.edit_better(pause=30)
    process = lab.start("try", "-m", "slow")
    wait_for(lab.marked, "the run")
    process.send_signal(signal.SIGKILL)
    wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, "the end of the engine")
    view = lab.json("resume")
    assert view["running"] is None and "experiment 2 was interrupted" in " ".join(view["repaired"])
    process.wait()
    lab.check()
