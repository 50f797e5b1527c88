"""The form of a walk: what is asked for, where it begins, and what a person does beside what is printed."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from lab import INIT, TAG, Lab, new_repo, task_file

TRY = ("try", "-m", "a change")
Words = Sequence[str]


@dataclass(frozen=True)
class Ask:
    """What is asked for, and what a person does beside the commands that are printed."""

    words: Words
    by_hand: Callable[[], Words | None] | None = None
    """Done once, after the first refusal's command: what is said in prose. Returns what to ask for then; None for
    nothing, when that command was all."""
    fill: Mapping[str, str] = field(default_factory=dict)
    """Placeholder in a printed command -> what a person puts there."""
    cwd: Path | None = None
    discards: bool = False
    """Whether the command that is printed throws away what git has made in the folder."""


State = Callable[[Lab, pytest.MonkeyPatch], Ask]


@dataclass(frozen=True)
class Walk:
    site: str
    base: str
    """`kept`: two kept changes and a discarded one; `bare`: no baseline yet; `repo`: no session; `plain`: no files."""
    state: State


WALKS: list[Walk] = []


def walk(site: str, base: str = "kept") -> Callable[[State], State]:
    def register(state: State) -> State:
        WALKS.append(Walk(site, base, state))
        return state

    return register


def edit(lab: Lab, value: int = 20) -> None:
    lab.write("src/free", f"{value}\n")


def then(action: Callable[[], object], words: Words | None) -> Callable[[], Words | None]:
    def by_hand() -> Words | None:
        action()
        return words

    return by_hand


def append(lab: Lab, line: Mapping[str, object]) -> None:
    with lab.workspace.journal.open("a") as file:
        file.write(json.dumps(line) + "\n")


def first(path: str) -> dict[str, str]:
    return {"autoresearch baseline": f"touch {path} && autoresearch baseline"}


def lose_commits(lab: Lab, number: int) -> str:
    """Make a clone that has everything, take the commit of an experiment out of the repository, return the clone."""
    clone = lab.root.parent / "clone"
    shutil.copytree(lab.root / ".git", clone / ".git")
    for later in range(number, 9):
        lab.git("update-ref", "-d", f"refs/autoresearch/{TAG}/{later}")
    commit = next(e.commit for e in lab.session.experiments if e.number == number)
    if lab.git("rev-parse", "HEAD") == commit:
        lab.git("reset", "-q", "--keep", "HEAD~1")
    lab.git("reflog", "expire", "--expire=now", "--all")
    lab.git("gc", "-q", "--prune=now")
    assert lab.git("cat-file", "-t", commit or "", check=False) == ""
    return str(clone)


# --- the workspaces that walks begin in ---


def ready(lab: Lab, *calls: Words) -> None:
    for words in calls:
        done = lab.call(*words)
        assert done.code == 0, done


def make_kept(folder: Path) -> None:
    new_repo(folder / "lab")
    lab = Lab(folder / "lab")
    ready(lab, (*INIT, "--policy", "greedy"), ("baseline",))
    lab.write("src/kept", "40\n")
    lab.write("src/free", "40\n")
    assert "KEEP" in lab.attempt("echo METRIC total_ms=$(( $(cat src/kept) + $(cat src/free) ))\n").out
    lab.write("src/kept", "30\n")
    assert "KEEP" in lab.attempt().out
    lab.write("src/free", "50\n")
    assert "DISCARD" in lab.attempt().out


def make_bare(folder: Path) -> None:
    new_repo(folder / "lab")
    ready(Lab(folder / "lab"), (*INIT, "--policy", "greedy"))


def make_measured(folder: Path) -> None:
    make_bare(folder)
    ready(Lab(folder / "lab"), ("baseline",))


def make_of_task(
    folder: Path, calls: Sequence[Words] = (), content: Mapping[str, str] | None = None, **tables: Mapping[str, object]
) -> None:
    new_repo(folder / "lab")
    lab = Lab(folder / "lab")
    for name, text in (content or {}).items():
        lab.write(name, text)
    lab.write("autoresearch.toml", task_file(keep={"policy": "greedy"}, **tables))
    lab.commit()
    ready(lab, ("init", ".", "--task", "command", "--tag", TAG, "--no-setup"), *calls)


def make_with_submodule(folder: Path) -> None:
    new_repo(folder / "inner")
    lab = Lab(folder / "lab")
    new_repo(folder / "lab")
    (folder / "inner" / "file").write_text("one\n")
    for words in (("add", "-A"), ("commit", "-qm", "file")):
        subprocess.run(["git", "-C", folder / "inner", *words], check=True)
    lab.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(folder / "inner"), "src/sub")
    for key, value in (("user.name", "A Person"), ("user.email", "person@example.org")):
        subprocess.run(["git", "-C", lab.root / "src/sub", "config", key, value], check=True)
    lab.commit()
    ready(lab, (*INIT, "--policy", "greedy"), ("baseline",))


FIXED = ["bench.sh", "autoresearch.toml"]
HARNESS = {"task": {"harness": True}, "run": {"evaluate": "bash judge.sh"}, "files": {"immutable": [*FIXED, "harness"]}}
BASES: dict[str, Callable[[Path], object]] = {
    "kept": make_kept,
    "bare": make_bare,
    "measured": make_measured,
    "repo": lambda folder: new_repo(folder / "lab"),
    "plain": lambda folder: (folder / "lab").mkdir(),
    "submodule": make_with_submodule,
    "bare setup": lambda folder: make_of_task(folder, run={"setup": "test -e ready"}),
    "kept with a folder": lambda folder: make_of_task(folder, [("baseline",)], files={"immutable": [*FIXED, "tests"]}),
    "harness": lambda folder: make_of_task(folder, [("baseline",)], {"src/model.py": "x = 1\n"}, **HARNESS),
    "requires a sandbox": lambda folder: make_of_task(folder, run={"sandbox": "required"}),
}
