"""The program of check-immutable.sh: compare the immutable files of a commit with the working tree and the index."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

TOML = "autoresearch.toml"


class CannotTell(Exception):
    """It cannot be told whether anything changed; the message says why, and what to do."""


def git(*words: str, ok: Sequence[int] = (0,)) -> bytes | None:
    """Return what git prints, as bytes; None when it fails in a way that `ok` does not expect."""
    done = subprocess.run(["git", "--no-replace-objects", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout if done.returncode in ok else None


def line(output: bytes | None) -> str:
    """Return the one line that git printed; nothing when it failed."""
    output = output or b""
    return os.fsdecode(output[:-1] if output.endswith(b"\n") else output)


def workspace(rev: str, prefix: str) -> tuple[PurePosixPath, bytes]:
    """Return the nearest folder upwards that had the task file at `rev`, relative to the top, and that file."""
    folder = PurePosixPath(prefix)
    for at in (folder, *folder.parents):
        content = git("cat-file", "blob", f"{rev}:{at / TOML}")
        if content is not None:
            return at, content
    raise CannotTell(f"no {TOML} at {rev[:12]}; give a commit of a workspace, or run this inside one")


def immutable(content: bytes) -> list[str]:
    """Return the immutable paths of a task file."""
    try:
        import tomllib
    except ImportError:
        raise CannotTell("python3 is older than 3.11 and cannot read TOML; put a newer python3 on the PATH") from None
    try:
        paths = tomllib.loads(content.decode("utf-8")).get("files", {}).get("immutable", [])
    except (ValueError, AttributeError, RecursionError) as error:
        raise CannotTell(f"{TOML} at that commit cannot be read ({error}); give another commit") from None
    if not isinstance(paths, list) or not all(isinstance(path, str) and path for path in paths):
        raise CannotTell(f"[files] immutable in {TOML} at that commit is not a list of paths; give another commit")
    return paths


def entries(output: bytes) -> dict[str, tuple[str, str]]:
    """Return path -> (mode, hash) of `ls-tree -z` or `ls-files -s -z`."""
    found: dict[str, tuple[str, str]] = {}
    for record in output.split(b"\0"):
        if record:
            meta, _, path = record.partition(b"\t")
            words = meta.decode().split()
            found[os.fsdecode(path)] = (words[0], words[2] if words[1] in ("blob", "commit", "tree") else words[1])
    return found


def difference(top: Path, path: str, mode: str, digest: str, modes_count: bool) -> str | None:
    """Return how the file in the working tree differs from the committed one, or None."""
    file = top / path
    for folder in PurePosixPath(path).parents:
        if (top / folder).is_symlink():
            return f"{folder} is a link now"
    try:
        now = os.lstat(file)
    except (FileNotFoundError, NotADirectoryError):
        return "deleted"
    if mode == "160000":
        return None if stat.S_ISDIR(now.st_mode) else "not a submodule any more"
    if mode == "120000":
        if not stat.S_ISLNK(now.st_mode):
            return "not a link any more"
        content = os.fsencode(os.readlink(file))  # noqa: PTH115 - a Path would tidy what the link says
    elif stat.S_ISLNK(now.st_mode):
        return "a link now"
    elif not stat.S_ISREG(now.st_mode):
        return "not a file any more"
    else:
        content = file.read_bytes()
    if content != git("cat-file", "blob", digest):
        return "content changed"
    if modes_count and mode != "120000" and bool(now.st_mode & stat.S_IXUSR) != (mode == "100755"):
        return "executable bit changed"
    return None


def check(rev: str) -> tuple[dict[str, str], int, str]:
    """Return path -> how it differs, how many files were compared, and the commit; raise `CannotTell`."""
    found_top = git("rev-parse", "--show-toplevel")
    if found_top is None:
        raise CannotTell("this is not inside a git working tree; go to the workspace")
    prefix = line(git("rev-parse", "--show-prefix"))
    top = Path(line(found_top))
    resolved = git("rev-parse", "--verify", "--quiet", "--end-of-options", rev + "^{commit}")
    if resolved is None:
        raise CannotTell(f"no commit {rev!r}; look for one with: git log --oneline")
    commit = line(resolved)
    at, content = workspace(commit, prefix)
    os.chdir(top)
    modes_count = line(git("config", "--type=bool", "core.fileMode", ok=(0, 1))) != "false"
    changed: dict[str, str] = {}
    count = 0
    for name in immutable(content):
        path = os.path.normpath(at / name)
        pathspec = ":(top,literal)" + path
        before = entries(
            git("ls-tree", "-r", "-z", "--full-tree", commit, "--", *([path] if path != "." else [])) or b""
        )
        staged = entries(git("ls-files", "-s", "-z", "--", pathspec) or b"")
        loose = git("ls-files", "-o", "-z", "--exclude-standard", "--", pathspec) or b""
        count += len(before)
        for path, (mode, digest) in before.items():
            what = difference(top, path, mode, digest, modes_count)
            if what is None and path not in staged:
                what = "staged as deleted"
            if what is None and staged[path] != (mode, digest):
                what = "another version is staged"
            if what is not None:
                changed[path] = what
        for path in [*staged, *map(os.fsdecode, filter(None, loose.split(b"\0")))]:
            if path not in before:
                changed[path] = "not in that commit"
    return changed, count, commit


def main(rev: str) -> int:
    """Compare, print, and return the exit code."""
    try:
        changed, count, commit = check(rev)
    except CannotTell as error:
        print(shown("check-immutable: " + " ".join(str(error).split())), file=sys.stderr)
        return 5
    except OSError as error:
        print(shown(f"check-immutable: {error.filename}: {error.strerror}; make it readable"), file=sys.stderr)
        return 5
    for path, what in sorted(changed.items()):
        print(shown(f"{path}: {what}"))
    if changed:
        print(f"check-immutable: {len(changed)} immutable file(s) differ from {commit[:12]}", file=sys.stderr)
        return 4
    print(f"{count} immutable file(s) are as in {commit[:12]}")
    return 0


def shown(text: str) -> str:
    """Return a line that a terminal can show: bytes that are not UTF-8 and control characters are spelled out."""
    text = os.fsencode(text).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


if __name__ == "__main__":
    code = main(sys.argv[1])
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:  # nobody reads it; the code says it, too
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(code)
