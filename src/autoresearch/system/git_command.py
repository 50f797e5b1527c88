"""The program git: started so that it runs no hooks, asks nothing and is not turned to another repository."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Generator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from autoresearch.errors import AutoresearchError, MachineError, PreconditionError
from autoresearch.system.git_objects import ObjectReader

_INHERITED = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR",
              "GIT_NAMESPACE", "GIT_SHALLOW_FILE", "GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS",
              "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS"}  # fmt: skip
"""Variables that git sets for its hooks, or that change what a path means; with them our commands would act on
another repository or on other files."""

_IDENTITY = {"user.name": "autoresearch", "user.email": "autoresearch@localhost"}


_ASKING = {"cat-file", "check-ignore", "config", "diff", "diff-files", "diff-index", "diff-tree", "for-each-ref", "log",
           "ls-files", "ls-tree", "merge-base", "rev-list", "rev-parse", "status", "symbolic-ref"}  # fmt: skip
"""Commands that change nothing as we call them."""


OLDEST = (2, 31)
"""The first version of git that has every option that is used here, and in what a person is told to type."""

INSTALL = f"install git {'.'.join(map(str, OLDEST))} or newer"


class GitError(MachineError):
    """A git command failed for a reason that is not the user's; the message has what git said."""


class GitCommand:
    """Runs git at the top of one repository, seen from a workspace folder in it."""

    def __init__(self, root: Path) -> None:
        """Raises `PreconditionError` when git is missing or `root` is in no repository."""
        require_git()
        self.root = root
        self.commands_that_change = 0
        """How many commands were run that may have changed something in the repository."""
        # All that does not change while a command runs, in one question; the prefix last, since it may have any form.
        asked = ["--show-toplevel", "--absolute-git-dir", "--git-path", "objects", "--show-prefix"]
        answer = self.process(["rev-parse", *asked], cwd=root)
        if answer.returncode:
            message = answer.stderr.decode("utf-8", "replace").strip()
            if "dubious ownership" in message:
                raise PreconditionError(
                    f"git refuses {root}: it belongs to another user",
                    f"git config --global --add safe.directory {shlex.quote(str(root))}",
                )
            if "work tree" in message:
                raise PreconditionError(f"{root} is in a bare repository", "go to a work tree of it")
            raise PreconditionError(f"{root} is not in a git repository", START)
        lines = answer.stdout.decode("utf-8", "surrogateescape").split("\n", 3)
        self.top = Path(lines[0])
        self.git_dir = Path(lines[1])
        """Where git keeps what belongs to this work tree alone: HEAD, the index, a merge that waits for its end."""
        self.object_dir = root / lines[2]
        self.prefix = lines[3].rstrip("\n")
        """Path of the workspace from the top of the repository: empty, or ending in a slash."""
        self.reader = ObjectReader(self._reading)

    @cached_property
    def identity(self) -> list[str]:
        """Options for what the user has not told git about himself; variables of the environment come before them."""
        answer = self.process(["config", "-z", "--get-regexp", r"^user\.(name|email)$"])
        settings = (line.partition("\n") for line in answer.stdout.decode("utf-8", "replace").split("\0"))
        known = {key for key, _, value in settings if value.strip()}
        missing = [key for key in _IDENTITY if key not in known]
        return [word for key in missing for word in ("-c", f"{key}={_IDENTITY[key]}")]

    def text(self, *args: str) -> str:
        """Return what git prints; raise as `run` does."""
        return self.run(*args).stdout.decode("utf-8", "surrogateescape")

    def run(
        self, *args: str, input: bytes | None = None, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run git; raise `PreconditionError`, `MachineError` or `GitError` when it fails."""
        done = self.process(args, cwd=cwd, input=input, env=env)
        if done.returncode:
            raise _explained(args, done.stderr.decode("utf-8", "replace"))
        return done

    def process(
        self,
        args: Sequence[str],
        *,
        cwd: Path | None = None,
        input: bytes | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run git and return how it ended; raise `GitError` only when it was killed."""
        self.commands_that_change += args[0] not in _ASKING
        done = subprocess.run(
            [*_PROGRAM, *args],
            cwd=cwd or self.top,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            env=_environment(args, env),
            # A signal from the terminal is for the engine, which ends git's work in order.
            start_new_session=True,
        )
        if done.returncode < 0:  # it has answered nothing: not "no", either
            raise GitError(f"{_name(args)} was killed by signal {-done.returncode}", "autoresearch resume")
        return done

    def lines(self, *args: str) -> Generator[bytes, None, None]:
        """Yield the lines that git prints, as they come, for an answer that may have no end: to close this ends git.
        Raises `GitError` behind the last line when it failed."""
        with self._begun(args, subprocess.DEVNULL) as asked:
            try:
                yield from asked.stdout or ()
                if asked.wait():
                    raise _explained(args, "its answer is not whole")
            finally:
                asked.kill()

    def _reading(self) -> subprocess.Popen[bytes]:
        return self._begun(["cat-file", "--batch"], subprocess.PIPE)

    def _begun(self, args: Sequence[str], stdin: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*_PROGRAM, *args],
            cwd=self.top,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(args, None),
            start_new_session=True,
        )


START = 'start one with: git init && git add . && git commit -m "start"'

_PROGRAM = ("git", "--literal-pathspecs", "-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false",
            "-c", "core.fsmonitor=false", "-c", "gc.auto=0", "-c", "maintenance.auto=false",
            "-c", "submodule.recurse=false")  # fmt: skip


def _environment(args: Sequence[str], more: Mapping[str, str] | None) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if key not in _INHERITED}
    clean |= {"LC_ALL": "C.UTF-8", "GIT_TERMINAL_PROMPT": "0", "GIT_EDITOR": "true", **(more or {})}
    if args[0] in ("status", "diff", "diff-tree", "ls-files"):
        clean["GIT_OPTIONAL_LOCKS"] = "0"
    return clean


def require_git() -> None:
    """Raise `PreconditionError` when there is no git."""
    if shutil.which("git") is None:
        raise PreconditionError("git is not installed", f"{INSTALL} and try again")


def _name(args: Sequence[str]) -> str:
    return "git " + next((a for a in args if not a.startswith("-") and "=" not in a), "")


def _explained(args: Sequence[str], message: str) -> AutoresearchError:
    # The last of its words says what failed; the first may be of a helper that could not even be started.
    said = [line for line in message.splitlines() if line.startswith(("fatal:", "error:"))]
    said = [line for line in said if "hung up unexpectedly" not in line] or said
    line, command = said[-1] if said else message.strip(), _name(args)
    if "lfs" in message and ("not found" in message or "filter" in message):
        return PreconditionError(
            f"{command}: files of this repository are kept with git-lfs, which cannot be run here",
            "install git-lfs, then: git lfs install",
        )
    if ".lock" in message and "exists" in message:
        return PreconditionError(f"{command}: another git process holds a lock", "wait for it, or see: git status")
    if "ermission denied" in message:
        return PreconditionError(
            f"{command}: no permission to write in this repository", "check who owns the folder .git"
        )
    if "No space left" in message:
        return MachineError(f"{command}: no space left on the device", "free some space, then: autoresearch resume")
    return GitError(f"{command} failed: {line}", "see: git status")
