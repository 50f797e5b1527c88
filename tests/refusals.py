"""Every place of the package that refuses something, found in its source, and how a person follows what is printed."""

from __future__ import annotations

import ast
import functools
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from lab import Called, Lab, call

from autoresearch.errors import AutoresearchError
from autoresearch.journal.session import Session

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "autoresearch"

ERRORS = {"AutoresearchError", "MachineError", "UsageError", "NoSession", "IntegrityError", "PreconditionError",
          "StillRunning", "StopReached", "GitError", "Busy", "AgentGone", "Disconnected"}  # fmt: skip
WITHIN = {"AgentResting", "ProposalFailed", "Refused", "EditRefused", "EndpointFailed", "EndpointGone",
          "EndpointResting", "EndpointSilent"}  # fmt: skip
"""Errors that are caught by us, and become a line of the journal or another error: no command ends with one."""


@dataclass(frozen=True)
class Site:
    """One place that makes an error with a fix."""

    where: str
    """Module and function."""
    message: str
    fix: str
    """Both with `{}` for what is filled in."""
    first: int = field(compare=False)
    last: int = field(compare=False)
    """Its lines."""

    @property
    def name(self) -> str:
        return f"{self.where}: {self.message if self.message != '{}' else self.fix}"


def sites_in(source: str, module: str) -> Iterator[Site]:
    """Yield each call of an error's class in a module with what it says."""
    inside: dict[ast.AST, str] = {}
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            inside |= dict.fromkeys(ast.walk(function), function.name)
    for node, function_name in inside.items():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS and node.args:
            message, fix = [*(_template(argument) for argument in node.args), ""][:2]
            yield Site(f"{module} {function_name}", message, fix, node.lineno, node.end_lineno or node.lineno)


def _template(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return "{}"


@functools.cache
def sites() -> tuple[Site, ...]:
    """Return every place of the package that refuses something."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        found += sites_in(path.read_text("utf-8"), path.relative_to(PACKAGE).as_posix())
    return tuple(dict.fromkeys(found))


def kinds() -> set[str]:
    """Return the names of all classes of errors of the package."""
    known = {"AutoresearchError"}
    trees = [ast.parse(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")]
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while more := {c.name for c in classes if {ast.unparse(base) for base in c.bases} & known} - known:
        known |= more
    return known


@dataclass
class Made:
    """An error as it was made, and where."""

    error: AutoresearchError
    site: Site | None


class Recorder:
    """Notes which place made each error of this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[Made] = []
        plain = AutoresearchError.__init__

        def init(error: AutoresearchError, message: str, fix: str = "") -> None:
            plain(error, message, fix)
            frame = sys._getframe(1)
            while frame.f_code.co_name == "__init__" and frame.f_locals.get("self") is error and frame.f_back:
                frame = frame.f_back  # the class of the error has a constructor of its own
            self.made.append(Made(error, site_at(frame.f_code.co_filename, frame.f_lineno)))

        monkeypatch.setattr(AutoresearchError, "__init__", init)

    def printed(self, done: Called) -> Made:
        """Return the error that a command has printed."""
        line = done.err.splitlines()[-1]
        return next(made for made in reversed(self.made) if line == f"autoresearch: {made.error}")


def site_at(file: str, line: int) -> Site | None:
    """Return the place that a line of the package belongs to."""
    if not file.startswith(str(PACKAGE)):
        return None
    module = Path(file).relative_to(PACKAGE).as_posix()
    return next((s for s in sites() if s.where.split()[0] == module and s.first <= line <= s.last), None)


class Standing:
    """What no fix may lose or double: the kept changes with their values, and what a person has edited or committed."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        session = self._session()
        self.kept = _kept(session) if session is not None else {}
        self.journal = ""
        self.best = session.best if session is not None else None
        self.segment = session.segment if session is not None else None
        first = session.baseline if session is not None else None
        span = [first.commit or "", self.best.commit or ""] if self.best and first else []
        self.difference = lab.git("diff", *span, check=False) if span else ""
        self.contents: set[str] = set()
        self.look_again()

    def look_again(self) -> None:
        """Take what is in the folder now for what must not be lost: a person has changed it by hand."""
        self.contents = self._edited()

    def _session(self) -> Session | None:
        try:
            return self.lab.session
        except (AutoresearchError, OSError):
            return None

    def _edited(self) -> set[str]:
        """Return the hashes of what a person has made: edits in the folder and the index, and commits on the best."""
        git, found = self.lab.git, dict[str, str]()
        if (
            self.best is not None
            and git("merge-base", "--is-ancestor", self.best.commit or "", "HEAD", check=False) == ""
        ):
            found |= _raw(git("diff", "--raw", "--no-abbrev", self.best.commit or "", "HEAD", check=False))
        staged = _raw(git("diff", "--cached", "--raw", "--no-abbrev", check=False))
        edited = [path for path in git("ls-files", "-z", "-m", "-o", "--exclude-standard", check=False).split("\0")
                  if path and path != "autoresearch.jsonl" and (self.lab.root / path).is_file()]  # fmt: skip
        here = git("hash-object", "--", *edited).split() if edited else []
        found |= dict(zip(edited, here, strict=True))  # what was committed before is what it was made from
        return {*found.values(), *staged.values()}

    def assert_holds(self) -> None:
        """Nothing of it is lost: contents are in the folder, in the index, in a stash or on a ref."""
        lab, git = self.lab, self.lab.git
        stashes = git("stash", "list", "--format=%H", check=False).split()
        objects = git("rev-list", "--objects", "--all", "HEAD", *stashes, check=False).splitlines()
        found = {line.split()[0] for line in objects}
        found |= {line.split()[1] for line in git("ls-files", "-s", check=False).splitlines()}
        paths = git("ls-files", "-co", "--exclude-standard", "-z", check=False).split("\0")
        files = [path for path in paths if path and (lab.root / path).is_file()]
        found |= set(git("hash-object", "--", *files).split()) if files else set()
        assert self.contents <= found, "something that was edited or committed is gone"
        journals = [_read(path) for path in lab.root.glob("*.jsonl")]
        if self.kept:
            assert any(text.startswith(self.journal) for text in journals), "the journal is gone, or another"
        session = self._session()
        if session is None or self.best is None or session.segment != self.segment:
            return
        assert self.kept.items() <= _kept(session).items(), "a kept experiment is gone, or has another value"
        first, best = session.baseline, session.best
        assert first is not None and best is not None
        if best.commit == self.best.commit:
            assert best.metric == self.best.metric
            assert self.difference in ("", git("diff", first.commit or "", best.commit or ""))
        else:
            git("merge-base", "--is-ancestor", self.best.commit or "", best.commit or "")  # fails when it is none
            for path in KEPT:
                theirs = git("show", f"{self.best.commit}:{path}", check=False)
                assert git("show", f"{best.commit}:{path}", check=False) == theirs, "the kept change was taken back"


def _kept(session: Session) -> dict[tuple[int, int], float]:
    kept = (e for e in session.experiments if e.status == "keep")
    return {(e.segment, e.number): e.metric for e in kept if e.metric is not None}


def _raw(lines: str) -> dict[str, str]:
    """Return path -> hash of what is there after a change, from `git diff --raw`; submodules and deletions left out."""
    found = {}
    for line in lines.splitlines():
        words, _, path = line.partition("\t")
        mode, new = words.split()[1], words.split()[3]
        if mode not in ("160000", "000000"):
            found[path] = new
    return found


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


KEPT = ("src/kept",)
"""What the kept changes of a lab are in, and no later change touches."""

MOST_STEPS = 5
"""So many fixes may lead from one to the next before something works."""

SHIM = f'#!/bin/sh\nexec "{sys.executable}" -m autoresearch "$@"\n'


class Follower:
    """Does what each refusal says, in a real shell, until what was asked for works."""

    def __init__(
        self, lab: Lab, recorder: Recorder, fill: Mapping[str, str], cwd: Path | None = None, discards: bool = False
    ) -> None:
        self.lab, self.recorder, self.cwd = lab, recorder, cwd or lab.root
        self.fill = {'"..."': '"words"', **fill}
        self.seen: list[tuple[str, str]] = []
        self.sites: list[str] = []
        self.standing, self.discards = Standing(lab), discards

    def ask(self, words: Sequence[str]) -> Made | None:
        """Call a command; return how it was refused, or None."""
        done = call(*words, cwd=self.cwd)
        if done.code == 0:
            return None
        made = self.recorder.printed(done)
        assert made.error.fix, done
        assert (made.error.message, made.error.fix) not in self.seen, f"a circle: {made.error}, after {self.seen}"
        self.seen.append((made.error.message, made.error.fix))
        assert len(self.seen) <= MOST_STEPS, self.seen
        self.sites.append(made.site.name if made.site is not None else str(made.error))
        return made

    def obtain(self, words: Sequence[str], by_hand: Callable[[], Sequence[str] | None] | None = None) -> None:
        """Call a command until it works, doing what each refusal says. `by_hand` does, once, what is said in prose,
        and returns what to call then: None for nothing more."""
        while (made := self.ask(words)) is not None:
            self.follow(made)
            if by_hand is not None:
                then, by_hand = by_hand(), None
                self.standing.look_again()
                if then is None:
                    return
                words = then

    def follow(self, made: Made) -> None:
        command = made.error.command
        if command is None:
            return
        for placeholder, value in self.fill.items():
            command = command.replace(placeholder, value)
        if command.startswith("autoresearch ") and "&&" not in command:
            self.obtain(shlex.split(command)[1:])
        else:
            programs = self.lab.root.parent / "programs"
            programs.mkdir(exist_ok=True)
            (programs / "autoresearch").write_text(SHIM)
            (programs / "autoresearch").chmod(0o755)
            env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "GIT_EDITOR": "false"}
            done = subprocess.run(["bash", "-c", command], cwd=self.cwd, env=env, capture_output=True, text=True)
            assert done.returncode == 0, (command, done)
        if self.discards:  # that is what was asked of git
            self.standing.look_again()
        self.standing.assert_holds()
