"""What a run may reach: the sandbox where there is one, the watch and the tamper check where there is none."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from autoresearch.errors import PreconditionError
from autoresearch.journal.session import Session
from autoresearch.runs.isolation.audit import Finding, Watch, watching
from autoresearch.runs.isolation.bubblewrap import BubblewrapMounts, missing
from autoresearch.runs.isolation.file_access import HeldOut, evaluating
from autoresearch.runs.isolation.tamper_check import TamperCheck
from autoresearch.system.files import remove_tree
from autoresearch.system.git import Git
from autoresearch.system.limits import DEFAULT_SHARE, Limits, memory_of_machine
from autoresearch.workspace.editable import check_immutable
from autoresearch.workspace.session_journal import load_session
from autoresearch.workspace.task_file import TaskFile
from autoresearch.workspace.workspace import Workspace

SPLIT = "AUTORESEARCH_SPLIT"
"""Environment variable: the split that an evaluation reads, `search` or `locked`."""

SECRET = re.compile(r"API_?KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|PRIVATE_?KEY", re.IGNORECASE)
"""Names of environment variables that no run gets unless the task says so."""

FATAL = ("read", "write", "patch")
"""Reports that make a run `tampered`; the others are remarks."""


@dataclass(frozen=True, slots=True)
class IsolatedProcess:
    """How one process of a run is started."""

    env: dict[str, str]
    mounts: BubblewrapMounts | None
    limits: Limits
    watch: Watch | None


@dataclass
class Isolation:
    """What one run may reach, and what it was found doing."""

    workspace: Workspace
    git: Git
    task: TaskFile
    run_dir: Path
    sandboxed: bool
    tamper_check: TamperCheck | None
    findings: list[Finding] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, workspace: Workspace, git: Git, task: TaskFile, commit: str, run_dir: Path) -> Isolation:
        """Look at everything that the run must not change. Raises `IntegrityError` when that has changed already."""
        why_not = "this task does without" if task.run.sandbox == "off" else missing()
        if why_not and task.run.sandbox == "required":
            raise PreconditionError(f"this task requires a sandbox, and {why_not}", "see: autoresearch doctor")
        session = load_session(workspace)
        check_immutable(workspace, session, task)
        tamper_check = (
            TamperCheck.of(workspace, git, task, session, _commits(session, commit), run_dir) if why_not else None
        )
        return cls(workspace, git, task, run_dir, not why_not, tamper_check)

    @contextlib.contextmanager
    def process(self, what: str, env: dict[str, str]) -> Iterator[IsolatedProcess]:
        """Isolate one process (`train`, `evaluate`, `checks`) whose snapshot is ready."""
        scratch = self.workspace.scratch
        folder, tmp, channel = self.workspace.slot / what, scratch / f"{what}.tmp", scratch / f"{what}.watch"
        held_out = self._held_out(what, env)
        ours = [self.git.top, self.workspace.root, self.git.object_dir.parent, cache_dir()]
        fixed = tuple({path.resolve() for path in ours if path.exists()})
        more = self._writable(fixed)
        mounts = None
        env = {name: value for name, value in env.items() if name in self.task.run.secrets or not SECRET.search(name)}
        try:
            if self.sandboxed:
                tmp.mkdir(parents=True, exist_ok=True)
                elsewhere = not any(_in(path, Path("/tmp")) for path in (*fixed, Path(sys.prefix), folder))
                env = _private(env, "/tmp" if elsewhere else str(tmp), self.task.run.network)
                mounts = BubblewrapMounts(
                    cwd=folder / self.git.prefix,
                    writable=(folder, self.run_dir, tmp, *(p for p in more if any(_in(p, f) for f in fixed))),
                    shared=tuple(p for p in more if not any(_in(p, f) for f in fixed)),
                    fixed=fixed,
                    hidden=tuple(each.path for each in held_out),
                    tmp=tmp if elsewhere else None,
                    network=self.task.run.network,
                )
            if self.task.run.evaluate is None and not self.task.files.hidden and not self.task.files.locked:
                # Nothing is graded that the run does not print itself.
                yield IsolatedProcess(env, mounts, self._limits(), None)
                return
            own = [folder, self.run_dir, tmp, channel, *more]
            with ExitStack() as stack:
                for register in _registers(env) if what == "evaluate" else ():
                    stack.enter_context(evaluating(register))
                opens = not self.sandboxed
                immutable_modules, mutable = self._modules(folder / self.git.prefix)
                watch_of_run = watching(
                    channel, held_out, fixed, own, immutable_modules=immutable_modules, mutable=mutable, opens=opens
                )
                watch = stack.enter_context(watch_of_run)
                yield IsolatedProcess(env | watch.env, mounts, self._limits(), watch)
            self._take(what, watch)
        finally:
            remove_tree(tmp)
            remove_tree(channel)

    def end(self) -> tuple[str, tuple[str, ...]]:
        """Compare, put back, and return why the run counts as tampered (else empty), and remarks."""
        reasons = [str(finding) for finding in self.findings if finding.kind in FATAL]
        remarks = [str(finding) for finding in self.findings if finding.kind not in FATAL]
        if self.tamper_check is not None:
            changed, same = self.tamper_check.changes()
            reasons += [f"{what} while it ran, and put back" for what in changed]
            remarks += same
        return "; ".join(dict.fromkeys(reasons)), tuple(dict.fromkeys([*self.remarks, *remarks]))

    def _take(self, what: str, watch: Watch) -> None:
        self.findings += watch.findings
        if what != "evaluate":
            self.remarks += [f"changed its copy of {path}" for path in self._changed_copies(what)]

    def _changed_copies(self, what: str) -> list[str]:
        """Return the immutable files that a run changed in its own snapshot, which nothing reads again."""
        root = self.workspace.slot / what / self.git.prefix
        files = [path for path in self.task.files.immutable if (self.workspace.root / path).is_file()]
        return [
            path
            for path in files
            if not (root / path).is_file() or (root / path).read_bytes() != (self.workspace.root / path).read_bytes()
        ]

    def _held_out(self, what: str, env: dict[str, str]) -> list[HeldOut]:
        """Return what this process must not read, unless something that it needs lies in there."""
        files = self.task.files
        search, locked = _registers({SPLIT: "locked"})
        patterns = [(pattern, search) for pattern in files.hidden] if what != "evaluate" else []
        if what != "evaluate" or env.get(SPLIT) != "locked":
            patterns += [(pattern, locked) for pattern in files.locked]
        places = (self.workspace.root, cache_dir(), Path(sys.prefix), Path(sys.base_prefix), self.git.top)
        needed = [place.resolve() for place in places]
        found = {path.resolve(): register for pattern, register in patterns for path in self._matches(pattern)}
        return [HeldOut(p, p.name, register) for p, register in found.items() if not any(_in(n, p) for n in needed)]

    def _writable(self, fixed: tuple[Path, ...]) -> list[Path]:
        found = [path.resolve() for pattern in self.task.files.writable for path in self._matches(pattern, make=True)]
        return [path for path in dict.fromkeys(found) if path.is_dir()]

    def _matches(self, pattern: str, *, make: bool = False) -> list[Path]:
        """Return what a pattern of the task means: under the cache, or absolute; `{key}` is a value of [options]."""
        for key, value in self.task.options.items():
            pattern = pattern.replace(f"{{{key}}}", str(value))
        whole = cache_dir() / Path(pattern).expanduser()
        if make and not any(char in pattern for char in "*?["):
            with contextlib.suppress(OSError):
                whole.mkdir(parents=True, exist_ok=True)
        if whole.exists():
            return [whole]
        relative = whole.relative_to(whole.anchor)
        return sorted(Path(whole.anchor).glob(str(relative))) if relative.parts else []

    def _modules(self, root: Path) -> tuple[list[Path], list[str]]:
        """Return the immutable Python files in a snapshot, and the names of the modules that may change."""
        files = self.task.files
        immutable_modules = [
            root / path for path in files.immutable if path.endswith(".py") and (root / path).is_file()
        ]
        return immutable_modules, [Path(path).stem for path in files.mutable if path.endswith(".py")]

    def _limits(self) -> Limits:
        run = self.task.run
        memory = run.limit_memory_gb
        total = memory * 2**30 if memory is not None else DEFAULT_SHARE * memory_of_machine()
        return Limits(int(total), int(run.limit_file_gb * 2**30), run.limit_processes)


def cache_dir() -> Path:
    """Return the folder of prepared data."""
    return Path(os.environ.get("AUTORESEARCH_CACHE") or "~/.cache/autoresearch").expanduser()


def _registers(env: dict[str, str]) -> list[Path]:
    """Return the locks that an evaluation holds beside the data that it may read."""
    names = ["search", "locked"] if env.get(SPLIT) == "locked" else ["search"]
    return [cache_dir() / f".evaluating-{name}" for name in names]


def _commits(session: Session, commit: str) -> set[str]:
    """Return the commits whose loss would be felt at once: the one that runs, and the incumbent."""
    incumbent = session.incumbent
    return {commit, *([incumbent.commit] if incumbent and incumbent.commit and incumbent.started else [])}


def _private(env: dict[str, str], tmp: str, network: bool) -> dict[str, str]:
    """Return an environment whose temporary files and caches of compilers are the run's own."""
    offline = {} if network else {"HF_HUB_OFFLINE": "1"}
    ours = {"TRITON_CACHE_DIR": f"{tmp}/triton", "CUDA_CACHE_PATH": f"{tmp}/cuda", "MPLCONFIGDIR": f"{tmp}/mpl"}
    return {**ours, **offline, **env, "TMPDIR": tmp}


def _in(path: Path, folder: Path) -> bool:
    return path == folder or path.is_relative_to(folder)
