"""What a run may reach: held by a sandbox where there is one; the tamper check where there is none."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import site
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import autoresearch
from autoresearch.errors import PreconditionError
from autoresearch.journal.session import Session
from autoresearch.runs.isolation.choice import choose, missing
from autoresearch.runs.isolation.sandbox import SERVICES, Access, Sandbox, within
from autoresearch.runs.isolation.tamper_check import TamperCheck
from autoresearch.runs.withheld import withheld
from autoresearch.system.files import is_there, remove_tree, users_tmp
from autoresearch.system.git import Git
from autoresearch.system.limits import DEFAULT_SHARE, Limits, memory_of_machine
from autoresearch.workspace.assets import tasks_folder
from autoresearch.workspace.editable import check_immutable
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.task_file import TaskFile
from autoresearch.workspace.workspace import Workspace

SPLIT = "AUTORESEARCH_SPLIT"
"""Environment variable: the split that an evaluation reads, `search` or `locked`."""

STDLIB = "stdlib"
"""Stands in a pattern of the task, in braces, for the folder of Python's standard library."""

MODEL_PREFIX = "AUTORESEARCH_MODEL_PREFIX"
"""Environment variable of a grader: a JSON list of the words that start a model process in the sandbox; `[]`: none."""

PROGRAMS = ("python", "git", "claude", "codex", "gemini")
"""What is started outside of a run, or in its evaluation, by whichever name the path finds first."""

MOST_OF_A_VARIABLE = 120_000
"""Characters; the kernel takes variables of up to 128 KiB."""

OLD_S = 86400.0
"""Age of a link to a temporary folder that is gone, from which on it is taken away."""

LONGEST_TMP = 40
"""Characters of a temporary folder's name to which programs can add what they do: the name of a socket has 107 at most,
103 on macOS, and Python's workers make theirs 64 further down."""

IN_TMP = (("TRITON_CACHE_DIR", "triton"), ("CUDA_CACHE_PATH", "cuda"), ("MPLCONFIGDIR", "mpl"))
"""Caches that a run has for itself, unless the person's environment says where they are."""


@dataclass(frozen=True, slots=True)
class IsolatedProcess:
    """How one process of a run is started."""

    env: dict[str, str]
    prefix: tuple[str, ...]
    """Words to put before the command."""
    limits: Limits
    sandbox: str | None
    """The name of the sandbox that it is in."""


@dataclass
class Isolation:
    """What one run may reach, and what it was found doing."""

    workspace: Workspace
    git: Git
    task: TaskFile
    run_dir: Path
    sandbox: Sandbox | None
    tamper_check: TamperCheck | None
    around: Path | None = None
    """What has other workspaces beside this one, closed with it."""
    remarks: list[str] = field(default_factory=list)

    @classmethod
    def begin(
        cls, workspace: Workspace, git: Git, task: TaskFile, commit: str, run_dir: Path, around: Path | None = None
    ) -> Isolation:
        """Look at everything that the run must not change. Raises `IntegrityError` when that has changed already,
        and `PreconditionError` when the sandbox that the task or the person asks for is not there."""
        sandbox = sandbox_for(task)
        session = load_session(workspace)
        check_immutable(workspace, session, task)
        tamper_check = (
            TamperCheck.of(workspace, git, task, session, _commits(session, commit), run_dir) if not sandbox else None
        )
        return cls(workspace, git, task, run_dir, sandbox, tamper_check, around)

    @property
    def name(self) -> str:
        """What is in force, in one word."""
        return self.sandbox.name if self.sandbox is not None else "none"

    @contextlib.contextmanager
    def process(self, what: str, env: dict[str, str]) -> Iterator[IsolatedProcess]:
        """Isolate one process (`train`, `evaluate`, `checks`, `feed`) whose snapshot is ready.

        With a harness, what feeds and grades imports nothing of the trainer and is trusted: instead of being held
        itself, the grader is told how to start a model process (`MODEL_PREFIX`).
        """
        tmp = self.workspace.scratch / f"{what}.tmp"
        kept = withheld(env, self.task.run.secrets)
        env = {name: value for name, value in env.items() if name not in kept}
        prefix: list[str] = []
        held, stack = self.sandbox, contextlib.ExitStack()
        try:
            remove_tree(tmp)  # which a run whose process was killed has left: the next one must not find it
            tmp.mkdir(parents=True)
            if self.task.task.harness and what in ("evaluate", "feed"):
                held = None
                if what == "evaluate":
                    env |= {MODEL_PREFIX: self._model_prefix(tmp, env)}
            elif held is not None:
                env |= {} if self.task.run.network else {"HF_HUB_OFFLINE": env.get("HF_HUB_OFFLINE", "1")}
                access = self._closed(what, tmp, env) if self.task.task.harness else self._open(what, tmp, env)
                env |= path_past(SERVICES, env)
                prefix = held.command(replace(access, tmp_name=stack.enter_context(_short_name(tmp))))
            yield IsolatedProcess(env, tuple(prefix), self._limits(), held.name if held else None)
            if what not in ("evaluate", "feed") and self._graded():
                self.remarks += [f"changed its copy of {path}" for path in self._changed_copies(what)]
        finally:
            stack.close()
            remove_tree(tmp)

    def end(self) -> tuple[str, tuple[str, ...]]:
        """Compare, put back, and return why the run counts as tampered (else empty), and remarks."""
        reasons, same = self.tamper_check.changes() if self.tamper_check is not None else ([], [])
        return "; ".join(dict.fromkeys(reasons)), tuple(dict.fromkeys([*self.remarks, *same]))

    def _open(self, what: str, tmp: Path, env: dict[str, str]) -> Access:
        """Return what a run reaches whose evaluator may import what it has changed: all but what is held out."""
        more, folder = self._writable(), self.workspace.slot / what
        services = [each for each in SERVICES if is_there(each) and each.resolve() not in more]
        hidden = (*self._held_out(what, env), *(each.resolve() for each in services))
        fixed = self._fixed(env, hidden, more)
        return Access(
            cwd=folder / self.git.prefix,
            writable=(folder, self.run_dir, *(path for path in more if any(within(path, each) for each in fixed))),
            shared=tuple(path for path in more if not any(within(path, each) for each in fixed)),
            fixed=fixed,
            hidden=hidden,
            tmp=tmp,
            in_tmp=_in_tmp(env),
            network=self.task.run.network,
        )

    def _fixed(self, env: dict[str, str], hidden: Sequence[Path], writable: Sequence[Path]) -> tuple[Path, ...]:
        """Return what an open run reads and must not write: what is ours; and of what is run outside of it what lies in
        a hidden folder, where it would not be read, or in a writable one. What holds one of those, the home or the
        workspace is not taken whole."""
        root = self.workspace.root
        ours = [self.git.top, root, self.git.object_dir.parent, cache_dir()]
        ours += [root / linked for linked in self.task.files.link]  # which may itself be a link
        around = (Path.home().resolve(), root.resolve(), *writable)
        for path in filter(is_there, run_outside(env)):
            held = [each for each in {path.absolute(), path.resolve()} if any(within(each, h) for h in hidden)]
            shared = [path.resolve()] if any(within(path.resolve(), each) for each in writable) else []
            ours += [each for each in (*held, *shared) if not any(within(known, each) for known in around)]
        found = (path if any(within(path, h) for h in hidden) else path.resolve() for path in ours if is_there(path))
        return tuple(dict.fromkeys(found))

    def _closed(self, what: str, tmp: Path, env: dict[str, str]) -> Access:
        """Return what a run reaches that is handed its data: its snapshot and libraries, nothing of ours."""
        folder = self.workspace.slot / what
        return Access(
            cwd=folder / self.git.prefix,
            writable=(folder, *self._writable()),
            hidden=self._ours(what, env),
            visible=self._needed(env),
            tmp=tmp,
            in_tmp=_in_tmp(env),
            network=self.task.run.network,
            alone=True,
        )

    def _model_prefix(self, scratch: Path, env: dict[str, str]) -> str:
        """Return, as JSON, the words that start a process which loads a model: it writes nothing that stays."""
        if self.sandbox is None:
            return "[]"
        folder = self.workspace.slot / "evaluate"
        access = Access(
            cwd=folder / self.git.prefix,
            hidden=self._ours("model", env),
            visible=(folder, *self._needed(env)),
            scratch=scratch,
            in_tmp=_in_tmp(env),
            network=False,
            alone=True,
        )
        told = json.dumps(self.sandbox.command(access))
        if len(told) > MOST_OF_A_VARIABLE:
            raise PreconditionError("[files] readable names too many files one by one", "let it name their folder")
        return told

    def _ours(self, what: str, env: dict[str, str]) -> tuple[Path, ...]:
        """Return what is closed where a harness hands out the data: journal, git, other runs, the whole cache."""
        ours = [self.workspace.root, self.git.top, self.git.git_dir, self.git.object_dir.parent, cache_dir(), *SERVICES]
        ours += [self.around] if self.around is not None else []
        return tuple(dict.fromkeys([*(path.resolve() for path in ours if path.exists()), *self._held_out(what, env)]))

    def _needed(self, env: dict[str, str]) -> tuple[Path, ...]:
        """Return what a closed process reads all the same: what is `readable`, what is linked to, its Python."""
        root = self.workspace.root
        python = shutil.which("python", path=env.get("PATH"))
        found = [path for pattern in self.task.files.readable for path in self._matches(pattern)]
        found += [root / linked for linked in self.task.files.link]
        found += [Path(sys.prefix), Path(sys.base_prefix), root / ".venv"]
        found += [Path(python).parent.parent, Path(python).resolve().parent.parent] if python else []
        whole = [each for path in found if path.exists() for each in (path.absolute(), path.resolve())]
        return tuple(path for path in dict.fromkeys(whole) if not within(root.resolve(), path))

    def _graded(self) -> bool:
        """Whether anything is kept from the command: else nothing counts that it does not print itself."""
        files = self.task.files
        return bool(self.task.run.evaluate is not None or files.hidden or files.locked)

    def _changed_copies(self, what: str) -> list[str]:
        """Return the immutable files that a run changed in its own snapshot, which nothing reads again."""
        root = self.workspace.slot / what / self.git.prefix
        files = [path for path in self.task.files.immutable if (self.workspace.root / path).is_file()]

        def same(path: str) -> bool:
            with contextlib.suppress(OSError):  # a run may have taken away the permission to read its copy
                return (root / path).read_bytes() == (self.workspace.root / path).read_bytes()
            return False

        return [path for path in files if not same(path)]

    def _held_out(self, what: str, env: dict[str, str]) -> list[Path]:
        """Return what this process must not read. What it needs of that, it reads all the same: the innermost of the
        places that hold a path decides."""
        files = self.task.files
        patterns = list(files.hidden) if what != "evaluate" else []
        if what != "evaluate" or env.get(SPLIT) != "locked":
            patterns += files.locked
        found = dict.fromkeys(path.resolve() for pattern in patterns for path in self._matches(pattern))
        return [path for path in found if path != cache_dir().resolve()]  # which a run has, or has not, as a whole

    def _writable(self) -> list[Path]:
        """Return the folders that the task lets a run write, and the sockets of which it may ask something."""
        found = [path.resolve() for pattern in self.task.files.writable for path in self._matches(pattern, make=True)]
        return [path for path in dict.fromkeys(found) if path.is_dir() or path.is_socket()]

    def _matches(self, pattern: str, *, make: bool = False) -> list[Path]:
        """Return what a pattern of the task means: under the cache, or absolute.

        `{key}` is a value of [options], `{stdlib}` the folder of Python's standard library.
        """
        for key, value in {**self.task.options, STDLIB: sysconfig.get_path("stdlib")}.items():
            pattern = pattern.replace(f"{{{key}}}", str(value))
        whole = cache_dir() / Path(pattern).expanduser()
        if make and not any(char in pattern for char in "*?[") and not _is_socket_name(whole):
            with contextlib.suppress(OSError):
                whole.mkdir(parents=True, exist_ok=True)
        if whole.exists():
            return [whole]
        relative = whole.relative_to(whole.anchor)
        return sorted(Path(whole.anchor).glob(str(relative))) if relative.parts else []

    def _limits(self) -> Limits:
        run = self.task.run
        memory = run.limit_memory_gb
        total = memory * 2**30 if memory is not None else DEFAULT_SHARE * memory_of_machine()
        return Limits(int(total), int(run.limit_file_gb * 2**30), run.limit_processes)


def path_past(closed: Sequence[Path], env: Mapping[str, str]) -> dict[str, str]:
    """Return a PATH without links in folders that are closed to a run: some tools put a link to the version of a
    program that is in use into /run/user."""
    folders = env.get("PATH", "").split(os.pathsep)
    if not any(within(Path(folder), each) for folder in folders for each in closed):
        return {}
    past = (str(Path(f).resolve()) if any(within(Path(f), each) for each in closed) else f for f in folders)
    return {"PATH": os.pathsep.join(past)}


def _is_socket_name(path: Path) -> bool:
    """Whether a path is that of a service, whose socket is not there while it does not run."""
    return path.suffix == ".sock" or any(within(path.resolve(), each.resolve()) for each in SERVICES)


def sandbox_for(task: TaskFile) -> Sandbox | None:
    """Return the sandbox that the runs of a task get. Raises `PreconditionError` when one that the task or the person
    asks for is not there."""
    sandbox = None if task.run.sandbox == "off" else choose()
    if sandbox is None and task.run.sandbox == "required":
        raise PreconditionError(f"this task requires a sandbox; {missing()}", "see: autoresearch doctor")
    return sandbox


def cache_dir() -> Path:
    """Return the folder of prepared data."""
    return Path(os.environ.get("AUTORESEARCH_CACHE") or "~/.cache/autoresearch").expanduser()


def run_outside(env: Mapping[str, str]) -> list[Path]:
    """Return what a run must not write even where the folder around it is its own: the programs and modules that the
    engine, git, an agent and an evaluation find there, and what they read first."""
    places = [Path(folder) for folder in env.get("PATH", "").split(os.pathsep) if Path(folder).is_absolute()]
    found = [Path(sys.prefix), Path(sys.base_prefix), Path(autoresearch.__file__).parent, tasks_folder().parent]
    for name in PROGRAMS:
        program = shutil.which(name, path=env.get("PATH"))
        found += around_of(Path(program)) if program else []
    found += [*places, Path(site.getusersitepackages()).parents[1]]
    settings = Path(env.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    return [*found, Path("~/.gitconfig").expanduser(), settings / "git"]


def around_of(program: Path) -> list[Path]:
    """Return the folders that a program consists of: the one that it is in, its environment, its package."""
    found: list[Path] = []
    for path in dict.fromkeys((program.absolute(), program.resolve())):
        whole = path.parent.parent
        # As Python finds its prefix: ~/.local has a lib/pythonX.Y too, of a person's modules and without os.py.
        prefix = path.name.startswith("python") and any(whole.glob("lib*/python*/os.py"))
        environment = prefix or any((whole / mark).exists() for mark in ("pyvenv.cfg", "conda-meta"))
        found += [path.parent, *([whole] if environment and path.parent.name == "bin" else [])]
        found += [folder for folder in path.parents[:4] if (folder / "package.json").is_file()]
    return found


def _commits(session: Session, commit: str) -> set[str]:
    """Return the commits whose loss would be felt at once: the one that runs, and the incumbent."""
    incumbent = session.incumbent
    return {commit, *([incumbent.commit] if incumbent and incumbent.commit and incumbent.started else [])}


def _in_tmp(env: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, folder) for name, folder in IN_TMP if name not in env)


@contextlib.contextmanager
def _short_name(tmp: Path) -> Iterator[Path | None]:
    """Give a link to a temporary folder whose own name is too long, while the process runs; else None.

    Its name is drawn: in another container, with the same /tmp, our folder and our process may have the same names.
    """
    place = users_tmp() if len(str(tmp)) > LONGEST_TMP else None
    link = place / f"{secrets.token_hex(4)}-{os.getpid()}" if place is not None else None
    try:
        if place is not None and link is not None:
            _sweep(place)
            link.symlink_to(tmp)
    except OSError:  # /tmp is full, say: sockets may not go, and all else does
        link = None
    try:
        yield link
    finally:
        if link is not None:
            with contextlib.suppress(OSError):
                link.unlink()


def _sweep(place: Path) -> None:
    """Take away the links that killed runs have left: those of another container may lead somewhere there."""
    for old in place.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another run was first
            if old.is_symlink() and not old.exists() and time.time() - old.lstat().st_mtime > OLD_S:
                old.unlink()
